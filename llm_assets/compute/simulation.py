"""When the tasks of a step would end on many cores: a simulation of events, with the times of tasks that were measured.

An engine starts tasks in their order, each on the core that becomes free first. The step ends with its last task.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True)
class TaskLoad:
    """What a task takes: `seconds` of one core, and before that `moved` bytes over the network."""

    seconds: float
    moved: float = 0.0


@dataclass(frozen=True)
class Schedule:
    """A simulated step. seconds: until its last task ends. straggling: the part of it in which a core has no task left,
    averaged over the cores.
    """

    seconds: float
    straggling: float


def simulate(loads: Iterable[TaskLoad], cores: int, bytes_per_second: float | None = None) -> Schedule:
    """Run the tasks on `cores` cores that share a network.

    Transfers follow each other at the network's full rate, which moves as much in a given time as sharing it would. A
    core waits for its transfer. bytes_per_second: None where nothing is moved.
    """
    free, network = [0.0] * cores, 0.0
    for load in loads:
        start = heapq.heappop(free)
        if load.moved and bytes_per_second is not None:
            start = network = max(network, start) + load.moved / bytes_per_second
        heapq.heappush(free, start + load.seconds)
    end = max(free)
    return Schedule(end, end - sum(free) / cores)
