"""In-context learning: tasks that can only be solved by what stands in the prompt, with more and more examples.

The words are the corpus's own, so that a small model is asked about patterns, not about words it never saw.
"""

from __future__ import annotations

import random
import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

SHOTS = (0, 1, 2, 4, 8)


@dataclass(frozen=True)
class Problem:
    """A prompt and what must follow it (after a space); `shots` examples stand before it."""

    task: str
    shots: int
    prompt: str
    answer: str


def common_words(texts: Sequence[str], count: int = 200) -> list[str]:
    """The most frequent words of four to nine lower-case letters, those that stand in most texts first."""
    counts = Counter(word for text in texts for word in set(re.findall(r"(?<![\w'])[a-z]{4,9}(?![\w'])", text)))
    return [word for word, _ in sorted(counts.items(), key=lambda item: (-item[1], item[0]))[:count]]


def _copy(rng: random.Random, words: Sequence[str], shots: int) -> tuple[str, str]:
    """Each line says its word again."""
    chosen = rng.sample(words, shots + 1)
    return "".join(f"{word}, {word}\n" for word in chosen[:-1]) + f"{chosen[-1]},", chosen[-1]


def _recall(rng: random.Random, words: Sequence[str], shots: int) -> tuple[str, str]:
    """Pairs, then one of their first words again: what stood behind it?"""
    chosen = rng.sample(words, 2 * max(shots, 1))
    pairs = list(zip(chosen[::2], chosen[1::2], strict=True))
    first, second = rng.choice(pairs)
    return "".join(f"{a}: {b}\n" for a, b in pairs[:shots]) + f"{first}:", second


def _alternate(rng: random.Random, words: Sequence[str], shots: int) -> tuple[str, str]:
    """Three words over and over."""
    chosen = rng.sample(words, 3)
    return " ".join(chosen * shots + chosen[:2]), chosen[2]


def _count(rng: random.Random, words: Sequence[str], shots: int) -> tuple[str, str]:
    """Numbers that go up by one."""
    start = rng.randrange(2, 80)
    return ", ".join(str(start + place) for place in range(shots + 1)) + ",", str(start + shots + 1)


TASKS: dict[str, Callable[[random.Random, Sequence[str], int], tuple[str, str]]] = {"copy": _copy, "recall": _recall, "alternate": _alternate, "count": _count}


def make_problems(words: Sequence[str], problems: int, seed: int, shots: Sequence[int] = SHOTS) -> list[Problem]:
    """`problems` of each task and number of examples; none where the corpus has too few words."""
    out = []
    for task, make in TASKS.items():
        if len(words) < 2 * max(shots) + 1:
            continue
        for count in shots:
            rng = random.Random(f"{seed}-{task}-{count}")
            out += [Problem(task, count, *make(rng, words, count)) for _ in range(problems)]
    return out


def few_shot_questions(pairs: Sequence[tuple[str, str, str]], problems: int, seed: int, shots: Sequence[int] = SHOTS) -> list[Problem]:
    """Questions with their answers from (kind, question, answer): the examples are of the same kind, about other things."""
    out = []
    kinds: dict[str, list[tuple[str, str]]] = {}
    for kind, question, answer in pairs:
        kinds.setdefault(kind, []).append((question, answer))
    usable = [kind for kind, rows in sorted(kinds.items()) if len(rows) > max(shots)]
    for count in shots if usable else ():
        rng = random.Random(f"{seed}-questions-{count}")
        for _ in range(problems):
            chosen = rng.sample(kinds[rng.choice(usable)], count + 1)
            lines = "".join(f"Question: {question}\nAnswer: {answer}\n" for question, answer in chosen[:-1])
            out.append(Problem("questions about facts", count, f"{lines}Question: {chosen[-1][0]}\nAnswer:", chosen[-1][1]))
    return out
