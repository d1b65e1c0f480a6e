"""Names of tags, attributes and classes in compiled code: hashed byte by byte, and looked up in small tables."""

from __future__ import annotations

import numpy as np

from llm_assets.compiled import inlined

FNV_OFFSET = 0x811C9DC5  # the hash of an empty name
_FNV_PRIME = 0x01000193


def hash_of(name: bytes) -> int:
    """FNV-1a, 32 bits."""
    value = FNV_OFFSET
    for byte in name:
        value = ((value ^ byte) * _FNV_PRIME) & 0xFFFFFFFF
    return value


def hash_table(values: dict[str, int], size: int) -> tuple[np.ndarray, np.ndarray]:
    """Open-addressed table of names: uint32 hashes (0 is empty) and int32 values. The size is a power of two."""
    hashes, numbers = np.zeros(size, np.uint32), np.zeros(size, np.int32)
    codes = {name: hash_of(name.encode()) for name in values}
    assert len(set(codes.values())) == len(values) < size // 2 and 0 not in codes.values()
    for name, value in values.items():
        slot = codes[name] & (size - 1)
        while hashes[slot]:
            slot = (slot + 1) & (size - 1)
        hashes[slot], numbers[slot] = codes[name], value
    return hashes, numbers


@inlined
def extended(code, byte):  # type: ignore[no-untyped-def]
    """The hash of a name with one more byte."""
    return np.uint32((code ^ np.uint32(byte)) * np.uint32(_FNV_PRIME))


@inlined
def in_lower_case(byte):  # type: ignore[no-untyped-def]
    """An ASCII capital as the small letter; any other byte as it is."""
    return byte | 32 if 65 <= byte <= 90 else byte


@inlined
def look_up(hashes, values, code):  # type: ignore[no-untyped-def]
    """The value of a name's hash in a `hash_table`, or 0."""
    mask = np.uint32(len(hashes) - 1)
    slot = code & mask
    while hashes[slot] != 0 and hashes[slot] != code:
        slot = (slot + np.uint32(1)) & mask
    return values[slot] if hashes[slot] == code else 0
