"""Families of problems. Each family has a function that makes problems and a checker of answers.

A family of your own is a `Family` object that ``practice_problems.families`` names as ``package.module:object``. Its
`make` receives a random generator, a level and the material, and returns a `Problem`, or None if the material has
nothing to ask about. The source of its module, and of the modules that this imports from the same package, is part of
the identity of the problems, the checkpoint and the evaluation.
"""

from __future__ import annotations

import importlib
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import NamedTuple

from llm_assets.dialogue.wordings import NUMBER_ONLY, counting_pools

from .checking import CHECKERS


@dataclass(frozen=True)
class Problem:
    """A question, and the answer that the checker compares with.

    key: problems of the same key, of any family, are in the same split.
    """

    question: str
    answer: str
    key: str
    distractors: tuple[str, ...] = ()


@dataclass(frozen=True)
class Chain:
    """Two linked facts: the answer of the first is the entity of the second.

    first, second: wordings of the two questions. middle: the answer of the first. answer: the answer of the second.
    known: whether the base model knows both facts.
    """

    entity: str
    first: tuple[str, ...]
    middle: str
    second: tuple[str, ...]
    answer: str
    distractors: tuple[str, ...]
    known: bool


class WordProblem(NamedTuple):
    """A word problem of a file. answer: a number. steps: lines of its worked solution."""

    question: str
    answer: str
    steps: int


@dataclass
class Material:
    """What problems are made from."""

    words: Sequence[str] = ()
    chains: Sequence[Chain] = ()
    word_problems: Sequence[WordProblem] = ()

    def restricted(self, is_kept: Callable[[str], bool]) -> Material:
        """The material whose problems have keys that are kept."""
        return Material(
            words=[word for word in self.words if is_kept(word)],
            chains=[chain for chain in self.chains if is_kept(chain.entity)],
            word_problems=[problem for problem in self.word_problems if is_kept(problem.question)],
        )

    @cached_property
    def counting_pools(self) -> list[dict[int, list[tuple[str, list[str]]]]]:
        """Of each level of LENGTHS, the words and letters by count (`dialogue.wordings.counting_pools`)."""
        return [
            counting_pools([word for word in self.words if shortest <= len(word) <= longest])
            for shortest, longest in LENGTHS
        ]


@dataclass(frozen=True)
class Family:
    """A family of problems.

    levels: descriptions, from easy to hard. checker: a key of `CHECKERS`, or a function of (text, answer, distractors).
    tools: names of the tools that the solver has. needs: the field of Material without which no problem can be made.
    """

    name: str
    levels: tuple[str, ...]
    make: Callable[[random.Random, int, Material], Problem | None]
    checker: str | Callable[[str, str, Sequence[str]], bool]
    tools: tuple[str, ...] = ()
    needs: str = field(default="")

    def check(self, text: str, answer: str, distractors: Sequence[str] = ()) -> bool:
        """Whether the text is a right answer."""
        checker = CHECKERS[self.checker] if isinstance(self.checker, str) else self.checker
        return bool(checker(text, answer, distractors))


ARITHMETIC_WORDINGS = (
    "What is {e}?",
    "Calculate {e}.",
    "How much is {e}?",
    "What do you get for {e}?",
    "Tell me what {e} is.",
    "Please work out {e}.",
)
COUNTING_WORDINGS = (
    'How often does the letter {c} stand in "{w}"?',
    'Count the letter {c} in "{w}".',
    'How many times does the letter {c} occur in "{w}"?',
)
SPELLING_WORDINGS = ('Spell "{w}".', 'How do you spell the word "{w}"?', 'Tell me the letters of "{w}".')
OPERAND_LIMIT = 100  # operands are below it


def arithmetic(rng: random.Random, level: int, material: Material) -> Problem:
    """Sums and differences of two or more numbers, of which no intermediate result is negative."""
    value = rng.randrange(1, OPERAND_LIMIT)
    terms = [str(value)]
    for _ in range(level + 1):
        other = rng.randrange(1, OPERAND_LIMIT)
        if rng.random() < 0.5 and other <= value:
            value, sign = value - other, "-"
        else:
            value, sign = value + other, "+"
        terms += [sign, str(other)]
    expression = " ".join(terms)
    return Problem(rng.choice(ARITHMETIC_WORDINGS).format(e=expression), str(value), expression)


