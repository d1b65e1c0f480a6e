"""Families of problems. Each family has a function that makes problems and a checker of answers.

A family of your own is a `Family` object that ``practice_problems.families`` names as ``package.module:object``. Its
`make` receives a random generator, a level and the material, and returns a `Problem`, or None if the material has
nothing to ask about. The source of its module, and of the modules that this imports from the same package, is part of
the identity of the problems, the checkpoint and the evaluation.
"""

from __future__ import annotations

import importlib
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import NamedTuple

from llm_assets.dialogue.splits import TRAIN, Split, calculation_split, split_of
from llm_assets.dialogue.wordings import CALCULATIONS, COUNTS, NUMBER_ONLY, SPELLINGS, counting_pools, two_hop_question

from .checking import CHECKERS


@dataclass(frozen=True)
class Problem:
    """A question, and the answer that the checker compares with.

    key: problems of the same key, of any family, are in the same split. split: that of the key; None is
    `dialogue.splits.split_of` of its text.
    """

    question: str
    answer: str
    key: str
    distractors: tuple[str, ...] = ()
    split: Split | None = None

    @property
    def its_split(self) -> Split:
        """The split that the problem belongs to."""
        return self.split or split_of(self.key)


@dataclass(frozen=True)
class Chain:
    """Two linked facts: the answer of the first is the entity of the second.

    relation: of the first fact. middle: its answer. second: wordings of the second question, by split. answer: the
    answer of the second. known: whether the base model knows both facts. split: of the two entities, the stricter one.
    """

    entity: str
    relation: str
    middle: str
    second: Mapping[Split, tuple[str, ...]]
    answer: str
    distractors: tuple[str, ...]
    known: bool
    split: Split


class WordProblem(NamedTuple):
    """A word problem of a file. answer: a number. steps: lines of its worked solution."""

    question: str
    answer: str
    steps: int


@dataclass
class Material:
    """What problems of a split are made from. Families use the split's wordings."""

    words: Sequence[str] = ()
    chains: Sequence[Chain] = ()
    word_problems: Sequence[WordProblem] = ()
    split: Split = TRAIN

    def restricted(self, split: Split) -> Material:
        """The material of a split."""
        return Material(
            words=[word for word in self.words if split_of(word) == split],
            chains=[chain for chain in self.chains if chain.split == split],
            word_problems=[problem for problem in self.word_problems if split_of(problem.question) == split],
            split=split,
        )

    @cached_property
    def counting_pools(self) -> list[dict[int, list[tuple[str, list[str]]]]]:
        """Of each level of LENGTHS, the words and letters by count (`dialogue.wordings.counting_pools`)."""
        return [
            counting_pools([word for word in self.words if shortest <= len(word) <= longest])
            for shortest, longest in LENGTHS
        ]

    @cached_property
    def word_problems_by_level(self) -> tuple[list[WordProblem], ...]:
        """The word problems of one or two steps, of three or four, and of more."""
        levels: tuple[list[WordProblem], ...] = ([], [], [])
        for problem in self.word_problems:
            levels[min(max(problem.steps - 1, 0) // 2, 2)].append(problem)
        return levels


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
    question = rng.choice(CALCULATIONS.of(material.split)).format(e=expression)
    return Problem(question, str(value), expression, split=calculation_split(expression))


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
    question = rng.choice(COUNTS.of(material.split)).format(w=word, c=rng.choice(candidates))
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
    return Problem(rng.choice(SPELLINGS.of(material.split)).format(w=word), word, word) if word else None


def two_hops(rng: random.Random, level: int, material: Material) -> Problem | None:
    """A fact about the entity that answers another fact: "In which region is the town where Mira Wolf was born?"

    Level 0: the model knows both facts; level 1: it does not know one of them.
    """
    chains = [chain for chain in material.chains if chain.known == (level == 0) and chain.second[material.split]]
    if not chains:
        return None
    chain = rng.choice(chains)
    question = two_hop_question(rng.choice(chain.second[material.split]), chain.middle, chain.relation, chain.entity)
    return Problem(question, chain.answer, chain.entity, chain.distractors, split=chain.split)


def word_problems(rng: random.Random, level: int, material: Material) -> Problem | None:
    """A word problem of a file. Its level is that of the number of steps: one or two, three or four, more."""
    candidates = material.word_problems_by_level[level]
    if not candidates:
        return None
    problem = rng.choice(candidates)
    return Problem(problem.question, problem.answer, problem.question)


FAMILIES = {
    family.name: family
    for family in (
        Family("arithmetic", ("two numbers", "three", "four"), arithmetic, "number", ("python",)),
        Family("letters", LENGTH_LEVELS, letters, "number", needs="words"),
        Family("letters_with_python", LENGTH_LEVELS, letters, "number", ("python",), needs="words"),
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
            f"practice_problems: {name} is a {type(family).__name__}, not a llm_assets.evaluation.problems.Family"
        )
    return family
