"""The second table of ``llm-assets plan``: the memory that each training run after the base model's needs, by parts."""

from __future__ import annotations

from collections.abc import Container, Iterator
from dataclasses import astuple, replace
from typing import Any

from llm_assets.artifacts.progress import human_size
from llm_assets.model.devices import find_device
from llm_assets.model.shape import ModelError, ModelShape
from llm_assets.model.training_memory import trained_parameters, training_memory
from llm_assets.preference.reward_checkpoint import MICRO_BATCH_SIZE as USUAL_ANSWERS
from llm_assets.recipes import Dpo, Pretraining, Recipe
from llm_assets.training.division import Demand, Division, divide, training_kind
from llm_assets.training.policy_run import MICRO_BATCH_SIZE as USUAL_COMPLETIONS
from llm_assets.training.policy_run import policy_kind
from llm_assets.training.training_run import optimisation

COLUMNS = ("training", "trained", "micro-batch", "weights", "gradients", "optimiser", "activations", "logits", "memory")
CPU_PRECISION_BYTES = 4


def demands(recipe: Recipe, shape: ModelShape) -> Iterator[tuple[str, Demand]]:
    """What each training run after the base model's wants to have divided, by the name of its stage."""
    rates, tuning = recipe.pretraining.inherited(), recipe.finetuning
    batch_tokens = tuning.batch_tokens or recipe.pretraining.batch_tokens
    _, sequences = Pretraining(batch_tokens=batch_tokens).budget(shape)
    compile = recipe.pretraining.compute.compile if tuning.compute.compile is None else tuning.compute.compile
    kind = training_kind(optimisation(tuning, rates, shape), compile)
    yield "sft_checkpoint", Demand(shape, sequences, tuning.compute, kind, may_shard=True)
    for name, pairs in (("reward_checkpoint", recipe.reward_training), ("dpo_checkpoint", recipe.dpo or Dpo())):
        kind = training_kind(optimisation(pairs, rates, shape), False)
        yield name, Demand(shape, 2 * pairs.pairs, pairs.compute, kind, USUAL_ANSWERS)
    for name, policy in (("rl_checkpoint", recipe.reinforcement), ("rlhf_checkpoint", recipe.rlhf)):
        kind = policy_kind(policy, optimisation(policy, rates, shape))
        yield name, Demand(shape, policy.prompts * policy.samples, policy.compute, kind, USUAL_COMPLETIONS)


def rows(recipe: Recipe, shape: ModelShape, device: str, processes: int) -> Iterator[tuple[str, ...]]:
    """The cells of `COLUMNS` for each training run. Sequences are counted with the whole context."""
    known = find_device(device)
    for name, demand in demands(recipe, shape):
        trained = f"{trained_parameters(shape, demand.kind.adapters) / 1e6:,.1f} M"
        if demand.kind.adapters is not None:
            trained += " (LoRA)"
        try:
            division = divide(demand, processes, known.memory if known else None, device)
        except ModelError:
            yield name, trained, *[""] * 6, "does not fit"
            continue
        yield name, trained, str(division.micro_batch_size), *_memory_cells(shape, division, known is None)


def _memory_cells(shape: ModelShape, division: Division, on_cpu: bool) -> Iterator[str]:
    kind = division.kind
    if on_cpu:
        kind = replace(kind, precision_bytes=CPU_PRECISION_BYTES)
    memory = training_memory(shape, division.micro_batch_size, kind)
    yield from map(human_size, astuple(memory))
    ways = ["activation checkpointing"] if kind.savings.activation_checkpointing else []
    ways += [f"divided among {kind.shards}"] if division.sharded else []
    yield " ".join([human_size(memory.total), f"({', '.join(ways)})" if ways else ""]).strip()


def memory_table(recipe: Recipe, shape: ModelShape, device: str, processes: int, absent: Container[str]) -> Any:
    """The table, for rich. absent: stages that the recipe does not build, or on demand only."""
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    for name in COLUMNS:
        table.add_column(name, justify="left" if name == "training" else "right")
    for cells in rows(recipe, shape, device, processes):
        if cells[0] not in absent:
            table.add_row(*cells)
    return table
