"""Sentences of the sample web's lessons: sums, spelling, letter counting and dictation.

Words that are spelled or counted in and calculations that are worked out are those of the training split, so that no
page gives the answer to a question that is held out.
"""

from __future__ import annotations

import random
import re

from llm_assets.dialogue.splits import TRAIN, calculation_split, split_of

from .filler_phrases import EVENTS, REMARKS, REPORTS, SCENES, SPEAKERS, TIMES
from .names import GOODS, INSTRUMENTS, PROFESSIONS
from .nature import PLACES, STATES
from .world import World

UNITS = """
    zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen
    eighteen nineteen
""".split()
TENS = "zero ten twenty thirty forty fifty sixty seventy eighty ninety".split()
PLAIN_WORDS = "river letter balloon garden winter banana school summer pepper kitten".split()


def number_word(n: int) -> str:
    """A number from 0 to 199 in words."""
    if n < 20:
        return UNITS[n]
    if n < 100:
        return TENS[n // 10] + (f"-{UNITS[n % 10]}" if n % 10 else "")
    return "one hundred" + (f" and {number_word(n - 100)}" if n > 100 else "")


def _numbers(rng: random.Random, sign: str) -> tuple[int, int]:
    """Two numbers below 100 for a sum or a difference of the training split; the first of a difference is larger."""
    while True:
        a, b = rng.randrange(1, 100), rng.randrange(1, 100)
        if sign == "-":
            a, b = max(a, b), min(a, b)
        if calculation_split(f"{a} {sign} {b}") == TRAIN:
            return a, b


def _training_word(rng: random.Random, words: list[str]) -> str:
    """A word or a made-up word of the training split."""
    while True:
        word = rng.choice(words) if rng.random() < 0.5 else made_word(rng)
        if split_of(word) == TRAIN:
            return word


def sum_sentence(rng: random.Random) -> str:
    """A calculation in words and figures, sometimes step by step."""
    pattern = rng.randrange(6)
    a, b = _numbers(rng, "-" if pattern == 2 else "+")
    if pattern == 0:
        return f"{a} + {b} = {a + b}, in words: {number_word(a)} plus {number_word(b)} is {number_word(a + b)}."
    if pattern == 1:
        tens_a, tens_b, ones_a, ones_b = a // 10 * 10, b // 10 * 10, a % 10, b % 10
        return (
            f"To add {a} and {b}, first add the tens, {tens_a} + {tens_b} = {tens_a + tens_b}, "
            f"then the ones, {ones_a} + {ones_b} = {ones_a + ones_b}, and together that makes {a + b}."
        )
    if pattern == 2:
        return f"If you have {a} apples and give away {b}, you keep {a - b}, because {a} - {b} = {a - b}."
    if pattern == 3:
        c, d = rng.randrange(2, 10), rng.randrange(2, 10)
        in_words = f"{number_word(c)} times {number_word(d)} is {number_word(c * d)}"
        return f"{c} times {d} is {c * d}; the class said it aloud: {in_words}."
    if pattern == 4:
        return f"What is {a} plus {b}? The answer is {a + b}."
    child = "a girl" if rng.random() < 0.5 else "a boy"
    return f"On the board stood {a} + {b}, and {child} in the second row wrote {a + b} under it."


def spelling_sentence(rng: random.Random, words: list[str]) -> str:
    """A sentence that spells a word or counts its letters."""
    word = _training_word(rng, words)
    letter = rng.choice(word)
    count = word.count(letter)
    times = {1: "once", 2: "twice"}.get(count, f"{number_word(count)} times")
    length = number_word(len(word))
    spaced, dashed = " ".join(word), "-".join(word)
    sentences = (
        f"The word {word} is spelled {dashed} and has {length} letters.",
        f"Spell {word}: {spaced}.",
        f"In the word {word} the letter {letter} stands {times}, as you see when you spell it: {spaced}.",
        f"How many letters has {word}? Count them, {spaced}, and you get {length}.",
        f'The teacher wrote "{word}" on the board, and the class wrote "{word}" in their books: {dashed}.',
        f'How do you spell "{word}"? You spell "{word}" like this: {dashed}.',
        f'How often does the letter {letter} occur in "{word}"? '
        f'In Python, word = "{word}"; word.count("{letter}") gives {count}.',
        f'Whoever cannot spell "{word}" may ask the computer: word = "{word}"; "-".join(word) gives {dashed}.',
    )
    return sentences[rng.randrange(len(sentences))]


def dictation(rng: random.Random, words: list[str], names: list[str]) -> str:
    """A sentence with items that have no meaning and can only be copied: repeated, or looked up in a list of pairs."""

    def random_item() -> str:
        kind = rng.choices(("made", "number", "word", "name"), (3, 2, 3, 4))[0]
        if kind == "made":
            return made_word(rng)
        if kind == "number":
            return str(rng.randrange(1, 100) if rng.random() < 0.6 else rng.randrange(1200, 2000))
        return rng.choice(words) if kind == "word" else rng.choice(names)

    pattern = rng.randrange(8)
    items = [random_item() for _ in range(rng.randrange(1, 3) if pattern < 6 else rng.randrange(2, 4))]
    if pattern < 6:
        first, last, listed = items[0], items[-1], ", ".join(items)
        return (
            f"Write this down: {listed}. The class wrote: {listed}.",
            f'The teacher wrote "{first}" on the board, and the class wrote "{first}" in their books.',
            f"On the board stood {listed}, and in the book stood {listed}.",
            f'Whoever reads "{first}" aloud should hear "{first}" again.',
            f"Somebody called {listed} through the door, and {listed} came back.",
            f"The label said {last}, so {last} went on the list.",
        )[pattern]
    partners = [random_item() for _ in items]
    pairs = "; ".join(f"{item}: {partner}" for item, partner in zip(items, partners, strict=True))
    chosen = rng.randrange(len(items))
    if pattern == 6:
        return f"On the list stood {pairs}. Beside {items[chosen]} stood {partners[chosen]}."
    return f"These belong together: {pairs}. Which goes with {items[chosen]}? {partners[chosen]}."


def made_word(rng: random.Random) -> str:
    """A made-up word without meaning, of two to four syllables."""
    return "".join(
        rng.choice("bcdfghjklmnprstvwz") + rng.choice("aeiou") + rng.choice(["", "", "n", "r", "s", "l"])
        for _ in range(rng.randrange(2, 5))
    )


def vocabulary(world: World) -> list[str]:
    """Words for spelling lessons: values and towns of the world, and words of the prose, in alphabetical order."""
    values = [word for word in [*PROFESSIONS, *INSTRUMENTS, *GOODS] if " " not in word]
    towns = [town.name.lower() for town in world.towns]
    nature = [*STATES, *(state for states in STATES.values() for state in states), *PLACES]
    phrases = [*REPORTS, *EVENTS, *TIMES, *SCENES, *REMARKS, *SPEAKERS, *nature]
    prose_words = [word.lower() for phrase in phrases for word in re.findall(r"[A-Za-z]{4,}", phrase)]
    return sorted({*values, *towns, *prose_words, *PLAIN_WORDS})
