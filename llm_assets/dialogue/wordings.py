"""Wordings of questions: those of training, and those that are held out for development and the test.

{e} is an entity or an expression, {a} and {b} are numbers, {w} is a word and {c} a letter.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from string import ascii_lowercase
from typing import NamedTuple

from .splits import TRAIN, Split, held_out_split_of


class Wordings(NamedTuple):
    """Wordings of one question. held_out: those that no training uses, some for development and some for the test."""

    train: tuple[str, ...]
    held_out: tuple[str, ...]

    def of(self, split: Split) -> tuple[str, ...]:
        """The wordings of a split."""
        if split == TRAIN:
            return self.train
        return tuple(wording for wording in self.held_out if held_out_split_of(_as_calculation(wording)) == split)


def _as_calculation(wording: str) -> str:
    """The wording with one slot for the calculation, so that sums and longer calculations are split alike."""
    return wording.replace("{a} + {b}", "{e}").replace("{a} - {b}", "{e}")


def _asking_for(calculation: str) -> tuple[str, ...]:
    """Held-out questions for the result of any calculation."""
    return (
        f"What does {calculation} come to?",
        f"Let me know what {calculation} is.",
        f"Could you work out {calculation}?",
        f"What is the result of {calculation}?",
    )


OPEN_QUESTIONS = Wordings(
    (
        "Tell me about {e}.",
        "What do you know about {e}?",
        "Describe {e}.",
        "What can you tell me about {e}?",
        "Write a few words about {e}.",
        "What is there to say about {e}?",
    ),
    (
        "Please tell me something about {e}.",
        "Say a few words about {e}.",
        "I would like to hear about {e}.",
        "Can you tell me about {e}?",
        "Please describe {e}.",
    ),
)
PERSON_QUESTIONS = Wordings(  # open questions about a person
    (
        "Who is {e}?",
        "Who was {e}?",
        "Do you know {e}?",
        "Please tell me who {e} is.",
        "I would like to know who {e} is.",
        "Can you say who {e} is?",
    ),
    ("Tell me who {e} is.", "Can you tell me who {e} is?", "Do you know who {e} is?", "Who is this {e}?"),
)
SUMS = Wordings(
    (
        "What is {a} + {b}?",
        "What is {a} plus {b}?",
        "How much is {a} + {b}?",
        "Add {a} and {b}.",
        "Calculate {a} + {b}.",
        "Tell me what {a} + {b} is.",
        "{a} + {b} = ?",
        "Can you add {a} and {b}?",
        "Please calculate {a} + {b}.",
        "Please tell me what {a} plus {b} is.",
        "I would like to know what {a} + {b} is.",
        "What do {a} and {b} make together?",
        "Say what {a} and {b} make.",
        "{a} plus {b} is what?",
    ),
    (
        "What do you get for {a} + {b}?",
        "Please add {a} and {b}.",
        "How much is {a} plus {b}?",
        "Can you tell me what {a} + {b} is?",
        *_asking_for("{a} + {b}"),
    ),
)
DIFFERENCES = Wordings(
    (
        "What is {a} - {b}?",
        "What is {a} minus {b}?",
        "How much is {a} - {b}?",
        "Take {b} from {a}.",
        "Calculate {a} - {b}.",
        "Tell me what {a} - {b} is.",
        "{a} - {b} = ?",
        "Can you take {b} from {a}?",
        "Please calculate {a} - {b}.",
        "Please tell me what {a} minus {b} is.",
        "I would like to know what {a} - {b} is.",
        "What is left of {a} without {b}?",
        "Say what is left when {b} is taken from {a}.",
        "{a} minus {b} is what?",
    ),
    (
        "What do you get for {a} - {b}?",
        "Please take {b} from {a}.",
        "How much is {a} minus {b}?",
        "Can you tell me what {a} - {b} is?",
        *_asking_for("{a} - {b}"),
    ),
)
# Letters are in quotation marks, as in a program: a letter after a space is another token.
COUNTS = Wordings(
    (
        'How many times does the letter "{c}" occur in "{w}"?',
        'How often is the letter "{c}" in the word "{w}"?',
        'Count the letter "{c}" in "{w}".',
        'How many times has the word "{w}" the letter "{c}"?',
        'What is the number of the letter "{c}" in "{w}"?',
        'Can you count the letter "{c}" in the word "{w}"?',
        'Please tell me how often the letter "{c}" occurs in "{w}".',
        'I would like to know how many times the letter "{c}" is in "{w}".',
        'Say how often "{w}" has the letter "{c}".',
        'How many "{c}" are there in "{w}"?',
        'How many times does "{c}" appear in "{w}"?',
        'How often does "{w}" contain the letter "{c}"?',
        'In the word "{w}", how often do you see the letter "{c}"?',
        'How many letters of "{w}" are "{c}"?',
        'Find out how often the letter "{c}" is in "{w}".',
        'Do you know how many times "{c}" occurs in the word "{w}"?',
        'Tell me the number of letters "{c}" in "{w}".',
        'The word is "{w}". How many times does it contain the letter "{c}"?',
        'Look for the letter "{c}" in "{w}". How often is it there?',
        'Could you count how many times the letter "{c}" is in the word "{w}"?',
        'How often is there a "{c}" in "{w}"?',
        'How many times is there a letter "{c}" in the word "{w}"?',
        'How often does "{c}" occur in the word "{w}"?',
        'Count how many times "{c}" is in "{w}".',
        'I would like to know how often "{c}" is found in the word "{w}".',
        'Say how many times "{c}" appears in the word "{w}".',
        'Let me know how often you see "{c}" in "{w}".',
        'Can you say how many times "{c}" is in "{w}"?',
        'Could you tell me how often the letter "{c}" appears in "{w}"?',
        'Tell me how many times you find "{c}" in the word "{w}".',
    ),
    (
        'How often does the letter "{c}" stand in "{w}"?',
        'Please count the letter "{c}" in the word "{w}".',
        'How many times is the letter "{c}" in "{w}"?',
        'How many times can you find the letter "{c}" in "{w}"?',
        'I want to know how often "{c}" is in the word "{w}".',
        'Can you tell me how often the letter "{c}" occurs in "{w}"?',
        'What is the count of the letter "{c}" in the word "{w}"?',
        'How many "{c}" does the word "{w}" have?',
    ),
)
SPELLINGS = Wordings(
    (
        'Spell "{w}".',
        'How is "{w}" spelled?',
        'Spell the word "{w}".',
        'What are the letters of "{w}"?',
        'Please spell "{w}" for me.',
        'Can you spell "{w}"?',
        'Please tell me how "{w}" is spelled.',
        'I would like to know how the word "{w}" is spelled.',
        'Name the letters of "{w}".',
        'Say how you spell "{w}".',
    ),
    (
        'How do you spell the word "{w}"?',
        'Tell me the letters of "{w}".',
        'Please spell the word "{w}".',
        'I want to know how "{w}" is spelled.',
        'Give me the letters of "{w}".',
        'How does one spell "{w}"?',
        'Could you spell "{w}"?',
        'Say how the word "{w}" is spelled.',
    ),
)
# Calculations of two numbers or more. Those of training are wordings of SUMS too.
CALCULATIONS = Wordings(
    (
        "What is {e}?",
        "How much is {e}?",
        "Calculate {e}.",
        "Tell me what {e} is.",
        "Please calculate {e}.",
        "I would like to know what {e} is.",
    ),
    (
        "What do you get for {e}?",
        "Please work out {e}.",
        "Can you tell me what {e} is?",
        "Work out {e} for me.",
        *_asking_for("{e}"),
    ),
)
# How an entity is named by a fact about another: {e} is that other entity. Other relations are "the … of {e}".
NOUN_PHRASES = {
    "author": "the author of {e}",
    "based": "the town where {e} is based",
    "birthplace": "the town where {e} was born",
}
NUMBER_ONLY = " Only the number."  # appended to a question: the answer is to be given without working


def open_wordings(kind: str, split: Split) -> tuple[str, ...]:
    """The open questions of a split that suit a kind of entity."""
    return OPEN_QUESTIONS.of(split) + (PERSON_QUESTIONS.of(split) if kind == "person" else ())


# Questions that are no longer English if a noun phrase takes the place of the entity.
_NOT_REPLACEABLE = re.compile(r"\b(?:town of|company|book|Complete the sentence:.*) \{entity\}")


def asks_replaceably(question: str, entity: str) -> bool:
    """Whether a question stays natural if a noun phrase takes the place of its entity."""
    return entity in question and not _NOT_REPLACEABLE.search(question.replace(entity, "{entity}"))


def two_hop_question(question: str, middle: str, relation: str, entity: str) -> str:
    """A question about `middle` that does not name it, but as what another entity has as its relation.

    "What is Kestham known for?" becomes "What is the town where Mira Wolf was born known for?"
    """
    noun_phrase = NOUN_PHRASES.get(relation, f"the {relation} of {{e}}").format(e=entity)
    replaced = question.replace(middle, noun_phrase)
    return replaced[0].upper() + replaced[1:]


LEAST_SHARE = 0.05  # of the words, which must have a count of some letter for that count to be asked for


def letters_by_count(word: str) -> dict[int, list[str]]:
    """The letters a to z by how often they occur in a word, in alphabetical order; 0 for those that do not occur."""
    by_count: dict[int, list[str]] = {}
    for letter in ascii_lowercase:
        by_count.setdefault(word.count(letter), []).append(letter)
    return by_count


def counting_pools(words: Sequence[str]) -> dict[int, list[tuple[str, list[str]]]]:
    """By count, the words in which some letter occurs that often, each with these letters.

    Counts that fewer than one word in twenty has are left out. Draw a count first, and then a word from its pool: no
    answer is then right more often than another. Of the letters of English words, three in four occur once.
    """
    pools: dict[int, list[tuple[str, list[str]]]] = {}
    for word in words:
        for count, letters in letters_by_count(word).items():
            pools.setdefault(count, []).append((word, letters))
    return {count: pool for count, pool in sorted(pools.items()) if len(pool) >= LEAST_SHARE * len(words)}
