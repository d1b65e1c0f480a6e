"""Muon on matrices of one size together: a GPU spends most of its time on launching the kernels of one at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from llm_assets.model.sharded import divided_like, joined, local

STACK_BYTES = 1 << 26  # of the matrices that are orthogonalised together, in bf16; more would not be faster


class StackedMuon(torch.optim.Muon):
    """torch's Muon with the same state and the same results but for rounding (Jordan et al., kellerjordan.github.io).

    Takes the settings of `optimiser.make_optimisers` alone: Nesterov momentum, and updates of the size of AdamW's. Of
    matrices that are divided among processes, each process orthogonalises all, and changes its part of them.
    """

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        """Change the weights; `closure` is not called."""
        for group in self.param_groups:
            trained = [weight for weight in group["params"] if weight.grad is not None]
            for weight in trained:
                state = self.state[weight]
                if "momentum_buffer" not in state:
                    state["momentum_buffer"] = torch.zeros_like(weight.grad)
            for weights in stacks(trained):
                self._step_together(weights, group)

    def _step_together(self, weights: Sequence[Tensor], group: Mapping[str, Any]) -> None:
        """Change matrices of one size. group: of the optimiser, with its settings."""
        learning_rate, momentum = float(group["lr"]), group["momentum"]
        gradients = [local(weight.grad) for weight in weights]  # type: ignore[arg-type]
        buffers = [local(self.state[weight]["momentum_buffer"]) for weight in weights]
        torch._foreach_lerp_(buffers, gradients, 1 - momentum)
        parts = torch._foreach_lerp(gradients, buffers, momentum)
        updates = [joined(part, weight) for part, weight in zip(parts, weights, strict=True)]
        wide = torch.stack([update.T if is_tall(update) else update for update in updates]).bfloat16()
        wide = orthogonalised(wide, group["ns_coefficients"], group["ns_steps"], group["eps"]).to(weights[0].dtype)
        changes = [change.T if is_tall(weight) else change for weight, change in zip(weights, wide, strict=True)]
        changes = [local(divided_like(change, weight)) for change, weight in zip(changes, weights, strict=True)]
        of_process = [local(weight) for weight in weights]
        torch._foreach_mul_(of_process, 1 - learning_rate * group["weight_decay"])
        torch._foreach_add_(of_process, changes, alpha=-learning_rate * 0.2 * max(weights[0].shape) ** 0.5)


def is_tall(matrix: Tensor) -> bool:
    return matrix.shape[0] > matrix.shape[1]


def stacks(matrices: Sequence[Tensor]) -> Iterator[list[Tensor]]:
    """Matrices of one size, or its transpose, by as many as STACK_BYTES hold."""
    by_size: dict[tuple[int, ...], list[Tensor]] = {}
    for matrix in matrices:
        by_size.setdefault(tuple(sorted(matrix.shape)), []).append(matrix)
    for (height, width), of_size in by_size.items():
        count = max(1, STACK_BYTES // (2 * height * width))
        yield from (of_size[first : first + count] for first in range(0, len(of_size), count))


def orthogonalised(matrices: Tensor, coefficients: Sequence[float], steps: int, epsilon: float) -> Tensor:
    """The nearest matrices with orthogonal rows, roughly: singular values become 0.5 to 1.5.

    matrices: (N, A, B), A ≤ B. Takes `steps` Newton-Schulz steps of the quintic polynomial with these coefficients, as
    torch.optim.Muon does.
    """
    a, b, c = coefficients
    matrices = matrices / matrices.norm(dim=(1, 2), keepdim=True).clamp(min=epsilon)
    for _ in range(steps):
        gram = matrices @ matrices.mT
        polynomial = torch.baddbmm(gram, gram, gram, beta=b, alpha=c)
        matrices = torch.baddbmm(matrices, polynomial, matrices, beta=a)
    return matrices
