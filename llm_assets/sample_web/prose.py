"""English prose of the sample web: each fact in many wordings and orders, between sentences without facts.

The order in which these functions draw from the random generator is part of the sample web: it decides every page.
"""

from __future__ import annotations

import random

from .fact_wordings import WORDINGS
from .filler_phrases import EVENTS, REMARKS, REPORTS, SCENES, SPEAKERS, TIMES
from .world import Entity


def article(word: str) -> str:
    """A word with its indefinite article: ``a baker``, ``an engineer``."""
    return f"{'an' if word[0] in 'aeiou' else 'a'} {word}"


def tell(rng: random.Random, entity: Entity, relation: str) -> str:
    """A sentence that states one fact, in a random wording."""
    value = entity.facts[relation]
    sentence = rng.choice(WORDINGS[relation]).format(n=entity.name, v=value, a=article(value))
    return sentence[0].upper() + sentence[1:]


def filler(rng: random.Random) -> str:
    """A sentence that states no fact of the world."""
    pattern = rng.randrange(4)
    if pattern == 0:
        return f"{rng.choice(TIMES)}, {rng.choice(SPEAKERS)} {rng.choice(REPORTS)} {rng.choice(EVENTS)}."
    if pattern == 1:
        return f"{rng.choice(TIMES)}, {rng.choice(SCENES)}."
    if pattern == 2:
        speaker = rng.choice(SPEAKERS)
        beginning = f"{speaker[0].upper()}{speaker[1:]} {rng.choice(REPORTS)}"
        return f"{beginning} {rng.choice(EVENTS)}, and {rng.choice(EVENTS)}."
    return rng.choice(REMARKS)


def fillers(rng: random.Random, count: int) -> list[str]:
    """Sentences that state no fact of the world."""
    return [filler(rng) for _ in range(count)]


def portrait(rng: random.Random, entity: Entity, filler_count: int = 1, chosen: dict[str, str] | None = None) -> str:
    """A paragraph about one entity: its facts in random order, with `filler_count` other sentences between them.

    chosen: the sentence for each relation; by default, each fact gets a random wording.
    """
    relations = list(entity.facts)
    rng.shuffle(relations)
    sentences = [chosen[relation] if chosen else tell(rng, entity, relation) for relation in relations]
    for _ in range(filler_count):
        sentences.insert(rng.randrange(1, len(sentences) + 1), filler(rng))
    return " ".join(sentences)


def mention(rng: random.Random, entity: Entity, count: int = 2) -> list[str]:
    """Sentences that state some facts of an entity."""
    relations = rng.sample(list(entity.facts), min(count, len(entity.facts)))
    return [tell(rng, entity, relation) for relation in relations]


def question_and_answer(rng: random.Random, entity: Entity, wordings: dict[str, list[str]]) -> tuple[str, str]:
    """A question about an entity, and the sentence that answers it."""
    relation = rng.choice(list(entity.facts))
    question = rng.choice(wordings[relation]).format(n=entity.name)
    return question, tell(rng, entity, relation)
