"""On which side of a split a thing stands: decided by its text alone, so that it stays there when others are added."""

from __future__ import annotations

import hashlib


def stable_share(*parts: str) -> float:
    """A number in [0, 1) that the parts alone decide."""
    return int.from_bytes(hashlib.sha256("\0".join(parts).encode()).digest()[:8], "big") / 2**64
