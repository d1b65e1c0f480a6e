"""Muon for the hidden matrices, AdamW for the other weights, and the learning-rate schedule."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from typing import Protocol

import torch
from torch import Tensor, nn

from llm_assets.model.sharded import is_sharded, whole
from llm_assets.model.training_memory import MemorySavings

from .muon import StackedMuon
from .plan import Optimisation


class Trainable(Protocol):
    """A torch module that says which of its weights are hidden matrices, which Muon trains."""

    def matrices(self) -> Iterator[tuple[str, nn.Parameter]]: ...

    def parameters(self) -> Iterator[nn.Parameter]: ...

    def named_parameters(self) -> Iterator[tuple[str, nn.Parameter]]: ...

    def to(self, device: torch.device) -> Trainable: ...

    def layers(self) -> nn.ModuleList: ...

    def save_memory(self, savings: MemorySavings) -> None: ...

    def zero_grad(self, set_to_none: bool = True) -> None: ...


def schedule(step: int, steps: int, optimisation: Optimisation) -> float:
    """The factor of the plateau learning rates at step `step` of [0, steps): warmup, plateau, cooldown."""
    warmup, cooldown = math.ceil(optimisation.warmup * steps), math.ceil(optimisation.cooldown * steps)
    if step < warmup:
        return (step + 1) / warmup
    remaining = steps - step
    if remaining <= cooldown:
        return optimisation.final_share + (1 - optimisation.final_share) * remaining / (cooldown + 1)
    return 1.0


def make_optimisers(model: Trainable, optimisation: Optimisation) -> dict[str, torch.optim.Optimizer]:
    """The optimisers by name: `adamw` and, if the plan uses it, `muon`.

    ``initial_lr`` of a group is its plateau rate.
    """
    # Muon's steps are as large in every direction of a matrix, which a factor of a low-rank product is not made for.
    has_muon = optimisation.muon and optimisation.adapters is None
    matrices = dict(model.matrices()) if has_muon else {}
    matrix_ids = {id(parameter) for parameter in matrices.values()}
    others = [
        parameter for parameter in model.parameters() if parameter.requires_grad and id(parameter) not in matrix_ids
    ]
    groups = [
        {"params": [parameter for parameter in others if parameter.ndim < 2], "weight_decay": 0.0},
        {
            "params": [parameter for parameter in others if parameter.ndim >= 2],
            "weight_decay": 0.0 if has_muon else optimisation.weight_decay,
        },
    ]
    optimisers: dict[str, torch.optim.Optimizer] = {
        "adamw": torch.optim.AdamW(
            [group for group in groups if group["params"]],
            lr=optimisation.learning_rate,
            betas=(optimisation.beta1, optimisation.beta2),
            eps=1e-10,
            fused=True,
        )
    }
    if matrices:
        # On a CPU, stacks would gain nothing.
        has_stacks = all(matrix.is_cuda or is_sharded(matrix) for matrix in matrices.values())
        optimisers["muon"] = (StackedMuon if has_stacks else torch.optim.Muon)(
            list(matrices.values()),
            lr=optimisation.matrix_learning_rate,
            weight_decay=optimisation.weight_decay,
            momentum=optimisation.momentum,
            adjust_lr_fn="match_rms_adamw",
        )
    for optimiser in optimisers.values():
        for group in optimiser.param_groups:
            group["initial_lr"] = group["lr"]
    return optimisers


def parameter_names(model: Trainable) -> Callable[[Tensor], str]:
    """A function from a parameter of the model to its name."""
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    return lambda parameter: names[id(parameter)]


def clip_gradient(model: Trainable, clip: float) -> float:
    """Scale the gradient down to norm `clip`; returns its norm before."""
    return float(whole(torch.nn.utils.clip_grad_norm_(model.parameters(), clip)))


def apply_gradient(optimisers: Mapping[str, torch.optim.Optimizer], factor: float) -> None:
    """Change the weights, at `factor` times the plateau learning rates."""
    for optimiser in optimisers.values():
        for group in optimiser.param_groups:
            group["lr"] = group["initial_lr"] * factor
        optimiser.step()
