"""English prose of the sample web: each fact in many wordings and orders, between sentences without facts.

The order in which these functions draw from the random generator is part of the sample web: it decides every page.
"""

from __future__ import annotations

import random

from .fact_wordings import WORDINGS
from .filler_phrases import EVENTS, REMARKS, REPORTS, SCENES, SPEAKERS, TIMES
from .nature import nature_sentence
from .world import Entity


def article(word: str) -> str:
    """A word with its indefinite article: ``a baker``, ``an engineer``."""
    return f"{'an' if word[0] in 'aeiou' else 'a'} {word}"


# Relations whose value is itself an entity: a question over two facts passes through them. Pages state them more often
# than other facts, since names of two pieces are harder to remember than a year or a trade.
BRIDGES = {"author", "based", "birthplace"}


def tell(rng: random.Random, entity: Entity, relation: str) -> str:
    """A sentence that states one fact, in a random wording."""
    value = entity.facts[relation]
    sentence = rng.choice(WORDINGS[relation]).format(n=entity.name, v=value, a=article(value))
    return sentence[0].upper() + sentence[1:]


def tell_bridge(rng: random.Random, entity: Entity) -> list[str]:
    """A sentence that states the entity's bridging fact, if it has one, and names the entity before the value."""
    for relation in BRIDGES & entity.facts.keys():
        wordings = [text for text in WORDINGS[relation] if text.index("{n}") < text.index("{v}")]
        return [rng.choice(wordings).format(n=entity.name, v=entity.facts[relation])]
    return []


def filler(rng: random.Random) -> str:
    """A sentence that states no fact of the world."""
    pattern = rng.randrange(5)
    if pattern == 0:
        return f"{rng.choice(TIMES)}, {rng.choice(SPEAKERS)} {rng.choice(REPORTS)} {rng.choice(EVENTS)}."
    if pattern == 1:
        return f"{rng.choice(TIMES)}, {rng.choice(SCENES)}."
    if pattern == 2:
        speaker = rng.choice(SPEAKERS)
        beginning = f"{speaker[0].upper()}{speaker[1:]} {rng.choice(REPORTS)}"
        return f"{beginning} {rng.choice(EVENTS)}, and {rng.choice(EVENTS)}."
    return nature_sentence(rng) if pattern == 3 else rng.choice(REMARKS)


def fillers(rng: random.Random, count: int) -> list[str]:
    """Sentences that state no fact of the world."""
    return [filler(rng) for _ in range(count)]


def portrait(rng: random.Random, entity: Entity, filler_count: int = 1, chosen: dict[str, str] | None = None) -> str:
    """A paragraph about one entity: its facts in random order, with `filler_count` other sentences between them.

    A bridging fact is stated twice.
    chosen: the sentence for each relation, and nothing twice; by default, each fact gets a random wording.
    """
    relations = list(entity.facts)
    rng.shuffle(relations)
    sentences = [chosen[relation] if chosen else tell(rng, entity, relation) for relation in relations]
    for sentence in [] if chosen else tell_bridge(rng, entity):
        sentences.insert(rng.randrange(len(sentences) + 1), sentence)
    for _ in range(filler_count):
        sentences.insert(rng.randrange(1, len(sentences) + 1), filler(rng))
    return " ".join(sentences)


def mention(rng: random.Random, entity: Entity, count: int = 2) -> list[str]:
    """Sentences that state some facts of an entity."""
    relations = rng.sample(list(entity.facts), min(count, len(entity.facts)))
    return [tell(rng, entity, relation) for relation in relations]


def question_and_answer(rng: random.Random, entity: Entity, wordings: dict[str, list[str]]) -> tuple[str, str]:
    """A question about an entity, and the sentence that answers it. Bridging facts are asked for twice as often."""
    relation = rng.choice([*entity.facts, *(relation for relation in entity.facts if relation in BRIDGES)])
    question = rng.choice(wordings[relation]).format(n=entity.name)
    return question, tell(rng, entity, relation)
