"""The machines that train a model together: torchrun's own settings, from the environment.

torchrun reads each of its options from a variable, ``PET_`` and the option's name: ``PET_NNODES`` machines meet at
``PET_RDZV_ENDPOINT`` (``host:port``). All of them run the same command.
"""

from __future__ import annotations

import os
import shlex
import socket
from dataclasses import dataclass

# The machine that started a job, for its processes on other machines.
STARTED_ON = "LLM_ASSETS_STARTED_ON"
LAUNCH = "LLM_ASSETS_LAUNCH"
# The process id of a torchrun, for the processes that it starts.
AGENT = "LLM_ASSETS_TORCHRUN"
# The one way of meeting that neither needs a service of its own nor a number for each machine, as `static` does.
BACKEND = "c10d"
# torchrun's settings with which each of several machines would train alone, or go on after an error that ends the job.
ALONE = ("PET_STANDALONE", "PET_MAX_RESTARTS")


@dataclass(frozen=True)
class Nodes:
    """count: of machines. command: runs the words after it on each of them (``srun``); empty starts one torchrun here,
    and the others are started by hand.
    """

    count: int = 1
    command: tuple[str, ...] = ()

    @classmethod
    def from_environment(cls) -> Nodes:
        """Read PET_NNODES and LLM_ASSETS_LAUNCH. Raises ValueError, naming the variable, if one is invalid, or if one
        of torchrun's other variables does not go with several machines.
        """
        count = os.environ.get("PET_NNODES", "1")
        if not count.isdigit() or int(count) < 1:
            raise ValueError(f"PET_NNODES is {count!r}; it must be a number of machines, which stays the same")
        if int(count) > 1:
            _check_meeting(count)
        return cls(int(count), tuple(shlex.split(os.environ.get(LAUNCH, ""))) if int(count) > 1 else ())

    def options(self, processes: int) -> list[str]:
        """torchrun's options for so many processes on all machines together. Raises ValueError if they differ."""
        if processes % self.count:
            raise ValueError(f"{processes} processes cannot be divided among PET_NNODES={self.count} machines")
        per_node = f"--nproc-per-node={processes // self.count}"
        return [per_node] if self.count > 1 else ["--standalone", per_node]


def _check_meeting(count: str) -> None:
    """Raises ValueError, naming the variable, if so many machines would not meet."""
    for name in ("PET_RDZV_BACKEND", "PET_RDZV_ENDPOINT"):
        if not os.environ.get(name):
            raise ValueError(f"PET_NNODES is {count}, but {name} is not set: the machines would not meet")
    if (backend := os.environ["PET_RDZV_BACKEND"]) != BACKEND:
        raise ValueError(f"PET_RDZV_BACKEND is {backend!r}; several machines meet with {BACKEND} alone")
    endpoint = os.environ["PET_RDZV_ENDPOINT"]
    host, _, port = endpoint.rpartition(":")
    if not host or not port.isdecimal() or not 0 < int(port) < 65_536:
        raise ValueError(f"PET_RDZV_ENDPOINT is {endpoint!r}; it must be host:port of one of the machines")
    for name in ALONE:
        if os.environ.get(name, "0") not in ("", "0"):
            raise ValueError(f"{name} is {os.environ[name]!r}, which does not go with PET_NNODES={count}")


def is_where_it_started() -> bool:
    """Whether this process runs on the machine that started its job."""
    here = socket.gethostname()
    return os.environ.get(STARTED_ON, here) == here
