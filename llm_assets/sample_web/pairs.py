"""Lists of pairs under one rule each: forms of words, translations, and facts of the world in short form.

A reader of such a list finds the rule in its first pairs. Whatever the rule needs beyond them, such as what a word is
called in Korean, is on other pages.
"""

from __future__ import annotations

import random
from collections.abc import Callable

from .names import GOODS, INSTRUMENTS
from .world import Entity, World

Pairs = list[tuple[str, str]]

PERSONS = ["I", "you", "he", "she", "we", "they"]
FORMS = {
    "possessive": ["my", "your", "his", "her", "our", "their"],
    "object": ["me", "you", "him", "her", "us", "them"],
}
VERBS = """
    sing read walk write listen paint travel speak play work learn help wait drink open bring build count draw swim
""".split()
# English words and what they are called in Korean.
KOREAN = {
    "butterfly": "나비",
    "ocean": "바다",
    "river": "강",
    "sky": "하늘",
    "tree": "나무",
    "flower": "꽃",
    "house": "집",
    "school": "학교",
    "teacher": "선생님",
    "friend": "친구",
    "book": "책",
    "bread": "빵",
    "water": "물",
    "moon": "달",
    "star": "별",
    "snow": "눈",
}
OPPOSITES = {
    "warm": "cold",
    "big": "small",
    "long": "short",
    "early": "late",
    "full": "empty",
    "old": "new",
    "high": "low",
    "light": "dark",
    "wet": "dry",
    "soft": "hard",
    "near": "far",
    "open": "closed",
}
ENDINGS = "o um ek is al on".split()  # of words in invented dialects
OPENINGS = [
    "On the board stood this list:",
    "The class wrote:",
    "Read the list aloud:",
    "The list of the day:",
    "Side by side:",
    "",
]


def _word_forms(rng: random.Random, world: World, count: int) -> Pairs:
    """Persons with a pronoun or with the form of one verb."""
    kind = rng.randrange(3)
    if kind < 2:
        return list(zip(PERSONS, list(FORMS.values())[kind], strict=True))
    verb = rng.choice(VERBS)
    return [(person, f"{verb}s" if person in ("he", "she") else verb) for person in PERSONS]


def _table(table: dict[str, str]) -> Callable[[random.Random, World, int], Pairs]:
    def pairs(rng: random.Random, world: World, count: int) -> Pairs:
        return rng.sample(list(table.items()), min(count, len(table)))

    return pairs


def _plurals(rng: random.Random, world: World, count: int) -> Pairs:
    singulars = [word.removesuffix("s") for word in GOODS if word not in ("soap", "scales", "watches")]
    return [(word, f"{word}s") for word in rng.sample([*singulars, *INSTRUMENTS], count)]


def _dialect(rng: random.Random, world: World, count: int) -> Pairs:
    """Words with an ending that no other rule gives them; only the list says which."""
    ending = rng.choice(ENDINGS)
    words = rng.sample([*INSTRUMENTS, *KOREAN, *VERBS], count)
    return [(word, f"{word}{ending}") for word in words]


def _facts(kind: str, relation: str) -> Callable[[random.Random, World, int], Pairs]:
    def pairs(rng: random.Random, world: World, count: int) -> Pairs:
        entities: list[Entity] = rng.sample(world.of_kind(kind), count)
        return [(entity.name, entity.facts[relation]) for entity in entities]

    return pairs


RULES: dict[str, Callable[[random.Random, World, int], Pairs]] = {
    "forms": _word_forms,
    "korean": _table(KOREAN),
    "opposites": _table(OPPOSITES),
    "plurals": _plurals,
    "dialect": _dialect,
    "regions": _facts("town", "region"),
    "instruments": _facts("person", "instrument"),
}
WEIGHTS = [5, 4, 2, 1, 1, 1, 1]  # of the rules


def pair_list(rng: random.Random, world: World, rule: str = "") -> str:
    """A sentence with five to seven pairs under a rule, such as ``I: my, you: your, he: his …``; "" draws the rule."""
    rule = rule or rng.choices(list(RULES), WEIGHTS)[0]
    pairs = RULES[rule](rng, world, rng.randrange(5, 8))
    listed = ", ".join(f"{left}: {right}" for left, right in pairs)
    return f"{rng.choice(OPENINGS)} {listed}.".lstrip()
