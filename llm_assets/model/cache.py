"""The cache of keys and values with which sequences are continued token by token."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from .shape import ModelShape


class KeyValueCache:
    """Keys and values of B sequences, (layers, B, K, room, F) each.

    The room grows in steps of at least STEP positions.
    """

    STEP = 64

    def __init__(self, shape: ModelShape, sequences: int, device: torch.device | str, dtype: torch.dtype):
        self.shape = shape
        size = (shape.layers, sequences, shape.kv_heads, 0, shape.head_dim)
        self.keys = torch.zeros(size, device=device, dtype=dtype)
        self.values = torch.zeros(size, device=device, dtype=dtype)
        self.length = 0

    def reserve(self, length: int) -> None:
        """Make room for `length` positions; attention reads no more than these."""
        self.length = length
        room = self.keys.shape[3]
        if length > room:
            wanted = max(-(-length // self.STEP) * self.STEP, min(2 * room, room + 1024))
            self._grow(min(wanted, max(self.shape.context, length)))

    def _grow(self, room: int) -> None:
        added = (0, 0, 0, room - self.keys.shape[3])
        self.keys, self.values = F.pad(self.keys, added), F.pad(self.values, added)

    def select(self, sequences: Tensor) -> None:
        """Keep these sequences, in this order; an index given twice makes a copy. sequences: (B',) of indices."""
        self.keys, self.values = self.keys[:, sequences], self.values[:, sequences]

    def append(self, other: KeyValueCache) -> None:
        """Add the sequences of another cache after those of this one."""
        room = max(self.keys.shape[3], other.keys.shape[3])
        for cache in (self, other):
            if cache.keys.shape[3] < room:
                cache._grow(room)
        self.keys, self.values = torch.cat([self.keys, other.keys], 1), torch.cat([self.values, other.values], 1)
        self.length = max(self.length, other.length)

    def subset(self, sequences: Tensor) -> KeyValueCache:
        """A copy with some of the sequences. `write_back` stores what is added to it."""
        copy = KeyValueCache(self.shape, 0, self.keys.device, self.keys.dtype)
        copy.keys, copy.values, copy.length = self.keys[:, sequences], self.values[:, sequences], self.length
        return copy

    def write_back(self, sequences: Tensor, subset: KeyValueCache) -> None:
        """Take over the subset's keys and values for these sequences."""
        self.reserve(max(self.length, subset.length))
        room = subset.keys.shape[3]
        if room > self.keys.shape[3]:  # the subset may have grown by a larger step
            self._grow(room)
        self.keys[:, sequences, :, :room], self.values[:, sequences, :, :room] = subset.keys, subset.values
