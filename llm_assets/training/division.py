"""How a training run is divided: among processes, into micro-batches, and how it saves memory where it must."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from llm_assets.compute.devices import TrainingDevices
from llm_assets.compute.nodes import Nodes
from llm_assets.model.devices import find_gpus
from llm_assets.model.shape import ModelError, ModelShape
from llm_assets.model.training_memory import (
    MemorySavings,
    TrainingKind,
    fitting_micro_batch,
    with_checkpointing,
)
from llm_assets.recipes.compute import Compute

from .plan import Optimisation

CPU_MICRO_BATCH_TOKENS = 4096  # suits the caches of two cores: from 1,024 to 16,384 tokens the speed differs by 5 %
LARGE_VOCABULARY = 65_536  # from here on, logits would need as much memory as the layers of a model of 0.6 B parameters


@dataclass(frozen=True)
class Division:
    """How a step is divided: processes on all machines, sequences of a micro-batch, the device's name, and the kind of
    training, with what saves memory.
    """

    processes: int
    micro_batch_size: int
    device: str
    kind: TrainingKind

    @property
    def sharded(self) -> bool:
        """Whether the model is divided among the processes."""
        return self.kind.shards > 1


@dataclass(frozen=True)
class Demand:
    """What a stage wants to have divided.

    batch_size: sequences of a step. usual_micro_batch: the largest micro-batch if the recipe sets none; 0 is as many
    sequences as should fit. kind: of training, without what saves memory, which the recipe sets. may_shard: the stage
    can divide its model.
    """

    shape: ModelShape
    batch_size: int
    compute: Compute
    kind: TrainingKind
    usual_micro_batch: int = 0
    may_shard: bool = False


def share_out(demand: Demand) -> Division:
    """How a step is divided on this machine, or on several like it (`Nodes`).

    The machine's settings (environment variables) take precedence over the recipe's `device` and `processes`. Raises
    ModelError as `divide`, and ValueError for settings of several machines that do not go together.
    """
    chosen = TrainingDevices.from_environment()
    chosen.to_environment()  # before GPUs are counted: CUDA_VISIBLE_DEVICES hides those that are not to be used
    gpus, memory, name = find_gpus(demand.compute.device)
    processes = chosen.processes or demand.compute.processes or max(1, gpus)
    return divide(demand, processes * Nodes.from_environment().count, memory if gpus else None, name)


def divide(demand: Demand, processes: int, memory: int | None, device: str) -> Division:
    """How a step is divided among processes. memory: of each one's GPU, in bytes; None on a CPU. device: its name.

    Raises ModelError if a GPU's memory does not hold a sequence, or if the model cannot be divided as the recipe says.
    """
    shape, compute = demand.shape, demand.compute
    if compute.sharded and not demand.may_shard:
        raise ModelError("compute.sharded: only pretraining and fine-tuning divide a model among processes")
    share = max(1, demand.batch_size // processes)
    chunked = shape.rows > LARGE_VOCABULARY if compute.chunked_logits is None else compute.chunked_logits
    savings = MemorySavings(bool(compute.activation_checkpointing), chunked)
    kind = replace(demand.kind, savings=savings, shards=processes if compute.sharded else 1)
    micro_batch_size = compute.micro_batch_size
    if not micro_batch_size and memory is not None:
        limit = min(share, demand.usual_micro_batch or share)
        kinds = list(_kinds(kind, compute, processes if demand.may_shard else 1))
        micro_batch_size, kind = _first_fitting(shape, memory, limit, kinds)
    elif not micro_batch_size:
        micro_batch_size = demand.usual_micro_batch or max(1, min(share, CPU_MICRO_BATCH_TOKENS // shape.context))
    return Division(processes, micro_batch_size, device, kind)


def _kinds(kind: TrainingKind, compute: Compute, processes: int) -> Iterator[TrainingKind]:
    """Ways to train, the fastest first: as the recipe says, and where it says nothing, with what needs less memory."""
    yield kind
    if compute.activation_checkpointing is None:
        kind = with_checkpointing(kind)
        yield kind
    if compute.sharded is None and processes > 1:
        yield replace(kind, shards=processes, compiled=False)


def _first_fitting(
    shape: ModelShape, memory: int, limit: int, kinds: Sequence[TrainingKind]
) -> tuple[int, TrainingKind]:
    """The micro-batch that fits with the first of these kinds of training that has one, and that kind."""
    for kind in kinds[:-1]:
        with contextlib.suppress(ModelError):
            return fitting_micro_batch(shape, memory, limit, kind), kind
    return fitting_micro_batch(shape, memory, limit, kinds[-1]), kinds[-1]


def training_kind(
    optimisation: Optimisation, compile: bool | None, copies: int = 0, reward_models: int = 0
) -> TrainingKind:
    """What the memory of a training run depends on.

    copies: of the model, frozen, beside it. compile: None does so on a GPU.
    """
    return TrainingKind(
        adapters=optimisation.adapters,
        muon=optimisation.muon,
        compiled=compile is not False,
        copies=copies,
        reward_models=reward_models,
    )
