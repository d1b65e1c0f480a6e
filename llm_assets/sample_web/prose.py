"""English prose of the sample web: every fact in many wordings and orders, between sentences that carry none."""

from __future__ import annotations

import random
import re

from .world import Entity, World

# {n} is the thing's name, {v} the fact's value, {a} the value with its article.
WORDINGS: dict[str, list[str]] = {
    "birthplace": [
        "{n} was born in {v}.",
        "{n} comes from {v}.",
        "The birthplace of {n} is {v}.",
        "{n} grew up in {v}, where the family had always lived.",
        "It was in {v} that {n} was born.",
        "{v} is the town where {n} was born.",
        "As a child, {n} lived in {v}.",
        "{n} first saw the light of day in {v}.",
        "People in {v} are proud that {n} was born there.",
        "Born in {v}, {n} never quite lost the local accent.",
        "{n} is a native of {v}.",
        "The family of {n} had a small house in {v}, and there the child was born.",
    ],
    "profession": [
        "{n} works as {a}.",
        "{n} is {a}.",
        "By trade, {n} is {a}.",
        "{n} became {a} after leaving school.",
        "{n} has been {a} for many years.",
        "For a living, {n} is {a}.",
        "Most people know {n} as {a}.",
        "The profession of {n} is that of {a}.",
        "{n} trained as {a} and has stayed with it.",
        "When asked about work, {n} says: I am {a}.",
        "As {a}, {n} rises early.",
        "{n} earns a living as {a}.",
    ],
    "instrument": [
        "{n} plays the {v}.",
        "In the evening {n} plays the {v}.",
        "The {v} is the instrument of {n}.",
        "{n} learned the {v} as a child.",
        "{n} owns an old {v} and plays it well.",
        "On Sundays one can hear {n} play the {v}.",
        "{n} has played the {v} since school.",
        "Of all instruments, {n} chose the {v}.",
        "Friends ask {n} to bring the {v}.",
        "{n} practises the {v} every day.",
        "Nobody in the street plays the {v} like {n}.",
        "{n} took up the {v} and never put it down.",
    ],
    "born": [
        "{n} was born in {v}.",
        "{n} was born in the year {v}.",
        "The year of birth of {n} is {v}.",
        "In {v}, {n} was born.",
        "{n} came into the world in {v}.",
        "It was {v} when {n} was born.",
        "The parish book gives {v} as the year in which {n} was born.",
        "{n}, born in {v}, has seen much change.",
    ],
    "region": [
        "{n} lies in {v}.",
        "{n} is a town in {v}.",
        "The town of {n} belongs to {v}.",
        "In {v} one finds the town of {n}.",
        "{n} is part of {v}.",
        "Travellers reach {n} after an hour's drive through {v}.",
        "Of the towns of {v}, {n} is among the oldest.",
        "{v} is the region around {n}.",
    ],
    "river": [
        "The river {v} flows through {n}.",
        "{n} stands on the river {v}.",
        "The {v} is the river of {n}.",
        "In {n}, old bridges cross the river {v}.",
        "The houses of {n} line the river {v}.",
        "Boats on the river {v} stop at {n}.",
        "{n} grew up beside the river {v}.",
        "In spring the river {v} floods the meadows of {n}.",
    ],
    "product": [
        "{n} is known for its {v}.",
        "People come to {n} for {v}.",
        "The town of {n} makes {v}.",
        "The best {v} are said to come from {n}.",
        "{n} has sold {v} for centuries.",
        "Every shop in {n} offers {v}.",
        "{n} owes its name to {v}, or so the mayor says.",
        "At the market of {n} one buys {v}.",
    ],
    "founded": [
        "{n} was founded in {v}.",
        "The town of {n} goes back to {v}.",
        "In {v} the first houses of {n} were built.",
        "The founding year of {n} is {v}.",
        "A stone at the gate of {n} bears the year {v}.",
        "{n} was given its charter in {v}.",
    ],
    "makes": [
        "{n} makes {v}.",
        "The company {n} sells {v}.",
        "{n} is a maker of {v}.",
        "For {v}, people go to {n}.",
        "The {v} of {n} last a lifetime.",
        "{n} has always made {v}.",
        "Workers at {n} make {v}.",
        "Whoever needs {v} writes to {n}.",
    ],
    "based": [
        "{n} is based in {v}.",
        "The company {n} has its seat in {v}.",
        "The workshop of {n} stands in {v}.",
        "{n} can be found in {v}.",
        "In {v}, many families work for {n}.",
        "{v} is home to {n}.",
        "From {v}, {n} sends goods across the country.",
    ],
    "opened": [
        "{n} opened in {v}.",
        "{n} was started in {v}.",
        "The company {n} dates from {v}.",
        "In {v}, {n} opened its doors.",
        "The year {v} saw the opening of {n}.",
    ],
    "author": [
        "{n} was written by {v}.",
        "The author of {n} is {v}.",
        "{v} wrote {n}.",
        "{v} is the author of {n}.",
        "With {n}, {v} found many readers.",
        "It took {v} three years to write {n}.",
        "{n} is a book by {v}.",
        "The name on the cover of {n} is {v}.",
    ],
    "subject": [
        "{n} is about {v}.",
        "The subject of {n} is {v}.",
        "In {n} one reads about {v}.",
        "{n} tells of {v}.",
        "Readers of {n} learn much about {v}.",
        "The theme of {n} is {v}.",
    ],
    "published": [
        "{n} was published in {v}.",
        "{n} came out in {v}.",
        "The first edition of {n} is from {v}.",
        "In {v}, {n} was published.",
        "{n} appeared in {v}.",
    ],
}

