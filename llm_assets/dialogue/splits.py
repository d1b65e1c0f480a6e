"""Splits: a key's text alone decides whether it belongs to training, to development or to the test.

A key is what a question is made of: a word, an entity's name, a calculation, a wording, a page's title. Every stage
asks the same function. A word that reinforcement learning is tested with is therefore spelled in no conversation, and
an entity that preference tuning is tested with is named in none. The seed has no part in it: recipes with other seeds
are tuned on the same development questions, and none of them sees a test question.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import Literal

Split = Literal["train", "development", "test"]
HeldOutSplit = Literal["development", "test"]
TRAIN: Split = "train"  # models are trained on it
DEVELOPMENT: HeldOutSplit = "development"  # recipes are tuned, checkpoints chosen and training runs stopped by it
TEST: HeldOutSplit = "test"  # only reports use it
SPLITS: tuple[Split, ...] = (TRAIN, DEVELOPMENT, TEST)  # from the least to the most held out
HELD_OUT: tuple[HeldOutSplit, ...] = (DEVELOPMENT, TEST)
# Keys of the test, whatever their hash: the examples by which people try a model first (the tour asks for them).
EXAMPLES = ("strawberry", "raspberry", "kovats", "orson kovats")
TRAIN_SHARE = 0.7  # of the keys; development and test have half of the others each


def stable_share(*parts: str) -> float:
    """A number in [0, 1) that depends on the given strings alone (the first 64 bits of their SHA-256)."""
    return int.from_bytes(hashlib.sha256("\0".join(parts).encode()).digest()[:8], "big") / 2**64


def split_of(key: str) -> Split:
    """The split of a key; case and white space do not matter."""
    is_trained = _share(key) < TRAIN_SHARE and _normalised(key) not in EXAMPLES
    return TRAIN if is_trained else held_out_split_of(key)


def held_out_split_of(key: str) -> HeldOutSplit:
    """The split of a key that is never trained on, whatever its text. It is `split_of` for keys that this holds out."""
    if _normalised(key) in EXAMPLES:
        return TEST
    share = _share(key)
    within = share / TRAIN_SHARE if share < TRAIN_SHARE else (share - TRAIN_SHARE) / (1 - TRAIN_SHARE)
    return DEVELOPMENT if within < 0.5 else TEST


def strictest(splits: Iterable[Split]) -> Split:
    """The split of something with several keys: the test's if one of them is, else development's if one of them is."""
    return max(splits, key=SPLITS.index)


def calculation_split(expression: str) -> Split:
    """The split of a calculation such as ``47 + 38 - 5``; the order of the numbers of a sum does not matter.

    Calculations that occur as steps of others belong to training: those with tens alone, and those of ones. To add 47
    and 38, people and the lessons of pages add 40 and 30, then 7 and 8, then 70 and 15.
    """
    first, *rest = expression.split()
    numbers, signs = [int(first), *map(int, rest[1::2])], rest[::2]
    if len(numbers) == 2:
        a, b = numbers
        is_step = b % 10 == 0 or (a % 10 == 0 or max(a, b) < 10 if signs == ["+"] else b < 10)
        if is_step:
            return TRAIN
    return split_of(" + ".join(map(str, sorted(numbers))) if set(signs) == {"+"} else expression)


def _normalised(key: str) -> str:
    return " ".join(key.lower().split())


def _share(key: str) -> float:
    return stable_share("split", _normalised(key))
