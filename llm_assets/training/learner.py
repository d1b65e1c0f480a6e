"""One training step, the same for every training run: micro-batches, processes, clipping, optimisers.

Pretraining, fine-tuning, the reward model, reinforcement learning and RLHF differ in their losses. How the gradient of
a loss is accumulated over micro-batches, exchanged between processes, clipped and applied is written here once.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any, Literal

import torch
import torch.distributed as dist
from torch import Tensor, nn

from llm_assets.compute.compilers import find_compiler
from llm_assets.model import IGNORE
from llm_assets.model.checkpoint import TrainingState, load_training, save_training, training_snapshot
from llm_assets.model.lora import add_adapters
from llm_assets.model.training_memory import MemorySavings
from llm_assets.model.transformer import Transformer

from .losses import TargetLosses
from .optimiser import Trainable, apply_gradient, clip_gradient, make_optimisers, parameter_names, schedule
from .plan import Optimisation
from .processes import Devices, shard
from .saving import CheckpointWriter
from .sequences import SequenceSource


@dataclass(frozen=True)
class Loss:
    """A loss that a step minimises.

    micro_batches: this process's share; each takes the model and returns a scalar, its summed loss. divisor: what the
    sum over all micro-batches of all processes is divided by, such as the number of target tokens. weight: of this loss
    in the step.
    """

    micro_batches: Sequence[Callable[[nn.Module], Tensor]]
    divisor: float = 1.0
    weight: float = 1.0


def sequence_loss(
    data: SequenceSource, step: int, batch_size: int, micro_batch_size: int, devices: Devices, losses: TargetLosses
) -> Loss:
    """The mean loss of the targets of a step's `batch_size` sequences; this process reads its share of them."""
    mine = devices.share(batch_size)
    batch = data.batch(step * batch_size + mine.start, len(mine))
    arrays = [devices.pinned(torch.from_numpy(array)) for array in batch]
    [count] = devices.total(float((arrays[1] != IGNORE).sum()))

    def summed(first: int, model: nn.Module) -> Tensor:
        parts = [array[first : first + micro_batch_size].to(devices.device, non_blocking=True) for array in arrays]
        return losses(model, *parts).sum()

    micro_batches = [partial(summed, first) for first in range(0, len(mine), micro_batch_size)]
    return Loss(micro_batches, divisor=max(count, 1.0))


def compiled(model: Any, by_layer: bool) -> Any:
    """The model, compiled as a whole; or the model itself, in which a layer was compiled for all of them.

    Chunked logits stay out of the graph of the whole, and those of a chunk are compiled by themselves.
    """
    if by_layer:
        model.compile_layers()
        return model
    if isinstance(model, Transformer) and model.savings.chunked_logits:
        model.losses = torch.compile(model.losses)  # type: ignore[method-assign, assignment]
        model.target_losses = torch.compiler.disable(model.target_losses)  # type: ignore[method-assign]
    return torch.compile(model)


NO_SAVINGS = MemorySavings()


@dataclass(frozen=True)
class Execution:
    """How the steps of a learner are computed, which changes results by rounding only.

    compile: the whole model, or by layers: the compilation takes as long as that of one layer, and lengths may differ.
    sharded: divide the model among the processes (`processes.shard`); it is not compiled then.
    """

    compile: bool | Literal["layers"] | None = False
    savings: MemorySavings = NO_SAVINGS
    sharded: bool = False


class Learner:
    """A model, its optimisers, and the processes that train it together. steps: of the whole training.

    If the optimisation has adapters, they are added to the model here, and they alone are trained.
    """

    def __init__(
        self,
        model: Trainable,
        optimisation: Optimisation,
        steps: int,
        devices: Devices,
        execution: Execution = Execution(),
    ):
        self.model, self.optimisation, self.steps, self.devices = model, optimisation, steps, devices
        self._compile, self._sharded = execution.compile, execution.sharded and devices.world > 1
        if not self._sharded:  # one that is divided among GPUs need not fit on any of them
            model.to(devices.device)
        model.save_memory(execution.savings)
        if optimisation.adapters is not None:
            add_adapters(model, optimisation.adapters)
        if self._sharded:
            shard(model, devices)
        self._optimisers = make_optimisers(model, optimisation)
        self._names = parameter_names(model)
        self._writer = CheckpointWriter(background=devices.cuda)

    @cached_property
    def _runner(self) -> nn.Module:
        """The model as losses call it: compiled, and with its gradients averaged over the processes."""
        runner: Any = self.model
        if self._sharded:
            return runner
        if self._compile and (self.devices.cuda or find_compiler("C++")):
            # A CPU's compiler may lack headers; the model then runs as it is, after a warning.
            torch._dynamo.config.suppress_errors = not self.devices.cuda
            runner = compiled(runner, by_layer=self._compile == "layers")
        if self.devices.world > 1:
            device_ids = [self.devices.device.index] if self.devices.cuda else None
            runner = torch.nn.parallel.DistributedDataParallel(runner, device_ids=device_ids)
        return runner

    def step(self, number: int, losses: Sequence[Loss]) -> tuple[list[float], float]:
        """Take step `number` of [0, steps) on the weighted sum of `losses`.

        Returns the value of each loss over all processes, and the norm of the gradient before clipping. If one of these
        is not finite, the weights are not changed.
        """
        world = self.devices.world
        sums = torch.zeros(len(losses), dtype=torch.float64, device=self.devices.device)
        pending = [(place, micro_batch) for place, loss in enumerate(losses) for micro_batch in loss.micro_batches]
        for count, (place, micro_batch) in enumerate(pending, 1):
            loss = losses[place]
            # Gradients are exchanged once, with the last micro-batch; those of a divided model with each, as no process
            # has room for all of them.
            local = world > 1 and not self._sharded and count < len(pending)
            with self._runner.no_sync() if local else contextlib.nullcontext():  # type: ignore[operator]
                with self.devices.autocast():
                    summed = micro_batch(self._runner)
                # DistributedDataParallel takes the mean over processes; the loss is a sum over all of them.
                (summed / loss.divisor * (loss.weight * world)).backward()
            sums[place] += summed.detach().double()
        if world > 1:
            dist.all_reduce(sums)
        values = [value / loss.divisor for value, loss in zip(sums.tolist(), losses, strict=True)]
        norm = clip_gradient(self.model, self.optimisation.clip)
        if all(map(math.isfinite, [*values, norm])):
            apply_gradient(self._optimisers, schedule(number, self.steps, self.optimisation))
        self.model.zero_grad(set_to_none=True)
        return values, norm

    def restore(self, folder: Path) -> TrainingState | None:
        """Load the newest training checkpoint of `folder`; None if there is none. Raises CheckpointError."""
        return load_training(folder, self.model, self._optimisers, self._names)

    def save(
        self, folder: Path, state: TrainingState, checkpoints_kept: int, written: Callable[[], None] | None = None
    ) -> None:
        """Write a training checkpoint, and delete all but the newest ones. All processes call this, the first writes.

        On a GPU the files are written while the training goes on, until `finish_saving` or the next checkpoint.
        written: called once they are.
        """
        if self.devices.rank and not self._sharded:
            return
        snapshot = training_snapshot(self.model, self._optimisers, self._names, state)
        if self.devices.rank:
            return
        self._writer.submit(partial(save_training, folder, snapshot, state.step, checkpoints_kept), written)

    def finish_saving(self) -> None:
        """Wait until all checkpoints are written. Raises OSError if one could not be."""
        self._writer.wait()
