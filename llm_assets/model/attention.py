"""Causal attention: with a cache, within documents, with rotary positions.

Shapes: B sequences, T tokens, H query heads, K key/value heads, F features of a head.
"""

from __future__ import annotations

import math
from functools import cache as memoised
from typing import Any, NamedTuple, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from .cache import KeyValueCache
from .shape import ModelShape


class Mask(NamedTuple):
    """What keeps the documents of a sequence apart (`document_mask`).

    scores: (B, 1, T, T), added to the scores of attention, or FlexAttention's BlockMask. positions: (B, T), the place
    of each token in its document.
    """

    scores: Any
    positions: Tensor


class AttentionContext(NamedTuple):
    """What all layers attend with.

    positions: (B, T), needed with a cache; None is 0 … T - 1. cache: keys and values of earlier tokens. mask: replaces
    plain causality; positions that are learned are then those within the document.
    """

    positions: Tensor | None = None
    cache: KeyValueCache | None = None
    mask: Mask | None = None


def rotary_frequencies(shape: ModelShape) -> Tensor:
    """The angle by which each rotary pair turns per position, in radians, (F / 2,) fp64.

    With `rope_scaling`, as Llama 3.1 has it (meta-llama/llama-models, models/llama3/model.py, `apply_scaling`).
    """
    features = torch.arange(0, shape.head_dim, 2, dtype=torch.float64)
    frequencies = 1.0 / shape.rope_theta ** (features / shape.head_dim)
    scaling = shape.rope_scaling
    if scaling is None:
        return frequencies
    turns = scaling.context * frequencies / (2 * math.pi)
    unscaled = ((turns - scaling.low) / (scaling.high - scaling.low)).clamp(0, 1)
    return frequencies * (unscaled + (1 - unscaled) / scaling.factor)


def rotary_tables(shape: ModelShape) -> tuple[Tensor, Tensor]:
    """Cosines and sines, (context, F) fp32 (Su et al., arXiv:2104.09864), in transformers' layout of two halves."""
    angles = torch.outer(torch.arange(shape.context, dtype=torch.float64), rotary_frequencies(shape))
    angles = torch.cat([angles, angles], dim=-1)
    return angles.cos().float(), angles.sin().float()


def rotate(x: Tensor, cosines: Tensor, sines: Tensor) -> Tensor:
    """Turn each pair of features by the angle of its position. x: (B, H, T, F); tables: (B or 1, 1, T, F)."""
    half = x.shape[-1] // 2
    turned = torch.cat([-x[..., half:], x[..., :half]], dim=-1)
    return x * cosines + turned * sines


def document_mask(tokens: Tensor, boundary: int, blocks: bool | None = None) -> Mask:
    """The mask with which a token sees itself and the tokens before it in its own document.

    tokens: (B, T). boundary: id of the token that begins a document. On a GPU, or if `blocks` is set, the mask consists
    of blocks for FlexAttention, which skips blocks between documents. On a CPU it is (B, 1, T, T) of 0 and -inf, which
    costs no more than causality alone.
    """
    begins = tokens == boundary
    documents, length = begins.cumsum(1), tokens.shape[1]
    places = torch.arange(length, device=tokens.device).expand_as(tokens)
    positions = places - (places * begins).cummax(1).values
    if tokens.is_cuda if blocks is None else blocks:

        def visible(batch: Tensor, head: Tensor, query: Tensor, key: Tensor) -> Tensor:
            return (query >= key) & (documents[batch, query] == documents[batch, key])

        with torch.no_grad():  # in either mode, so that it is compiled once
            make = _block_mask_maker(tokens.is_cuda)
            return Mask(make(visible, len(tokens), None, length, length, device=tokens.device), positions)
    same_document = documents[:, None, :, None] == documents[:, None, None, :]
    seen = same_document & torch.ones(length, length, dtype=torch.bool, device=tokens.device).tril()
    # Additive, so that it is made here once and not from booleans in every layer (3 ms of a step of 200).
    return Mask(torch.zeros(seen.shape, device=tokens.device).masked_fill(~seen, -torch.inf), positions)


@memoised
def _block_mask_maker(compiled: bool) -> Any:
    """`create_block_mask`, compiled on a GPU, where it would otherwise write a (B, T, T) mask in every micro-batch."""
    from torch.nn.attention.flex_attention import create_block_mask

    return torch.compile(create_block_mask) if compiled else create_block_mask


@memoised
def _flex_attention(compiled: bool) -> Any:
    """FlexAttention.

    On a GPU it is compiled, or it would not be fused; within a compiled model that changes nothing.
    """
    from torch.nn.attention.flex_attention import flex_attention

    return torch.compile(flex_attention) if compiled else flex_attention


class OfLayer(Protocol):
    """A module that knows the number of its layer."""

    layer: int


def attend(query: Tensor, key: Tensor, value: Tensor, module: OfLayer, context: AttentionContext) -> Tensor:
    """Causal attention, (B, T, H x F). query: (B, H, T, F); key, value: (B, K, T, F).

    With a cache, keys and values are first written at their positions, and each query sees the positions up to its own.
    module: which attends. Its number is read only there, so that layers are compiled once and not each for itself.
    """
    positions, cache = context.positions, context.cache
    mask = None if context.mask is None else context.mask.scores
    grouped = query.shape[1] != key.shape[1]
    if mask is not None and not isinstance(mask, Tensor):
        flex_attention = _flex_attention(query.is_cuda)
        return flex_attention(query, key, value, block_mask=mask, enable_gqa=grouped).transpose(1, 2).flatten(2)
    if cache is not None:
        assert positions is not None
        layer = module.layer
        batch = torch.arange(len(key), device=key.device)[:, None]
        cache.keys[layer][batch, :, positions] = key.transpose(1, 2)
        cache.values[layer][batch, :, positions] = value.transpose(1, 2)
        key, value = cache.keys[layer][:, :, : cache.length], cache.values[layer][:, :, : cache.length]
        mask = torch.arange(key.shape[2], device=key.device) <= positions[:, None, :, None]
    out = F.scaled_dot_product_attention(query, key, value, attn_mask=mask, is_causal=mask is None, enable_gqa=grouped)
    return out.transpose(1, 2).flatten(2)
