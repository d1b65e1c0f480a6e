"""Stable splits: the text alone decides the side, so that an item stays there when others are added."""

from __future__ import annotations

import hashlib


def stable_share(*parts: str) -> float:
    """A number in [0, 1) that depends on the given strings alone (the first 64 bits of their SHA-256)."""
    return int.from_bytes(hashlib.sha256("\0".join(parts).encode()).digest()[:8], "big") / 2**64
