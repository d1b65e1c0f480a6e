"""Mutates seeds at random, after a fixed seed: the operations of a fuzzer that knows nothing of the format."""

from __future__ import annotations

import random
from collections.abc import Sequence

MAX_BYTES = 1 << 15
# Values at which parsers of sizes and of texts break.
TOKENS = (
    b"\0",
    b"\xff" * 4,
    b"\x7f\xff\xff\xff",
    b"\n",
    b"\r\n\r\n",
    b"<",
    b">",
    b'"',
    b"[" * 300,
    b"0",
    b"9" * 30,
    b"-1",
)


def mutated(seeds: Sequence[bytes], rng: random.Random) -> bytes:
    """A seed after one to eight changes: of bits, bytes and stretches, with pieces of other seeds."""
    data = bytearray(rng.choice(seeds))
    for _ in range(rng.choice((1, 1, 2, 4, 8))):
        start = rng.randrange(len(data) + 1)
        end = min(len(data), start + rng.choice((1, 1, 2, 4, 16, 64)))
        change = rng.randrange(7)
        if change == 0 and start < len(data):
            data[start] ^= 1 << rng.randrange(8)
        elif change == 1 and start < len(data):
            data[start] = rng.randrange(256)
        elif change == 2:
            del data[start:end]
        elif change == 3:
            data[start:start] = data[start:end] * rng.choice((1, 2, 50))
        elif change == 4:
            data[start:start] = rng.choice(TOKENS)
        elif change == 5:
            other = rng.choice(seeds)
            at = rng.randrange(len(other) + 1)
            data[start:end] = other[at : at + rng.choice((4, 16, 64, 256))]
        elif change == 6:
            del data[start if rng.random() < 0.2 else len(data) :]
        del data[MAX_BYTES:]
    return bytes(data)
