"""The fictional world: people, towns, companies and works, and the facts about them.

Everything follows from a seed. Names are put together from syllables, so that no real person or place is meant.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field

PEOPLE = 160
TOWNS = 40
COMPANIES = 36
WORKS = 60
ONCE = 30  # people mentioned on one page only
STRANGERS = 400  # surnames of people made up for a page of reading lessons
HELD_OUT = 24  # people who appear only on the site kept out of the training crawl
NEWCOMERS = 12  # people who appear on day 2, on its new pages only
CHANGED_EVERY = 16  # on day 2 every so many people have another profession

_FIRST = [
    "Mira",
    "Toven",
    "Elsa",
    "Rudo",
    "Kaia",
    "Bram",
    "Nelin",
    "Osric",
    "Tilda",
    "Jorun",
    "Vesna",
    "Aldo",
    "Ruta",
    "Ferro",
    "Linnea",
    "Casp",
    "Oda",
    "Marek",
    "Sunniva",
    "Theo",
    "Ilka",
    "Dorian",
    "Petra",
    "Halle",
    "Ivo",
    "Senna",
    "Rolf",
    "Amara",
    "Quin",
    "Brita",
    "Leif",
    "Noemi",
    "Stig",
    "Wanda",
    "Emil",
    "Zora",
    "Hugo",
    "Freya",
    "Anton",
    "Ketil",
]
_LAST_A = [
    "Ash",
    "Bel",
    "Cor",
    "Dun",
    "El",
    "Far",
    "Gal",
    "Hol",
    "Ing",
    "Jar",
    "Kel",
    "Lund",
    "Mor",
    "Nor",
    "Ost",
    "Pel",
    "Quar",
    "Ras",
    "Sel",
    "Tor",
    "Ul",
    "Ver",
    "Wen",
    "Yar",
    "Zel",
    "Brand",
    "Cal",
    "Dor",
    "Esk",
    "Fen",
    "Grim",
    "Hag",
    "Kron",
    "Lin",
    "Mal",
    "Ol",
    "Pol",
    "Ros",
    "Sol",
    "Tand",
]
_LAST_B = [
    "wick",
    "brook",
    "dale",
    "field",
    "gard",
    "holt",
    "land",
    "mere",
    "quist",
    "rand",
    "sson",
    "stad",
    "strom",
    "thorn",
    "vane",
    "wald",
    "worth",
    "yard",
    "berg",
    "by",
    "croft",
    "gren",
    "ham",
    "hurst",
    "lund",
    "man",
    "nes",
    "son",
    "ton",
    "wyn",
]
_TOWN_A = [
    "Alder",
    "Brin",
    "Carrow",
    "Dell",
    "Elder",
    "Fen",
    "Glim",
    "Harrow",
    "Isen",
    "Juni",
    "Kest",
    "Lark",
    "Mistle",
    "Nettle",
    "Oaken",
    "Pine",
    "Quill",
    "Raven",
    "Sable",
    "Thistle",
    "Umber",
    "Vale",
    "Willow",
    "Yarrow",
]
_TOWN_B = [
    "bridge",
    "bury",
    "combe",
    "ford",
    "gate",
    "ham",
    "haven",
    "hollow",
    "market",
    "mouth",
    "port",
    "stead",
    "ton",
    "water",
    "wick",
]
REGIONS = ["Norrland", "Eastmarch", "Silverfen", "Highmoor", "Lowvale", "Westerly"]
RIVERS = ["Anner", "Brisk", "Culder", "Dovra", "Eska", "Finnel", "Garra", "Hest", "Immer", "Jolla"]
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
PROFESSIONS = [
    "baker",
    "botanist",
    "carpenter",
    "clockmaker",
    "composer",
    "doctor",
    "engineer",
    "fisher",
    "geologist",
    "glassblower",
    "historian",
    "journalist",
    "librarian",
    "painter",
    "pilot",
    "poet",
    "potter",
    "sailor",
    "surveyor",
    "teacher",
    "weaver",
    "zoologist",
]
INSTRUMENTS = [
    "accordion",
    "bassoon",
    "cello",
    "clarinet",
    "drum",
    "flute",
    "guitar",
    "harp",
    "lute",
    "oboe",
    "organ",
    "piano",
    "trumpet",
    "tuba",
    "viola",
    "violin",
]
GOODS = [
    "bicycles",
    "lamps",
    "maps",
    "mirrors",
    "pencils",
    "raincoats",
    "ropes",
    "scales",
    "soap",
    "stoves",
    "telescopes",
    "typewriters",
    "umbrellas",
    "watches",
]
SUBJECTS = [
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
_TITLE_A = [
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
_TITLE_B = ["Harbour", "Lantern", "Garden", "Staircase", "Orchard", "Winter", "Compass", "Window", "Meadow", "Clock"]
_COMPANY = ["Works", "Brothers", "Mill", "& Daughters", "Guild", "Foundry", "Supply", "House"]


@dataclass(frozen=True)
class Fact:
    """One fact: what is asked of which thing, and the one right answer, as it stands in text."""

    entity: str
    entity_kind: str
    relation: str
    value: str


@dataclass
class Entity:
    """A thing of the world. `reach` is many (told on many pages), once, or held_out."""

    name: str
    kind: str
    facts: dict[str, str]
    reach: str = "many"

    def as_facts(self) -> list[Fact]:
        return [Fact(self.name, self.kind, relation, value) for relation, value in self.facts.items()]


@dataclass
class World:
    people: list[Entity] = field(default_factory=list)
    towns: list[Entity] = field(default_factory=list)
    companies: list[Entity] = field(default_factory=list)
    works: list[Entity] = field(default_factory=list)
    surnames: list[str] = field(default_factory=list)  # borne by nobody
    newcomers: list[Entity] = field(default_factory=list)  # of day 2

    @property
    def entities(self) -> list[Entity]:
        return [*self.people, *self.towns, *self.companies, *self.works, *self.newcomers]

    def known(self) -> list[Entity]:
        """Things told on many pages."""
        return [entity for entity in self.entities if entity.reach == "many"]


def _distinct(rng: random.Random, count: int, first: list[str], second: list[str], joint: str) -> list[str]:
    pool = [f"{a}{joint}{b}" for a in first for b in second]
    rng.shuffle(pool)
    return pool[:count]


def _person(rng: random.Random, surname: str, towns: list[str]) -> Entity:
    return Entity(
        f"{rng.choice(_FIRST)} {surname}",
        "person",
        {
            "birthplace": rng.choice(towns),
            "profession": rng.choice(PROFESSIONS),
            "instrument": rng.choice(INSTRUMENTS),
            "born": str(rng.randrange(1901, 1990)),
        },
    )


def stranger(rng: random.Random, world: World) -> Entity:
    """Somebody made up for one page, of whom the world knows nothing."""
    return _person(rng, rng.choice(world.surnames), [town.name for town in world.towns])


def make_world(seed: int, day: int = 1) -> World:
    """The world of a seed. On day 2 some people have another profession, and there are some more people."""
    rng = random.Random(f"world-{seed}")
    world = World()
    for name in _distinct(rng, TOWNS, _TOWN_A, _TOWN_B, ""):
        world.towns.append(
            Entity(
                name,
                "town",
                {
                    "region": rng.choice(REGIONS),
                    "river": rng.choice(RIVERS),
                    "product": rng.choice(PRODUCTS),
                    "founded": str(rng.randrange(1210, 1890)),
                },
            )
        )
    towns = [town.name for town in world.towns]
    surnames = _distinct(rng, len(_LAST_A) * len(_LAST_B), _LAST_A, _LAST_B, "")
    for i in range(PEOPLE + ONCE + HELD_OUT):
        # Surnames are unique: a name is told apart by either half.
        person = _person(rng, surnames[i], towns)
        person.reach = "many" if i < PEOPLE else "once" if i < PEOPLE + ONCE else "held_out"
        world.people.append(person)
    for name in surnames[-COMPANIES:]:
        world.companies.append(
            Entity(
                f"{name} {rng.choice(_COMPANY)}",
                "company",
                {
                    "makes": rng.choice(GOODS),
                    "based": rng.choice(towns),
                    "opened": str(rng.randrange(1850, 1995)),
                },
            )
        )
    authors = [person.name for person in world.people[:PEOPLE]]
    for title in _distinct(rng, WORKS, _TITLE_A, _TITLE_B, " "):
        world.works.append(
            Entity(
                title,
                "work",
                {
                    "author": rng.choice(authors),
                    "subject": rng.choice(SUBJECTS),
                    "published": str(rng.randrange(1925, 2015)),
                },
            )
        )
    unborne = surnames[PEOPLE + ONCE + HELD_OUT :]
    world.surnames = unborne[:STRANGERS]
    if day == 2:
        for person in changed_people(world):
            old = PROFESSIONS.index(person.facts["profession"])
            person.facts["profession"] = PROFESSIONS[(old + 1) % len(PROFESSIONS)]
        for surname in unborne[STRANGERS:][:NEWCOMERS]:
            person = _person(rng, surname, towns)
            person.reach = "once"
            world.newcomers.append(person)
    return world


def changed_people(world: World) -> list[Entity]:
    """People whose profession is another on day 2."""
    return world.people[:PEOPLE][::CHANGED_EVERY]
