"""Initial weights with an induction head, which small models trained for minutes do not find by themselves.

An induction head (Olsson et al., arXiv:2209.11895) finds an earlier occurrence of the present token and copies the
token that followed it. Setting it up in the initial weights follows mimetic initialisation (Trockman, Kolter,
arXiv:2305.09828). Only the initial weights differ: they are trained like all others.

Two heads work together. The first head of the first layer attends to the previous token and writes what it reads there,
through a projection P (`reads`), into directions O (`writes`). The first head of the second layer takes P of its own
token as the query and O of other tokens as the key, so that it finds the token after an equal one, and writes that
token back.

The head must survive the first hundred steps, in which weights of GPT-2's standard deviation are replaced by learnt
ones ten times as large. Therefore embeddings start as large as training leaves them (EMBEDDING_STD; the weight of the
last norm compensates for that in the logits), and values and outputs as large as those of trained heads. Queries and
keys start larger still: their norms remove their length from the result, but a longer vector changes its direction more
slowly.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from .shape import ModelError, ModelShape

INDUCTION_TURN = 0.005  # radians per position: over a hundred positions, such a pair turns by half a radian at most
EMBEDDING_STD = 0.2  # of embeddings that an induction head starts from; trained ones of small models have 0.17
PREVIOUS_PAIRS = 3  # fastest rotary pairs, by which the previous token is found


def rotary_turns(shape: ModelShape) -> list[float]:
    """The angle, in radians per position, by which each rotary pair turns."""
    half = shape.head_dim // 2
    return [shape.rope_theta ** (-pair / half) for pair in range(half)]


def slow_pairs(shape: ModelShape) -> list[int]:
    """The rotary pairs that hardly depend on the position."""
    return [pair for pair, turn in enumerate(rotary_turns(shape)) if turn < INDUCTION_TURN]


def check_shape(shape: ModelShape) -> None:
    """Raise ModelError if the shape has no room for an induction head."""
    needed_width, slow = 1 + 2 * shape.head_dim, slow_pairs(shape)
    fits = shape.architecture == "qwen3" and shape.layers >= 2 and shape.width >= needed_width
    if not fits or len(slow) < 4 or shape.head_dim < 8:
        raise ModelError(
            f"an induction head needs the architecture qwen3, two layers, a width of {needed_width} and four slow "
            f"rotary pairs (this shape has {len(slow)}; raise rope_theta or head_dim); set model.induction to false"
        )


def begin_induction(model: Any, generator: torch.Generator) -> None:
    """Set up the two heads in a Transformer with fresh weights. Raises ModelError if the shape has no room for them."""
    shape = model.shape
    check_shape(shape)
    features = shape.head_dim
    basis, _ = torch.linalg.qr(torch.empty(shape.width, 1 + 2 * features).normal_(generator=generator))
    shared, reads, writes = basis[:, 0], basis[:, 1 : 1 + features].T, basis[:, 1 + features :]
    growth = EMBEDDING_STD / 0.02
    # All embeddings share one component. Tied logits do not notice it, because it shifts all of them by the same
    # amount.
    model.embedding.weight.mul_(growth).add_(2 * EMBEDDING_STD * math.sqrt(shape.width) * shared)
    model.model.norm.weight.fill_(1.5 / growth)
    previous, match = (layer.self_attn for layer in model.model.layers[:2])
    _set_head(previous, *_previous_token_weights(shape, previous, shared), reads, writes)
    _set_head(match, *_matching_token_weights(shape, match, reads, writes), reads, reads.T)


def _previous_token_weights(shape: ModelShape, attention: Any, shared: Tensor) -> tuple[Tensor, Tensor]:
    """Query and key weights, (F, D), of a head that attends to the previous token; sets the weights of their norms.

    Queries and keys are made of the shared component alone, turned against each other by one position.
    """
    half, turns = shape.head_dim // 2, rotary_turns(shape)
    query, key = torch.zeros(shape.head_dim), torch.zeros(shape.head_dim)
    for pair in range(PREVIOUS_PAIRS):
        key[pair] = 1.0
        query[pair], query[pair + half] = math.cos(turns[pair]), -math.sin(turns[pair])
        for norm in (attention.q_norm, attention.k_norm):
            norm.weight[[pair, pair + half]] = 2.5  # puts 99 % of the attention on the previous token
    return 5.0 * torch.outer(query, shared), 5.0 * torch.outer(key, shared)


def _matching_token_weights(shape: ModelShape, attention: Any, reads: Tensor, writes: Tensor) -> tuple[Tensor, Tensor]:
    """Query and key weights, (F, D), of a head that attends to tokens that follow an equal one; sets the norms'
    weights.

    It uses the slow rotary pairs, so that the distance hardly matters.
    """
    half, slow = shape.head_dim // 2, slow_pairs(shape)
    places = [*slow, *(pair + half for pair in slow)]
    query, key = torch.zeros(shape.head_dim, shape.width), torch.zeros(shape.head_dim, shape.width)
    query[places], key[places] = reads[: len(places)], writes.T[: len(places)]
    for norm in (attention.q_norm, attention.k_norm):
        norm.weight[places] = 2.0
    return 3.0 * query, 3.0 * key


def _set_head(attention: Any, query: Tensor, key: Tensor, value: Tensor, out: Tensor) -> None:
    """Give the first head of a layer these weights; a tenth of the random query and key weights stays."""
    head = slice(0, attention.head_dim)
    attention.q_proj.weight[head] = 0.1 * attention.q_proj.weight[head] + query
    attention.k_proj.weight[head] = 0.1 * attention.k_proj.weight[head] + key
    attention.v_proj.weight[head] = value
    attention.o_proj.weight[:, head] = out
