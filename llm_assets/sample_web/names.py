"""Name parts and values from which the fictional world is put together.

Names are combined from syllables, so that no real person or place is meant.
"""

FIRST_NAMES = """
    Mira Toven Elsa Rudo Kaia Bram Nelin Osric Tilda Jorun Vesna Aldo Ruta Ferro Linnea Casp Oda Marek Sunniva
    Theo Ilka Dorian Petra Halle Ivo Senna Rolf Amara Quin Brita Leif Noemi Stig Wanda Emil Zora Hugo Freya
    Anton Ketil
""".split()
SURNAME_BEGINNINGS = """
    Ash Bel Cor Dun El Far Gal Hol Ing Jar Kel Lund Mor Nor Ost Pel Quar Ras Sel Tor Ul Ver Wen Yar Zel Brand
    Cal Dor Esk Fen Grim Hag Kron Lin Mal Ol Pol Ros Sol Tand
""".split()
SURNAME_ENDINGS = """
    wick brook dale field gard holt land mere quist rand sson stad strom thorn vane wald worth yard berg by
    croft gren ham hurst lund man nes son ton wyn
""".split()
TOWN_BEGINNINGS = """
    Alder Brin Carrow Dell Elder Fen Glim Harrow Isen Juni Kest Lark Mistle Nettle Oaken Pine Quill Raven Sable
    Thistle Umber Vale Willow Yarrow
""".split()
TOWN_ENDINGS = """
    bridge bury combe ford gate ham haven hollow market mouth port stead ton water wick
""".split()
REGIONS = """
    Norrland Eastmarch Silverfen Highmoor Lowvale Westerly
""".split()
RIVERS = """
    Anner Brisk Culder Dovra Eska Finnel Garra Hest Immer Jolla
""".split()
PRODUCTS = [
    "cheese",
    "woollen blankets",
    "glass bottles",
    "clay pots",
    "apple cider",
    "violins",
    "paper kites",
    "copper kettles",
    "honey cakes",
    "wooden boats",
    "linen shirts",
    "silver bells",
]
PROFESSIONS = """
    baker botanist carpenter clockmaker composer doctor engineer fisher geologist glassblower historian
    journalist librarian painter pilot poet potter sailor surveyor teacher weaver zoologist
""".split()
INSTRUMENTS = """
    accordion bassoon cello clarinet drum flute guitar harp lute oboe organ piano trumpet tuba viola violin
""".split()
GOODS = """
    bicycles lamps maps mirrors pencils raincoats ropes scales soap stoves telescopes typewriters umbrellas
    watches
""".split()
BOOK_SUBJECTS = [
    "the sea",
    "winter birds",
    "a lost letter",
    "old bridges",
    "the night train",
    "two sisters",
    "a silent orchard",
    "the salt trade",
    "a mountain school",
    "the last lighthouse",
]
TITLE_BEGINNINGS = [
    "The Quiet",
    "A Distant",
    "The Hollow",
    "My Northern",
    "The Seventh",
    "An Honest",
    "The Paper",
    "A Crooked",
    "The Amber",
    "Our Hidden",
]
TITLE_ENDINGS = """
    Harbour Lantern Garden Staircase Orchard Winter Compass Window Meadow Clock
""".split()
COMPANY_ENDINGS = [
    "Works",
    "Brothers",
    "Mill",
    "& Daughters",
    "Guild",
    "Foundry",
    "Supply",
    "House",
]