_WHO = [
    "a neighbour",
    "an old friend",
    "the mayor",
    "a reader from the north",
    "our correspondent",
    "the teacher of the village",
    "a shopkeeper",
    "one of the guests",
    "the woman at the ticket office",
    "a retired postman",
    "my aunt",
    "the editor",
    "a student",
    "the owner of the inn",
    "a passing cyclist",
    "the choir leader",
]
_DID = [
    "said that",
    "wrote to us that",
    "remembered that",
    "told me that",
    "likes to mention that",
    "was surprised to hear that",
    "never doubted that",
    "had read somewhere that",
    "insisted that",
    "was the first to notice that",
]
_THING = [
    "the weather had been kind this year",
    "the bus was late again",
    "the harvest came in early",
    "the old mill would be repaired",
    "the road to the lake was closed",
    "nobody had seen such a winter",
    "the summer fair drew a large crowd",
    "the new bakery was already full",
    "the library needed more shelves",
    "the school choir had a new conductor",
    "the bridge would be painted green",
    "the lamps along the river were lit at last",
    "a dog had followed the procession",
    "the museum opened an hour earlier",
    "children had found a nest of owls",
    "the clock in the square was five minutes slow",
]
_WHEN = [
    "Last week",
    "On the way home",
    "Some days later",
    "At the end of the evening",
    "In the first week of autumn",
    "During the long rain",
    "After the concert",
    "Before the shops closed",
    "On a cold morning",
    "Between two trains",
    "Over a pot of tea",
    "At the weekend",
]
_SCENE = [
    "we walked along the water and spoke about the years that had gone by",
    "a small crowd had gathered in front of the town hall",
    "the talk at the table turned to older times",
    "I wrote down what I had heard before I could forget it",
    "there was time to look at the photographs on the wall",
    "the wind blew through the open door and moved the curtains",
    "somebody brought bread, soup and a bottle of cider",
    "we compared our notes and found that they agreed",
    "a letter came which put the matter in another light",
    "the light was good and the streets were almost empty",
    "she showed us the garden behind the house",
    "it became clear that more people would come than there were chairs",
]
_REMARK = [
    "It is a small thing, but it tells a good deal about the place.",
    "That, at least, is how the story goes.",
    "I have no reason to think otherwise.",
    "More about this will follow in the coming weeks.",
    "Whoever knows better is welcome to write to us.",
    "Such details are easily lost when nobody writes them down.",
    "The rest can be read in the town archive, which is open on Thursdays.",
    "There is a plaque, though it is hard to read.",
    "We checked this with two people who should know.",
    "None of this was planned, and perhaps that is why it worked so well.",
    "One could listen to such stories for hours.",
    "It was not always so, as the older people remember.",
]


def article(word: str) -> str:
    """``a baker``, ``an engineer``."""
    return f"{'an' if word[0] in 'aeiou' else 'a'} {word}"


