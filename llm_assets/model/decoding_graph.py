"""A decoding step as a CUDA graph.

A step of a small model is some hundred short kernels, and Python takes longer to launch them than the GPU to run them.
A graph is recorded once and launched as a whole. It is bound to the memory that it was recorded with, so it is recorded
again whenever the cache grows or sequences are dropped from it.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache as memoised
from typing import Any

import torch
from torch import Tensor

from .cache import KeyValueCache
from .prefill import CachedModel

# Takes a function without arguments, and returns one that repeats its work in the same memory.
Recorder = Callable[[Callable[[], None]], Callable[[], None]]


@memoised
def _recording_stream() -> Any:
    """The stream on which all graphs are recorded: the libraries keep work memory for every stream that they saw."""
    return torch.cuda.Stream()


def record_graph(work: Callable[[], None]) -> Callable[[], None]:
    """Record `work` on the GPU, without executing it; the result executes it."""
    graph, stream = torch.cuda.CUDAGraph(), _recording_stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        graph.capture_begin(capture_error_mode="thread_local")
        try:
            work()
        finally:
            graph.capture_end()
    torch.cuda.current_stream().wait_stream(stream)
    return graph.replay


class DecodingGraph:
    """Decoding steps of one batch. record: how a step is recorded."""

    def __init__(self, model: CachedModel, record: Recorder = record_graph):
        self.model, self.record = model, record
        self._memory: Any = None  # that the recorded step reads: the cache's arrays
        self._replay: Callable[[], None] | None = None

    def logits(self, chosen: Tensor, positions: Tensor, cache: KeyValueCache) -> Tensor:
        """The logits after each of the chosen tokens, (rows, vocabulary), until the next call.

        chosen: (rows,). positions: (rows, 1); the cache has room for them. The first step after a change of the cache
        runs as it is, the second is recorded, and all later ones repeat it.
        """
        memory = cache.keys.data_ptr(), cache.values.data_ptr(), cache.keys.shape
        if memory != self._memory:
            self._memory, self._replay = memory, None
            return self.model.next_logits(chosen, positions, cache)
        if self._replay is None:
            self._chosen, self._positions = chosen.clone(), positions.clone()
            length, cache.length = cache.length, cache.keys.shape[3]  # all of the room, at every step

            def step() -> None:
                self._logits = self.model.next_logits(self._chosen, self._positions, cache)

            self._replay = self.record(step)
            cache.length = length
        self._chosen.copy_(chosen)
        self._positions.copy_(positions)
        self._replay()
        return self._logits
