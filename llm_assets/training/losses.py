"""The loss of tokens: as the objective of training, and measured on held-out sequences."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from llm_assets.model import IGNORE
from llm_assets.model.attention import Mask, document_mask
from llm_assets.model.transformer import Transformer

from .processes import Devices
from .sequences import SequenceSource

# (model, tokens (B, T), targets (B, T)) to the loss of each target, (B, T), 0 where the target is IGNORE. If batches
# have further arrays, it takes them too.
TargetLosses = Callable[..., Tensor]


def masked(tokens: Tensor, boundary: int | None) -> Mask | None:
    """The attention mask that keeps documents apart (`document_mask`); None without a boundary token."""
    return None if boundary is None else document_mask(tokens, boundary)


def token_losses(boundary: int | None) -> TargetLosses:
    """Cross-entropy of each target token, in nats; attention stays within documents that begin with `boundary`."""

    def losses(model: nn.Module, tokens: Tensor, targets: Tensor) -> Tensor:
        return model(tokens, targets, masked(tokens, boundary))

    return losses


@dataclass(frozen=True)
class HeldOut:
    """The sequences on which a loss is measured.

    sequences: how many of `data`, from the first. micro_batch_size: sequences per forward pass. token_bytes (V,): the
    length of each token's text in bytes, to report bits per byte. boundary: the token that begins each document, beyond
    which attention does not reach.
    """

    data: SequenceSource
    sequences: int
    micro_batch_size: int
    token_bytes: np.ndarray | None = None
    boundary: int | None = None


def mean_loss(model: Transformer, held_out: HeldOut, devices: Devices | None = None) -> dict[str, float]:
    """The loss on held-out sequences.

    devices: of the processes that share the work, each of which calls this; None is this process alone.
    Returns ``loss``, in nats per token, and with `token_bytes` also ``bits_per_byte``. Targets without bytes (special
    tokens) then count in neither.
    """
    token_bytes, step = held_out.token_bytes, held_out.micro_batch_size
    nats = count = size = 0.0
    lengths = torch.from_numpy(token_bytes.astype(np.float32)).to(model.device) if token_bytes is not None else None
    devices = devices or Devices(model.device)
    with torch.no_grad():
        for mine in devices.passes(held_out.sequences, step):
            batch = held_out.data.batch(mine.start, len(mine)) if mine else held_out.data.batch(0, 1)
            tokens, targets = (torch.from_numpy(array).to(model.device) for array in batch)
            losses = model(tokens, targets, masked(tokens, held_out.boundary))
            if not mine:
                continue
            counted = targets != IGNORE
            if lengths is not None:
                bytes_of_target = lengths[targets.clamp(min=0)] * counted
                counted &= bytes_of_target > 0
                size += float(bytes_of_target.sum())
            nats += float((losses * counted).sum().double())
            count += float(counted.sum())
    nats, count, size = devices.total(nats, count, size)
    result = {"loss": round(nats / max(count, 1), 6)}
    if lengths is not None:
        result["bits_per_byte"] = round(nats / math.log(2) / max(size, 1), 6)
    return result
