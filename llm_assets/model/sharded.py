"""Tensors that are divided among processes (torch's DTensor), as whole tensors and back."""

from __future__ import annotations

from typing import Any

from torch import Tensor


def is_sharded(tensor: Tensor) -> bool:
    return hasattr(tensor, "full_tensor")


def whole(tensor: Tensor) -> Tensor:
    """The tensor with the parts of all processes, each of which calls this; one that is not divided as it is."""
    return tensor.full_tensor() if is_sharded(tensor) else tensor  # type: ignore[attr-defined, no-any-return]


def local(tensor: Tensor) -> Tensor:
    """This process's part, in the same memory."""
    return tensor.to_local() if is_sharded(tensor) else tensor  # type: ignore[attr-defined, no-any-return]


def divided_like(tensor: Tensor, example: Any) -> Tensor:
    """A whole tensor, which every process has, divided as `example` is, on its device."""
    if not is_sharded(example):
        return tensor.to(example.device)
    from torch.distributed.tensor import distribute_tensor

    placed = tensor.to(example.to_local().device)
    return distribute_tensor(placed, example.device_mesh, example.placements, src_data_rank=None)


def joined(part: Tensor, example: Any) -> Tensor:
    """The whole tensor of parts that are divided as `example` is. All processes call this."""
    if not is_sharded(example):
        return part
    from torch.distributed.tensor import DTensor

    mesh, placements = example.device_mesh, example.placements
    return DTensor.from_local(part, mesh, placements, shape=example.shape, stride=example.stride()).full_tensor()
