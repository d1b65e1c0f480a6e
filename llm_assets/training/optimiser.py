"""Muon for the hidden matrices, AdamW for the rest, and the learning rate over the steps."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from llm_assets.model.transformer import Transformer

from .plan import Optimisation


def rate(step: int, steps: int, settings: Optimisation) -> float:
    """What the learning rates are multiplied with at a step of [0, steps)."""
    warmup, cooldown = math.ceil(settings.warmup * steps), math.ceil(settings.cooldown * steps)
    if step < warmup:
        return (step + 1) / warmup
    left = steps - step
    if left <= cooldown:
        return settings.final_share + (1 - settings.final_share) * left / (cooldown + 1)
    return 1.0


def make_optimisers(model: Transformer, settings: Optimisation) -> dict[str, torch.optim.Optimizer]:
    """`adamw` and, where wanted, `muon`; each group's plateau rate stands in ``initial_lr``."""
    matrices = dict(model.matrices()) if settings.muon else {}
    taken = {id(parameter) for parameter in matrices.values()}
    rest = [parameter for parameter in model.parameters() if id(parameter) not in taken]
    plain = {"lr": settings.learning_rate, "betas": (settings.beta1, settings.beta2), "eps": 1e-10}
    groups = [
        {"params": [p for p in rest if p.ndim < 2], "weight_decay": 0.0},
        {"params": [p for p in rest if p.ndim >= 2], "weight_decay": 0.0 if settings.muon else settings.weight_decay},
    ]
    optimisers: dict[str, torch.optim.Optimizer] = {
        "adamw": torch.optim.AdamW([group for group in groups if group["params"]], fused=True, **plain)
    }
    if matrices:
        optimisers["muon"] = torch.optim.Muon(
            list(matrices.values()),
            lr=settings.matrix_learning_rate,
            weight_decay=settings.weight_decay,
            momentum=settings.momentum,
            adjust_lr_fn="match_rms_adamw",
        )
    for optimiser in optimisers.values():
        for group in optimiser.param_groups:
            group["initial_lr"] = group["lr"]
    return optimisers


def parameter_names(model: Transformer) -> Callable[[Tensor], str]:
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    return lambda parameter: names[id(parameter)]


def apply_gradients(
    model: Transformer,
    optimisers: Mapping[str, torch.optim.Optimizer],
    settings: Optimisation,
    step: int,
    steps: int,
    loss: float = 0.0,
) -> float:
    """Clip the gradient, change the weights by the rates of this step, and clear the gradient; its norm before clipping.

    Weights stay as they are where the loss or the norm is not finite.
    """
    norm = float(torch.nn.utils.clip_grad_norm_(model.parameters(), settings.clip))
    if math.isfinite(loss) and math.isfinite(norm):
        share = rate(step, steps, settings)
        for optimiser in optimisers.values():
            for group in optimiser.param_groups:
                group["lr"] = group["initial_lr"] * share
            optimiser.step()
    model.zero_grad(set_to_none=True)
    return norm
