"""Pages that one quality rule rejects and no other, so simple that the reason is visible."""

from __future__ import annotations

import random
from collections.abc import Callable

STOPS = ("the", "be", "to", "of", "and", "that", "have", "with")


class NewWords:
    """Invented words, each used once, so that nothing repeats unless the test wants it."""

    def __init__(self, seed: int = 1):
        self.rng, self.used = random.Random(seed), set(STOPS)

    def word(self, length: int = 6) -> str:
        while True:
            syllables = [self.rng.choice("bcdfglmnprst") + self.rng.choice("aeiou") for _ in range((length + 1) // 2)]
            word = "".join(syllables)[:length]
            if word not in self.used:
                self.used.add(word)
                return word

    def phrase(self, count: int, length: int = 6) -> str:
        return " ".join(self.word(length) for _ in range(count))

    def sentence(self, count: int = 12, length: int = 6) -> str:
        """NewWords with a stop word among them, and a full stop."""
        return f"{self.phrase(count - 2, length)} {self.rng.choice(STOPS)} {self.word(length)}.".capitalize()

    def lines(self, count: int = 14) -> list[str]:
        return [self.sentence() for _ in range(count)]


def mixed(words: NewWords, lines: list[str], extra: list[str]) -> str:
    """The lines, with the extra ones spread among them."""
    every = max(1, len(lines) // max(len(extra), 1))
    merged: list[str] = []
    for i, line in enumerate(lines):
        merged.append(line)
        if i % every == 0 and extra:
            merged.append(extra.pop())
    return "\n".join(merged + extra)


def phrases(words: NewWords, n: int, share: float) -> str:
    """Phrases of n words, each used twice between new words: `share` of the characters are in repeated n-grams."""
    lines, repeated, total = [], 0, 0
    while repeated < share * total or total < 3_000:
        phrase = words.phrase(n)
        filler = 0
        for _ in range(2):
            line = f"{words.word().capitalize()} {phrase} {words.word()} {words.rng.choice(STOPS)} {words.word()}."
            lines.append(line)
            total += len(line) + 1
        repeated += len(phrase.replace(" ", ""))
        while repeated > (share + 0.002) * total:
            line = words.sentence(9)
            filler += 1
            lines.append(line)
            total += len(line) + 1
    words.rng.shuffle(lines)
    return "\n".join(lines)


def top(words: NewWords, n: int, share: float) -> str:
    """One phrase of n words, repeated between new words until it has `share` of the characters."""
    phrase = words.phrase(n, 9)
    lines, taken, total = [], 0, 0
    while total < 4_000:
        if taken * (len(phrase)) < share * total or not lines:
            before, after = f"{words.word().capitalize()} {words.word()}", words.word()
            line = f"{before} {phrase} {after} {words.rng.choice(STOPS)} {words.word()}."
            taken += 1
        else:
            line = words.sentence()
        lines.append(line)
        total += len(line) + 1
    return "\n".join(lines)


def _duplicate_paragraphs(w: NewWords) -> str:
    paragraphs = ["\n".join(w.lines(3)) for _ in range(10)]
    return "\n\n".join([*paragraphs[:5], *["Read on."] * 8, *paragraphs[5:]])


def _duplicate_lines(w: NewWords) -> str:
    return mixed(w, w.lines(12), ["Read on."] * 8)


def _duplicate_line_characters(w: NewWords) -> str:
    # Four words a line, after a new word each time: no five words are repeated. C4 removes lines with "javascript".
    repeated = [f"javascript {w.phrase(3, 22)}" for _ in range(9)]
    before = [line[:-1] for line in w.lines(18)]
    return "\n".join(
        [*w.lines(4), *(line for pair in zip(before, repeated * 2, strict=True) for line in pair), *w.lines(2)]
    )


def _duplicate_paragraph_characters(w: NewWords) -> str:
    return _duplicate_line_characters(w).replace("\n", "\n\n")


def _numbers(w: NewWords) -> str:
    lines = []
    for _ in range(14):
        words = f"{w.phrase(5).capitalize()} {w.rng.choice(STOPS)}"
        lines.append(f"{words} {w.rng.randrange(10**6)} {w.rng.randrange(10**6)} {w.word()}.")
    return "\n".join(lines)


def _short_words(w: NewWords) -> str:
    lines = []
    for _ in range(20):
        words = ["".join(w.rng.choices("abcdefghijklmnopqrstuvwxyz", k=2)) for _ in range(16)]
        lines.append(f"{' '.join(words)} {w.rng.choice(('to', 'be', 'of'))}.")
    return "\n".join(lines)


def _newlines(w: NewWords) -> str:
    lines = [w.phrase(3, 10) for _ in range(120)]
    for i in range(0, 120, 7):
        lines[i] += "."
    lines[3], lines[5] = f"the {w.phrase(2, 13)}", f"with {w.phrase(2, 13)}"
    return "\n".join(lines)


# For each rule a page, and the rules that every page that breaks it breaks too; its test switches these off.
PAGES: dict[str, tuple[Callable[[NewWords], str], tuple[str, ...]]] = {
    "duplicate_paragraphs": (_duplicate_paragraphs, ()),
    # Repeated paragraphs are repeated lines, too.
    "duplicate_paragraph_characters": (_duplicate_paragraph_characters, ("duplicate_line_characters",)),
    "duplicate_lines": (_duplicate_lines, ()),
    "duplicate_line_characters": (_duplicate_line_characters, ()),
    "top_2_gram": (lambda w: top(w, 2, 0.21), ()),
    "top_3_gram": (lambda w: top(w, 3, 0.19), ()),
    "top_4_gram": (lambda w: top(w, 4, 0.17), ()),
    **{
        f"duplicate_{n}_grams": (lambda w, n=n, share=share: phrases(w, n, share), ())
        for n, share in ((5, 0.155), (6, 0.145), (7, 0.135), (8, 0.125), (9, 0.115), (10, 0.105))
    },
    "min_words": (lambda w: "\n".join(w.sentence(7) for _ in range(6)), ()),
    "max_words": (
        lambda w: "\n".join(
            f"{' '.join(''.join(w.rng.choices('abcdefghijklmnopqrstuvwxyz', k=5)) for _ in range(18))} the and."
            for _ in range(5_050)
        ),
        (),
    ),
    "min_word_length": (_short_words, ()),
    "max_word_length": (lambda w: "\n".join(w.sentence(9, 14) for _ in range(14)), ()),
    "hash_ratio": (
        lambda w: "\n".join(
            f"{w.phrase(5).capitalize()} #{w.word()} {w.phrase(4)} #{w.word()} {w.rng.choice(STOPS)} {w.word()}."
            for _ in range(14)
        ),
        (),
    ),
    "ellipsis_ratio": (
        lambda w: "\n".join(
            f"{w.phrase(3).capitalize()}… {w.phrase(2)} {w.rng.choice(STOPS)} {w.word()}." for _ in range(14)
        ),
        (),
    ),
    "bullet_lines": (lambda w: "\n".join(f"- {line}" for line in w.lines()), ()),
    "ellipsis_lines": (
        lambda w: "\n".join(f"{line[:-1]}…" if i % 2 else line for i, line in enumerate(w.lines())),
        (),
    ),
    "alpha_words": (_numbers, ()),
    "stop_words": (lambda w: "\n".join(f"{w.phrase(11).capitalize()}." for _ in range(14)), ()),
    "lorem_ipsum": (lambda w: "\n".join([*w.lines(), f"Lorem ipsum {w.phrase(5)}."]), ()),
    "curly_bracket": (lambda w: "\n".join([*w.lines(), f"{w.phrase(5)} {{ {w.phrase(3)}."]), ()),
    "sentences": (lambda w: "\n".join(w.sentence(20) for _ in range(4)), ()),
    "terminal_lines": (lambda w: "\n".join(f"{w.sentence(6)} {w.phrase(6)}" for _ in range(14)), ()),
    "short_lines": (
        lambda w: "\n".join(f"{w.phrase(3, 4).capitalize()} {w.rng.choice(STOPS)} {w.word(5)}." for _ in range(30)),
        (),
    ),
    "edited_duplicate_line_characters": (lambda w: "\n".join([*(lines := w.lines(30)), lines[3]]), ()),
    "newline_ratio": (_newlines, ()),
}


def golden(rule: str) -> str:
    """The page that only this rule rejects."""
    return PAGES[rule][0](NewWords())
