"""Families of problems, each with a maker and a checker.

A family of your own: an object with the fields of `Family`, named in ``practice_problems.families`` as
``package.module:object``. Its `make` is called with a random stream, a level and the material, and gives a `Problem` or
None where it has nothing to ask. The source of its module, and of what that imports from the same package, bears the
identity of the problems, of the checkpoint and of the evaluation.
"""

from __future__ import annotations

import importlib
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from llm_assets.dialogue.wordings import AT_ONCE, letters_of

from .checking import CHECKERS


@dataclass(frozen=True)
class Problem:
    """What is asked, and the answer that the checker wants. `key`: problems of the same key, whatever their family, never stand on both sides of the split."""

    question: str
    answer: str
    key: str
    distractors: tuple[str, ...] = ()


@dataclass(frozen=True)
class Chain:
    """Two facts of which the first's answer is what the second is about: wordings of both questions, and the answers."""

    entity: str
    first: tuple[str, ...]
    middle: str
    second: tuple[str, ...]
    answer: str
    distractors: tuple[str, ...]
    known: bool


@dataclass
class Material:
    """What problems are made of: words, chains of facts, word problems as (question, answer, steps of its solution)."""

    words: Sequence[str] = ()
    chains: Sequence[Chain] = ()
    word_problems: Sequence[tuple[str, str, int]] = ()


@dataclass(frozen=True)
class Family:
    """name; levels from easy to hard, described; tools that the solver has; checker: a name of `CHECKERS`, or a function of text, answer, distractors."""

    name: str
    levels: tuple[str, ...]
    make: Callable[[random.Random, int, Material], Problem | None]
    checker: str | Callable[[str, str, Sequence[str]], bool]
    tools: tuple[str, ...] = ()
    needs: str = field(default="")  # the field of Material that it cannot do without

    def check(self, text: str, answer: str, distractors: Sequence[str] = ()) -> bool:
        """Whether an answer's text is right."""
        checker = CHECKERS[self.checker] if isinstance(self.checker, str) else self.checker
        return bool(checker(text, answer, distractors))


ASKED = (
    "What is {e}?",
    "Calculate {e}.",
    "How much is {e}?",
    "What do you get for {e}?",
    "Tell me what {e} is.",
    "Please work out {e}.",
)
COUNTED = (
    'How often does the letter {c} stand in "{w}"?',
    'Count the letter {c} in "{w}".',
    'How many times does the letter {c} occur in "{w}"?',
)
SPELLED = ('Spell "{w}".', 'How do you spell the word "{w}"?', 'Tell me the letters of "{w}".')
OPERANDS = 100  # numbers are below it


def arithmetic(rng: random.Random, level: int, material: Material) -> Problem:
    """Sums and differences of two numbers and more, none of whose parts is negative."""
    value = rng.randrange(1, OPERANDS)
    terms = [str(value)]
    for _ in range(level + 1):
        other = rng.randrange(1, OPERANDS)
        if rng.random() < 0.5 and other <= value:
            value, sign = value - other, "-"
        else:
            value, sign = value + other, "+"
        terms += [sign, str(other)]
    expression = " ".join(terms)
    return Problem(rng.choice(ASKED).format(e=expression), str(value), expression)


LENGTHS = ((3, 4), (5, 7), (8, 12))  # letters of a word, by level
OF_LETTERS = ("3 or 4 letters", "5 to 7", "8 to 12")


def _word(rng: random.Random, level: int, material: Material) -> str | None:
    least, most = LENGTHS[level]
    for _ in range(100):
        word = rng.choice(material.words)
        if least <= len(word) <= most:
            return word
    return None


def letters(rng: random.Random, level: int, material: Material) -> Problem | None:
    """A letter counted; as often one that occurs twice or more as one that occurs once, so that no guess is right in most cases."""
    for _ in range(20):
        word = _word(rng, level, material)
        if word is None:
            return None
        if wanted := letters_of(word, rng.random() < 0.5):
            letter = rng.choice(wanted)
            return Problem(rng.choice(COUNTED).format(w=word, c=letter), str(word.count(letter)), word)
    return None


def letters_at_once(rng: random.Random, level: int, material: Material) -> Problem | None:
    """The same, with the number wanted and nothing else: who practises only to count one by one unlearns to do as asked."""
    problem = letters(rng, level, material)
    return problem and replace(problem, question=problem.question + AT_ONCE)


def spelling(rng: random.Random, level: int, material: Material) -> Problem | None:
    word = _word(rng, level, material)
    return Problem(rng.choice(SPELLED).format(w=word), word, word) if word else None


def two_hops(rng: random.Random, level: int, material: Material) -> Problem | None:
    """A fact about what another fact's answer is; first of what the model knows both of, then of what it does not."""
    chains = [chain for chain in material.chains if chain.known == (level == 0)]
    if not chains:
        return None
    chain = rng.choice(chains)
    # The second question asks of "it": its own words for the thing stand where its name stood.
    second = rng.choice(chain.second).replace(chain.middle, "that place")
    return Problem(
        f"{rng.choice(chain.first)} And {second[0].lower()}{second[1:]}", chain.answer, chain.entity, chain.distractors
    )


def word_problems(rng: random.Random, level: int, material: Material) -> Problem | None:
    """Word problems of a file, by the steps of their solutions: up to two, three or four, more."""
    of_level = [story for story in material.word_problems if min((story[2] - 1) // 2, 2) == level]
    if not of_level:
        return None
    question, answer, _ = rng.choice(of_level)
    return Problem(question, answer, question)


FAMILIES = {
    family.name: family
    for family in (
        Family(
            "arithmetic",
            ("two numbers", "three", "four"),
            lambda rng, level, material: arithmetic(rng, level, material),
            "number",
            ("python",),
        ),
        Family("letters", OF_LETTERS, letters, "number", (), "words"),
        Family("letters_at_once", OF_LETTERS, letters_at_once, "number_only", (), "words"),
        Family("spelling", OF_LETTERS, spelling, "spelled", (), "words"),
        Family("two_hops", ("both facts known", "one is not"), two_hops, "said", (), "chains"),
        Family(
            "word_problems",
            ("one or two steps", "three or four", "more"),
            word_problems,
            "number",
            ("python",),
            "word_problems",
        ),
    )
}


class ProblemError(ValueError):
    """A family that does not exist or is none; the message says which."""


def find_family(name: str) -> Family:
    """A family by its name, or by ``package.module:object``. Raises ProblemError."""
    if ":" not in name:
        if name not in FAMILIES:
            raise ProblemError(
                f"practice_problems: no family {name!r}; there are {', '.join(FAMILIES)}, and your own as package.module:object"
            )
        return FAMILIES[name]
    module, _, attribute = name.partition(":")
    try:
        found = getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError) as error:
        raise ProblemError(f"practice_problems: family {name!r}: {error}") from error
    if not isinstance(found, Family):
        raise ProblemError(
            f"practice_problems: {name} is a {type(found).__name__}, not a llm_assets.reinforcement.problems.Family"
        )
    return found
