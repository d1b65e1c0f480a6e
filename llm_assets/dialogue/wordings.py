"""Wordings of questions: each pair holds those for training conversations, and those held out for evaluation.

{e} is an entity, {a} and {b} are numbers, {w} is a word and {c} a letter.
"""

from __future__ import annotations

from collections.abc import Sequence
from string import ascii_lowercase

OPEN_QUESTIONS = (
    (
        "Tell me about {e}.",
        "What do you know about {e}?",
        "Describe {e}.",
        "What can you tell me about {e}?",
        "Write a few words about {e}.",
        "What is there to say about {e}?",
    ),
    ("Please tell me something about {e}.", "Say a few words about {e}.", "I would like to hear about {e}."),
)
SUMS = (
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
    ("What do you get for {a} + {b}?", "Please add {a} and {b}.", "How much is {a} plus {b}?"),
)
DIFFERENCES = (
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
    ("What do you get for {a} - {b}?", "Please take {b} from {a}.", "How much is {a} minus {b}?"),
)
COUNTS = (
    (
        'How many times does the letter {c} occur in "{w}"?',
        'How often is the letter {c} in the word "{w}"?',
        'Count the letter {c} in "{w}".',
        'How many times has the word "{w}" the letter {c}?',
        'What is the number of the letter {c} in "{w}"?',
        'Can you count the letter {c} in the word "{w}"?',
        'Please tell me how often the letter {c} occurs in "{w}".',
        'I would like to know how many times the letter {c} is in "{w}".',
        'Say how often "{w}" has the letter {c}.',
    ),
    (
        'How often does the letter {c} stand in "{w}"?',
        'Please count the letter {c} in the word "{w}".',
        'How many times is the letter {c} in "{w}"?',
    ),
)
SPELLINGS = (
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
    ('How do you spell the word "{w}"?', 'Tell me the letters of "{w}".'),
)
NUMBER_ONLY = " Only the number."  # appended to a question: the answer is to be given without working


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