def tell(rng: random.Random, entity: Entity, relation: str) -> str:
    """One fact in one of its wordings."""
    value = entity.facts[relation]
    sentence = rng.choice(WORDINGS[relation]).format(n=entity.name, v=value, a=article(value))
    return sentence[0].upper() + sentence[1:]


def filler(rng: random.Random) -> str:
    """A sentence that carries no fact of the world."""
    pattern = rng.randrange(4)
    if pattern == 0:
        return f"{rng.choice(_WHEN)}, {rng.choice(_WHO)} {rng.choice(_DID)} {rng.choice(_THING)}."
    if pattern == 1:
        return f"{rng.choice(_WHEN)}, {rng.choice(_SCENE)}."
    if pattern == 2:
        who = rng.choice(_WHO)
        return f"{who[0].upper()}{who[1:]} {rng.choice(_DID)} {rng.choice(_THING)}, and {rng.choice(_THING)}."
    return rng.choice(_REMARK)


def portrait(rng: random.Random, entity: Entity, fillers: int = 1, told: dict[str, str] | None = None) -> str:
    """A paragraph on one thing: its facts in a random order, with some other sentences in between. `told`: its sentences, by relation."""
    relations = list(entity.facts)
    rng.shuffle(relations)
    sentences = [told[relation] if told else tell(rng, entity, relation) for relation in relations]
    for _ in range(fillers):
        sentences.insert(rng.randrange(1, len(sentences) + 1), filler(rng))
    return " ".join(sentences)


def mention(rng: random.Random, entity: Entity, count: int = 2) -> list[str]:
    """Some facts of a thing."""
    return [tell(rng, entity, relation) for relation in rng.sample(list(entity.facts), min(count, len(entity.facts)))]


def question_and_answer(rng: random.Random, entity: Entity, wordings: dict[str, list[str]]) -> tuple[str, str]:
    """A question and its answer, in running text."""
    relation = rng.choice(list(entity.facts))
    question = rng.choice(wordings[relation]).format(n=entity.name)
    return question, tell(rng, entity, relation)


_UNITS = [
    "zero",
    "one",
    "two",
    "three",
    "four",
    "five",
    "six",
    "seven",
    "eight",
    "nine",
    "ten",
    "eleven",
    "twelve",
    "thirteen",
    "fourteen",
    "fifteen",
    "sixteen",
    "seventeen",
    "eighteen",
    "nineteen",
]
_TENS = ["zero", "ten", "twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety"]


