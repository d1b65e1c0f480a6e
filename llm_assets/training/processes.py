"""The processes that train a model together, and the device of each."""

from __future__ import annotations

import contextlib
import math
import os
import resource
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from llm_assets.model.devices import autocast, find_device, half_precision, measured_peak, pick_device

# How long a process waits for the others. The first one samples texts and evaluates a policy while the others already
# wait in the next step's exchange of gradients; after torch's ten minutes on GPUs they would end the training.
PATIENCE = timedelta(hours=2)
# The same on several machines. A process learns at once that another on its machine has ended, but not that a machine
# has lost power: the others wait so long, and are paid for. Half an hour is three times torch's limit, and more than
# the first process takes for texts and evaluation between two steps.
PATIENCE_WITH_MACHINES = timedelta(minutes=30)


@dataclass(frozen=True)
class Devices:
    """The device of this process, its rank, and the number of processes that train together (`world`)."""

    device: torch.device
    rank: int = 0
    world: int = 1

    @property
    def cuda(self) -> bool:
        return self.device.type == "cuda"

    @property
    def description(self) -> str:
        """The GPU's name, or the number of CPU threads."""
        return torch.cuda.get_device_name(self.device) if self.cuda else f"CPU, {torch.get_num_threads()} threads"

    def autocast(self) -> contextlib.AbstractContextManager[Any]:
        """Mixed precision as set by LLM_ASSETS_PRECISION (`model.devices.half_precision`)."""
        return autocast(self.device.type)

    def pinned(self, tensor: Tensor) -> Tensor:
        """A tensor of the CPU from which copies to this device do not make the process wait."""
        return tensor.pin_memory() if self.cuda else tensor

    def share(self, count: int) -> range:
        """The part of `count` numbered items that this process handles."""
        return range(count * self.rank // self.world, count * (self.rank + 1) // self.world)

    def passes(self, count: int, size: int) -> Iterator[range]:
        """`share` in pieces of `size` items: as many on every process, so that the last may be empty.

        All processes that a model is divided among have to run it equally often.
        """
        mine, largest = self.share(count), math.ceil(count / self.world)
        for number in range(math.ceil(largest / size)):
            yield mine[number * size : (number + 1) * size]

    def total(self, *values: float) -> list[float]:
        """Each value summed over all processes."""
        if self.world == 1:
            return list(values)
        tensor = torch.tensor(values, dtype=torch.float64, device=self.device)
        dist.all_reduce(tensor)
        return tensor.tolist()  # type: ignore[no-any-return]

    def broadcast(self, text: str) -> str:
        """The first process's text, on every process."""
        if self.world == 1:
            return text
        box = [text]
        dist.broadcast_object_list(box, src=0)
        return box[0]

    def wait_for_all(self) -> None:
        """Return once every process has got here."""
        if self.world > 1:
            dist.barrier()

    def peak_memory(self) -> int:
        """Peak memory in bytes, of the GPU or of this process."""
        if self.cuda:
            return torch.cuda.max_memory_allocated()
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024

    def peak_flops(self) -> float:
        """FLOP/s that all processes can reach together, for MFU; 0 for a GPU that `model.devices` does not list."""
        if self.cuda:
            known = find_device(torch.cuda.get_device_name(self.device))
            return known.peak * self.world if known else 0.0
        state = torch.get_rng_state()  # the measurement draws random numbers
        peak = measured_peak() * self.world
        torch.set_rng_state(state)
        return peak


def shard(model: Any, devices: Devices) -> None:
    """Divide the weights of a model, and with them gradients and optimiser state, among the processes (FSDP2).

    A layer is put together on each process when it is run, and again in the backward pass (Zhao et al.,
    arXiv:2304.11277). Loss and gradients are those of DistributedDataParallel but for rounding.
    """
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard

    mesh = init_device_mesh(devices.device.type, (devices.world,))
    for layer in model.layers():
        fully_shard(layer, mesh=mesh)
    fully_shard(model, mesh=mesh)


@dataclass(frozen=True)
class TrainingProcess:
    """Where a training runs. folder: of checkpoints and curve. report(kind, **values): informs the parent process."""

    folder: Path
    devices: Devices
    report: Callable[..., None]


def join_processes(wanted: str) -> Devices:
    """This process's device. If torchrun's environment variables are set, join the other processes.

    wanted: ``auto``, ``cpu`` or ``cuda``. Raises ModelError if a GPU is required and there is none.
    """
    kind = pick_device(wanted)
    world, rank, local = (
        int(os.environ.get(name, default))
        for name, default in (("WORLD_SIZE", "1"), ("RANK", "0"), ("LOCAL_RANK", "0"))
    )
    device = torch.device("cuda", local) if kind == "cuda" else torch.device("cpu")
    if kind == "cuda":
        torch.cuda.set_device(device)
        torch.set_float32_matmul_precision("high" if half_precision(kind) else "highest")
    if world > 1:
        machines = int(os.environ.get("GROUP_WORLD_SIZE", "1"))  # as torchrun says
        patience = PATIENCE if machines == 1 else PATIENCE_WITH_MACHINES
        dist.init_process_group("nccl" if kind == "cuda" else "gloo", timeout=patience)
    return Devices(device, rank, world)
