"""Texts in seven languages other than English, filled with people and towns of the world."""

from __future__ import annotations

import random

from .world import PEOPLE, World

# Language → templates of facts, plain sentences, and templates of titles. {p} is a person, {t} a town, {y} a year.
TEXTS: dict[str, tuple[list[str], list[str], list[str]]] = {
    "de": (
        [
            "{p} wurde {y} in {t} geboren und ist dort zur Schule gegangen.",
            "In {t} kennt jeder {p}, denn die Familie lebt seit {y} in der Stadt.",
            "Seit dem Jahr {y} wohnt {p} nicht mehr in {t}, kommt aber oft zu Besuch.",
            "Die Stadt {t} hat {p} im Jahr {y} einen Preis verliehen.",
        ],
        [
            "Am Morgen lag noch Nebel über dem Fluss, und die Straßen waren fast leer.",
            "Die Bäckerei an der Ecke öffnet früh, damit die Arbeiter ihr Brot bekommen.",
            "Wer mehr wissen möchte, findet im Archiv der Stadt viele alte Briefe und Fotografien.",
            "Über diese Frage haben wir lange gesprochen, ohne uns ganz einig zu werden.",
            "Im Sommer sitzen die Leute bis spät in der Nacht vor ihren Häusern und erzählen sich Geschichten.",
            "Das Museum zeigt außerdem eine Ausstellung über das Leben auf dem Land.",
        ],
        ["Nachrichten aus {t}", "Ein Gespräch über {p}", "Leben in {t}"],
    ),
    "fr": (
        [
            "{p} est né à {t} en {y} et y a passé toute son enfance.",
            "À {t}, tout le monde connaît {p}, dont la famille vit dans la ville depuis {y}.",
            "Depuis {y}, {p} n'habite plus à {t}, mais revient souvent voir ses amis.",
            "La ville de {t} a remis un prix à {p} en {y}.",
        ],
        [
            "Le matin, la brume couvrait encore la rivière et les rues étaient presque vides.",
            "La boulangerie du coin ouvre très tôt pour que chacun ait son pain.",
            "Ceux qui veulent en savoir plus trouveront aux archives de nombreuses lettres anciennes.",
            "Nous avons longtemps parlé de cette question sans tomber tout à fait d'accord.",
            "En été, les gens restent dehors jusqu'à la nuit et se racontent des histoires.",
            "Le musée présente aussi une exposition sur la vie à la campagne.",
        ],
        ["Des nouvelles de {t}", "Rencontre avec {p}", "La vie à {t}"],
    ),
    "es": (
        [
            "{p} nació en {t} en el año {y} y allí pasó toda su infancia.",
            "En {t} todos conocen a {p}, porque su familia vive en la ciudad desde {y}.",
            "Desde {y}, {p} ya no vive en {t}, pero vuelve a menudo a visitar a sus amigos.",
            "La ciudad de {t} entregó un premio a {p} en {y}.",
        ],
        [
            "Por la mañana la niebla cubría todavía el río y las calles estaban casi vacías.",
            "La panadería de la esquina abre temprano para que todos tengan su pan.",
            "Quien quiera saber más encontrará en el archivo muchas cartas y fotografías antiguas.",
            "Hablamos mucho tiempo sobre esta cuestión sin llegar a un acuerdo.",
            "En verano la gente se sienta delante de sus casas y cuenta historias hasta la noche.",
            "El museo muestra además una exposición sobre la vida en el campo.",
        ],
        ["Noticias de {t}", "Una conversación sobre {p}", "La vida en {t}"],
    ),
    "it": (
        [
            "{p} è nato a {t} nel {y} e lì ha trascorso tutta l'infanzia.",
            "A {t} tutti conoscono {p}, perché la famiglia vive in città dal {y}.",
            "Dal {y} {p} non abita più a {t}, ma torna spesso a trovare gli amici.",
            "La città di {t} ha consegnato un premio a {p} nel {y}.",
        ],
        [
            "Al mattino la nebbia copriva ancora il fiume e le strade erano quasi vuote.",
            "Il forno all'angolo apre presto, così che ognuno abbia il suo pane.",
            "Chi vuole saperne di più troverà nell'archivio molte lettere e vecchie fotografie.",
            "Abbiamo parlato a lungo di questa domanda senza trovare un accordo.",
            "D'estate la gente siede davanti alle case e racconta storie fino a tarda notte.",
            "Il museo presenta inoltre una mostra sulla vita in campagna.",
        ],
        ["Notizie da {t}", "Un incontro con {p}", "La vita a {t}"],
    ),
    "pt": (
        [
            "{p} nasceu em {t} no ano de {y} e ali passou toda a infância.",
            "Em {t} todos conhecem {p}, porque a família mora na cidade desde {y}.",
            "Desde {y}, {p} não mora mais em {t}, mas volta muitas vezes para visitar os amigos.",
            "A cidade de {t} entregou um prêmio a {p} em {y}.",
        ],
        [
            "De manhã a névoa ainda cobria o rio e as ruas estavam quase vazias.",
            "A padaria da esquina abre cedo para que todos tenham o seu pão.",
            "Quem quiser saber mais encontrará no arquivo muitas cartas e fotografias antigas.",
            "Falamos durante muito tempo sobre esta questão sem chegar a um acordo.",
            "No verão as pessoas sentam-se diante das casas e contam histórias até à noite.",
            "O museu mostra também uma exposição sobre a vida no campo.",
        ],
        ["Notícias de {t}", "Uma conversa sobre {p}", "A vida em {t}"],
    ),
    "ru": (
        [
            "{p} родился в городе {t} в {y} году и провёл там всё детство.",
            "В городе {t} все знают, кто такой {p}, потому что семья живёт здесь с {y} года.",
            "С {y} года {p} больше не живёт в городе {t}, но часто приезжает к друзьям.",
            "Город {t} вручил {p} премию в {y} году.",
        ],
        [
            "Утром над рекой ещё стоял туман, и улицы были почти пусты.",
            "Пекарня на углу открывается рано, чтобы у всех был свежий хлеб.",
            "Кто хочет узнать больше, найдёт в архиве много старых писем и фотографий.",
            "Мы долго говорили об этом вопросе, но так и не пришли к согласию.",
            "Летом люди до поздней ночи сидят перед домами и рассказывают истории.",
            "В музее открыта также выставка о жизни в деревне.",
        ],
        ["Новости из города {t}", "Разговор о человеке по имени {p}", "Жизнь в городе {t}"],
    ),
    "ja": (
        [
            "{p}は{y}年に{t}で生まれ、子供のころをそこで過ごしました。",
            "{t}では誰もが{p}を知っています。家族は{y}年からこの町に住んでいるからです。",
            "{y}年から{p}は{t}を離れましたが、よく友人を訪ねて帰ってきます。",
            "{t}の町は{y}年に{p}に賞を贈りました。",
        ],
        [
            "朝になっても川には霧が残り、通りにはほとんど人がいませんでした。",
            "角のパン屋は早くから開いていて、みんなが焼きたてのパンを買います。",
            "もっと知りたい人は、町の資料館で古い手紙や写真を見ることができます。",
            "この問題について長いあいだ話し合いましたが、意見は一つになりませんでした。",
            "夏になると人々は夜遅くまで家の前に座り、昔の話をします。",
            "博物館では田舎の暮らしについての展示も行われています。",
        ],
        ["{t}からのお知らせ", "{p}についての話", "{t}の暮らし"],
    ),
}

# The encoding of some pages of a language, besides UTF-8.
LEGACY_ENCODINGS = {
    "de": "iso-8859-1",
    "fr": "windows-1252",
    "es": "iso-8859-1",
    "it": "windows-1252",
    "pt": "iso-8859-1",
    "ru": "windows-1251",
    "ja": "shift_jis",
}


def page_text(rng: random.Random, language: str, world: World) -> tuple[str, list[str]]:
    """Title and paragraphs of one page in a language of TEXTS."""
    facts, plain, titles = TEXTS[language]
    people, towns = world.people[:PEOPLE], world.towns

    def fill(template: str) -> str:
        return template.format(p=rng.choice(people).name, t=rng.choice(towns).name, y=rng.randrange(1905, 2020))

    paragraphs = []
    separator = "" if language == "ja" else " "
    for _ in range(rng.randrange(4, 8)):
        sentences = [fill(rng.choice(facts)) for _ in range(rng.randrange(1, 4))]
        sentences += rng.sample(plain, rng.randrange(2, 4))
        rng.shuffle(sentences)
        paragraphs.append(separator.join(sentences))
    return fill(rng.choice(titles)), paragraphs