LENGTHS = ((3, 4), (5, 7), (8, 12))  # minimum and maximum number of letters of a word, by level
LENGTH_LEVELS = ("3 or 4 letters", "5 to 7", "8 to 12")
WORD_TRIES = 100  # draws in search of a word of the level's length


def _word(rng: random.Random, level: int, material: Material) -> str | None:
    shortest, longest = LENGTHS[level]
    for _ in range(WORD_TRIES):
        word = rng.choice(material.words)
        if shortest <= len(word) <= longest:
            return word
    return None


def letters(rng: random.Random, level: int, material: Material) -> Problem | None:
    """A letter to count in a word. All counts that the level's words have are equally likely."""
    pools = material.counting_pools[level]
    if not pools:
        return None
    count = rng.choice(list(pools))
    word, candidates = rng.choice(pools[count])
    question = rng.choice(COUNTING_WORDINGS).format(w=word, c=rng.choice(candidates))
    return Problem(question, str(count), word)


def letters_at_once(rng: random.Random, level: int, material: Material) -> Problem | None:
    """A letter to count, where the answer must be the number only.

    A policy that is trained only on counting step by step unlearns to answer with the number alone on request.
    """
    problem = letters(rng, level, material)
    return problem and replace(problem, question=problem.question + NUMBER_ONLY)


def spelling(rng: random.Random, level: int, material: Material) -> Problem | None:
    """A word to spell."""
    word = _word(rng, level, material)
    return Problem(rng.choice(SPELLING_WORDINGS).format(w=word), word, word) if word else None


def two_hops(rng: random.Random, level: int, material: Material) -> Problem | None:
    """A fact about the entity that answers another fact. Level 0: the model knows both facts; level 1: it does not."""
    chains = [chain for chain in material.chains if chain.known == (level == 0)]
    if not chains:
        return None
    chain = rng.choice(chains)
    # The second question must not name the entity, since that is the answer of the first.
    second = rng.choice(chain.second).replace(chain.middle, "that place")
    question = f"{rng.choice(chain.first)} And {second[0].lower()}{second[1:]}"
    return Problem(question, chain.answer, chain.entity, chain.distractors)


def word_problems(rng: random.Random, level: int, material: Material) -> Problem | None:
    """A word problem of a file. Its level is that of the number of steps: one or two, three or four, more."""
    candidates = [problem for problem in material.word_problems if min((problem.steps - 1) // 2, 2) == level]
    if not candidates:
        return None
    problem = rng.choice(candidates)
    return Problem(problem.question, problem.answer, problem.question)


FAMILIES = {
    family.name: family
    for family in (
        Family("arithmetic", ("two numbers", "three", "four"), arithmetic, "number", ("python",)),
        Family("letters", LENGTH_LEVELS, letters, "number", needs="words"),
        Family("letters_at_once", LENGTH_LEVELS, letters_at_once, "number_only", needs="words"),
        Family("spelling", LENGTH_LEVELS, spelling, "spelled", needs="words"),
        Family("two_hops", ("both facts known", "one is not"), two_hops, "stated", needs="chains"),
        Family(
            "word_problems",
            ("one or two steps", "three or four", "more"),
            word_problems,
            "number",
            ("python",),
            needs="word_problems",
        ),
    )
}


class ProblemError(ValueError):
    """A family that does not exist or is not valid; the message names it."""


def find_family(name: str) -> Family:
    """The family of a name, or of ``package.module:object``. Raises ProblemError."""
    if ":" not in name:
        if name not in FAMILIES:
            raise ProblemError(
                f"practice_problems: no family {name!r}; available: {', '.join(FAMILIES)}, or your own as "
                "package.module:object"
            )
        return FAMILIES[name]
    module, _, attribute = name.partition(":")
    try:
        family = getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError) as error:
        raise ProblemError(f"practice_problems: family {name!r}: {error}") from error
    if not isinstance(family, Family):
        raise ProblemError(
            f"practice_problems: {name} is a {type(family).__name__}, not a llm_assets.reinforcement.problems.Family"
        )
    return family
