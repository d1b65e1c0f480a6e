"""Exchanges that teach arithmetic, letter counting, spelling and copying, worked out step by step or run in Python."""

from __future__ import annotations

import random
from collections.abc import Sequence

from llm_assets.dialogue.splits import TRAIN, calculation_split
from llm_assets.dialogue.wordings import COUNTS, DIFFERENCES, NUMBER_ONLY, SPELLINGS, SUMS, letters_by_count
from llm_assets.model.chat import Call, Message

from .material import Exchange, Material

# Share of the words that are non-words. With real words only, 11 % of 133 words held out for evaluation contained a
# token that no other real word has, and the model copied these words wrongly.
NON_WORD_SHARE = 0.75
REPEATS = (
    "Repeat: {w}.",
    "Say once more: {w}.",
    "Please repeat {w}.",
    "Copy these words: {w}.",
    "Write down {w}.",
    "Can you repeat {w}?",
)
MAX_REPEATED_WORDS = 6


def worked_sum(a: int, b: int) -> str:
    """The sum of two numbers: tens, then ones, then both."""
    tens_a, tens_b = a // 10 * 10, b // 10 * 10
    ones_a, ones_b = a % 10, b % 10
    tens, ones = tens_a + tens_b, ones_a + ones_b
    steps = f"{tens_a} + {tens_b} = {tens}, {ones_a} + {ones_b} = {ones}, {tens} + {ones} = {a + b}."
    return f"{steps} {a} + {b} = {a + b}."


def worked_difference(a: int, b: int) -> str:
    """The difference of two numbers: the tens of the second are subtracted first, then its ones."""
    tens, ones = b // 10 * 10, b % 10
    return f"{a} - {tens} = {a - tens}, {a - tens} - {ones} = {a - b}. {a} - {b} = {a - b}."


def worked_count(word: str, letter: str) -> str:
    """The letters one by one; each occurrence of `letter` is followed by its running count."""
    steps, count = [], 0
    for character in word:
        count += character == letter
        steps.append(f"{character} {count}" if character == letter else character)
    return f'{", ".join(steps)}. The letter "{letter}" occurs {count} times.'


def python_exchange(question: str, program: str, result: str, answer: str) -> Exchange:
    return [
        Message("user", question),
        Message("assistant", "", Call("python", program)),
        Message("tool", result),
        Message("assistant", answer),
    ]


def calculation(rng: random.Random, material: Material, tools: Sequence[str]) -> Exchange:
    """A sum or a difference, computed with Python or worked out.

    In one of ten worked cases the user wants the number only, and the answer has no steps.
    """
    is_sum = rng.random() < 0.6
    limit = 1000 if "python" in tools and rng.random() < 0.2 else 100
    a, b, sign = _training_numbers(rng, limit, is_sum)
    value = a + b if is_sum else a - b
    question = rng.choice((SUMS if is_sum else DIFFERENCES).train).format(a=a, b=b)
    if "python" in tools:
        return python_exchange(question, f"{a} {sign} {b}", str(value), f"{a} {sign} {b} = {value}.")
    if rng.random() < 0.1:
        return [Message("user", f"{question}{NUMBER_ONLY}"), Message("assistant", f"{value}.")]
    return [Message("user", question), Message("assistant", worked_sum(a, b) if is_sum else worked_difference(a, b))]


def _training_numbers(rng: random.Random, limit: int, is_sum: bool) -> tuple[int, int, str]:
    """Two numbers below the limit and the sign between them: a calculation of the training split."""
    sign = "+" if is_sum else "-"
    while True:
        a, b = rng.randrange(1, limit), rng.randrange(1, limit)
        if not is_sum:
            a, b = max(a, b), min(a, b)
        if calculation_split(f"{a} {sign} {b}") == TRAIN:
            return a, b, sign


def _word(rng: random.Random, material: Material) -> str:
    if material.non_words and rng.random() < NON_WORD_SHARE:
        return rng.choice(material.non_words)
    return rng.choice(material.words)


def repetition(rng: random.Random, material: Material, tools: Sequence[str]) -> Exchange:
    """Several words to repeat. Letter-by-letter work requires copying a word, even if no text contains its tokens."""
    count = rng.randint(2, MAX_REPEATED_WORDS)
    words = ", ".join(f'"{_word(rng, material)}"' for _ in range(count))
    return [Message("user", rng.choice(REPEATS).format(w=words)), Message("assistant", f"{words}.")]


def letters(rng: random.Random, material: Material, tools: Sequence[str]) -> Exchange:
    """A word to spell, or a letter to count in a word; all counts that the word has are equally likely."""
    word = _word(rng, material)
    if rng.random() < 0.3:
        question, spelled = rng.choice(SPELLINGS.train).format(w=word), "-".join(word)
        if "python" in tools:
            return python_exchange(question, f'word = "{word}"; "-".join(word)', spelled, f"{spelled}.")
        return [Message("user", question), Message("assistant", f"{spelled}.")]
    by_count = letters_by_count(word)
    count = rng.choice(list(by_count))
    letter = rng.choice(by_count[count])
    question = rng.choice(COUNTS.train).format(w=word, c=letter)
    if "python" in tools:
        # The letter follows the same token, a space and a quotation mark, as in the question, so it can be copied.
        # In `word.count("{letter}")` it follows another, and four of six small models always counted the same letter.
        program = f'word = "{word}"; letter = "{letter}"; word.count(letter)'
        return python_exchange(question, program, str(count), f'The letter "{letter}" occurs {count} times.')
    if rng.random() < 0.1:
        return [Message("user", f"{question}{NUMBER_ONLY}"), Message("assistant", f"{count}.")]
    return [Message("user", question), Message("assistant", worked_count(word, letter))]
