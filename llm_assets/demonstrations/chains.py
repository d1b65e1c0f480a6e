"""Problems of several steps that can be asked at once and step by step: pointer chasing and running sums.

Pointer chasing (k-hop composition; Sanford, Hsu, Telgarsky, arXiv:2402.09268) gives where each letter leads, in random
order: ``ad;df;fb;…|3?a`` starts at a and goes three hops on. A running sum gives a digit for each letter:
``a3b4c5?`` is 3 + 4 + 5, modulo 10. The mark says how the problem is to be answered: ``!`` at once, ``?`` step by step,
``.`` with as many dots as the steps have characters.
"""

from __future__ import annotations

import random
import string
from dataclasses import dataclass

from llm_assets.dialogue.splits import Split, split_of

POINTERS, SUMS = "pointers", "sums"
TASKS = (POINTERS, SUMS)
DIRECT, STEPS, DOTS = "at once", "step by step", "dots for steps"
MARKS = {DIRECT: "!", STEPS: "?", DOTS: "."}
CONSTANT = "best constant answer"
FEW_SUMS = 2  # additions up to which sums are so few (100 and 1,000) that every one is trained on


@dataclass(frozen=True)
class Chain:
    """A problem. steps: what is written for each step; the last character of the last one is the answer.

    given, start: the text of the prompt before and after the mark.
    """

    given: str
    start: str
    steps: tuple[str, ...]

    @property
    def answer(self) -> str:
        return self.steps[-1][-1]

    def prompt(self, style: str) -> str:
        """The text that asks for an answer in this style."""
        return self.given + MARKS[style] + self.start

    def completion(self, style: str) -> str:
        """The right completion of that prompt, without the end of the line."""
        written = "".join(self.steps)
        return {DIRECT: self.answer, STEPS: written, DOTS: "." * (len(written) - 1) + self.answer}[style]


def pointer_chain(rng: random.Random, hops: int, letters: int) -> Chain:
    """Pointers that lead through `letters` letters in a circle.

    In a circle of more than hops + 1 letters, no answer is the start, and none is just before it.
    """
    circle = rng.sample(string.ascii_lowercase[:letters], letters)
    follows = dict(zip(circle, [*circle[1:], circle[0]], strict=True))
    pairs = [first + second for first, second in follows.items()]
    rng.shuffle(pairs)
    start = rng.choice(circle)
    steps = [follows[start]]
    while len(steps) < hops:
        steps.append(follows[steps[-1]])
    return Chain(f"{';'.join(pairs)}|{hops}", start, tuple(steps))


def sum_chain(rng: random.Random, hops: int) -> Chain:
    """A sum of hops + 1 digits, modulo 10; each step writes a letter, the digit that it adds, and the sum so far."""
    digits = [rng.randrange(10) for _ in range(hops + 1)]
    labelled = list(zip(string.ascii_lowercase[: hops + 1], digits, strict=True))
    total, steps = digits[0], []
    for letter, digit in labelled[1:]:
        total = (total + digit) % 10
        steps.append(f"{letter}{digit}{total}")
    return Chain("".join(f"{letter}{digit}" for letter, digit in labelled), "", tuple(steps))


def draw_hops(rng: random.Random, most: int) -> int:
    """A number of hops to train on. Short chains are more frequent, so that each operation can be learnt alone."""
    return rng.choices(range(1, most + 1), [1 / hops for hops in range(1, most + 1)])[0]


def draw_chain(rng: random.Random, task: str, hops: int, letters: int, split: Split) -> Chain:
    """A random problem of a split; its text is its key. Sums of up to FEW_SUMS additions are in every split."""
    while True:
        chain = pointer_chain(rng, hops, letters) if task == POINTERS else sum_chain(rng, hops)
        if (task == SUMS and hops <= FEW_SUMS) or split_of(chain.given + chain.start) == split:
            return chain


def series_name(task: str, style: str) -> str:
    """The name of a series: what is asked, and how it is answered."""
    return f"{task}, {style}"