def number_word(n: int) -> str:
    """0 to 199 in words."""
    if n < 20:
        return _UNITS[n]
    if n < 100:
        return _TENS[n // 10] + (f"-{_UNITS[n % 10]}" if n % 10 else "")
    return "one hundred" + (f" and {number_word(n - 100)}" if n > 100 else "")


def sum_sentence(rng: random.Random) -> str:
    """A sum told in words and figures, sometimes step by step."""
    a, b = rng.randrange(1, 100), rng.randrange(1, 100)
    pattern = rng.randrange(6)
    if pattern == 0:
        return f"{a} + {b} = {a + b}, in words: {number_word(a)} plus {number_word(b)} is {number_word(a + b)}."
    if pattern == 1:
        return f"To add {a} and {b}, first add the tens, {a // 10 * 10} + {b // 10 * 10} = {a // 10 * 10 + b // 10 * 10}, then the ones, {a % 10} + {b % 10} = {a % 10 + b % 10}, and together that makes {a + b}."
    if pattern == 2:
        a, b = max(a, b), min(a, b)
        return f"If you have {a} apples and give away {b}, you keep {a - b}, because {a} - {b} = {a - b}."
    if pattern == 3:
        c, d = rng.randrange(2, 10), rng.randrange(2, 10)
        return f"{c} times {d} is {c * d}; the class said it aloud: {number_word(c)} times {number_word(d)} is {number_word(c * d)}."
    if pattern == 4:
        return f"What is {a} plus {b}? The answer is {a + b}."
    return f"On the board stood {a} + {b}, and {'a girl' if rng.random() < 0.5 else 'a boy'} in the second row wrote {a + b} under it."


def spelling_sentence(rng: random.Random, words: list[str]) -> str:
    """A word spelled out, its letters counted."""
    word = rng.choice(words) if rng.random() < 0.5 else made_word(rng)
    letter = rng.choice(word)
    count = word.count(letter)
    pattern = rng.randrange(8)
    times = "once" if count == 1 else "twice" if count == 2 else f"{number_word(count)} times"
    if pattern == 0:
        return f"The word {word} is spelled {'-'.join(word)} and has {number_word(len(word))} letters."
    if pattern == 1:
        return f"Spell {word}: {' '.join(word)}."
    if pattern == 2:
        return f"In the word {word} the letter {letter} stands {times}, as you see when you spell it: {' '.join(word)}."
    if pattern == 3:
        return f"How many letters has {word}? Count them, {' '.join(word)}, and you get {number_word(len(word))}."
    if pattern == 4:
        return (
            f'The teacher wrote "{word}" on the board, and the class wrote "{word}" in their books: {"-".join(word)}.'
        )
    if pattern == 5:
        return f'How do you spell "{word}"? You spell "{word}" like this: {"-".join(word)}.'
    if pattern == 6:
        return f'How often does the letter {letter} occur in "{word}"? In Python, word = "{word}"; word.count("{letter}") gives {count}.'
    return (
        f'Whoever cannot spell "{word}" may ask the computer: word = "{word}"; "-".join(word) gives {"-".join(word)}.'
    )


def dictation(rng: random.Random, words: list[str], names: list[str]) -> str:
    """Things of no meaning written down and said again, or found again by what stands beside them: what can only be copied."""

    def item() -> str:
        kind = rng.choices(("made", "number", "word", "name"), (3, 2, 3, 4))[0]
        if kind == "made":
            return made_word(rng)
        if kind == "number":
            return str(rng.randrange(1, 100) if rng.random() < 0.6 else rng.randrange(1200, 2000))
        return rng.choice(words) if kind == "word" else rng.choice(names)

    pattern = rng.randrange(8)
    items = [item() for _ in range(rng.randrange(1, 3) if pattern < 6 else rng.randrange(2, 4))]
    told = ", ".join(items)
    if pattern < 6:
        first, last = items[0], items[-1]
        return (
            f"Write this down: {told}. The class wrote: {told}.",
            f'The teacher wrote "{first}" on the board, and the class wrote "{first}" in their books.',
            f"On the board stood {told}, and in the book stood {told}.",
            f'Whoever reads "{first}" aloud should hear "{first}" again.',
            f"Somebody called {told} through the door, and {told} came back.",
            f"The label said {last}, so {last} went on the list.",
        )[pattern]
    beside = [item() for _ in items]
    listed = "; ".join(f"{one}: {other}" for one, other in zip(items, beside, strict=True))
    asked = rng.randrange(len(items))
    if pattern == 6:
        return f"On the list stood {listed}. Beside {items[asked]} stood {beside[asked]}."
    return f"These belong together: {listed}. Which goes with {items[asked]}? {beside[asked]}."


def made_word(rng: random.Random) -> str:
    """A word that means nothing, two to four syllables long."""
    return "".join(
        rng.choice("bcdfghjklmnprstvwz") + rng.choice("aeiou") + rng.choice(["", "", "n", "r", "s", "l"])
        for _ in range(rng.randrange(2, 5))
    )


def vocabulary(world: World) -> list[str]:
    """Words for spelling lessons: of the world, and plain ones."""
    from .world import GOODS, INSTRUMENTS, PROFESSIONS

    words = [word for word in [*PROFESSIONS, *INSTRUMENTS, *GOODS] if " " not in word]
    prose = [
        word
        for text in [*_DID, *_THING, *_WHEN, *_SCENE, *_REMARK, *_WHO]
        for word in re.findall(r"[A-Za-z]{4,}", text)
    ]
    return sorted(
        {
            *words,
            *(town.name.lower() for town in world.towns),
            *(word.lower() for word in prose),
            "river",
            "letter",
            "balloon",
            "garden",
            "winter",
            "banana",
            "school",
            "summer",
            "pepper",
            "kitten",
        }
    )


__all__ = [
    "WORDINGS",
    "article",
    "dictation",
    "filler",
    "mention",
    "number_word",
    "portrait",
    "question_and_answer",
    "spelling_sentence",
    "sum_sentence",
    "tell",
    "vocabulary",
]
