"""The memory that a training run needs, by parts: an estimate, from which micro-batches are chosen and plans are made.

It is compared with what a GPU took in docs/experiments/gpu.md. Needs only Python's own modules.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, fields, replace

from .shape import Adapters, ModelError, ModelShape

LOGIT_BYTES = 1 << 29  # of fp32 logits that are held at a time where they are computed in chunks
USABLE = 0.85  # share of a device's memory that a training run is planned with; the rest is for what no estimate counts


@dataclass(frozen=True)
class MemorySavings:
    """What is computed again in the backward pass instead of being kept. Neither changes what is learnt.

    activation_checkpointing: all that a layer computes; a forward pass more, a third of a step (Chen et al.,
    arXiv:1604.06174). chunked_logits: the logits, LOGIT_BYTES at a time, in compiled models too.
    """

    activation_checkpointing: bool = False
    chunked_logits: bool = False


@dataclass(frozen=True)
class TrainingKind:
    """What the memory of a training run depends on, besides the model's shape and the micro-batch.

    adapters: trained in place of the weights. muon: trains the hidden matrices. compiled: by torch.compile. copies:
    frozen models of the same shape that are kept beside it, such as a reference; with adapters they share its weights.
    reward_models: of the same shape, which have weights of their own in any case.
    shards: devices that weights, gradients and optimiser state are divided among. precision_bytes: of matrix products.
    """

    savings: MemorySavings = MemorySavings()
    adapters: Adapters | None = None
    muon: bool = True
    compiled: bool = True
    copies: int = 0
    reward_models: int = 0
    shards: int = 1
    precision_bytes: int = 2


@dataclass(frozen=True)
class TrainingMemory:
    """Bytes on each device. weights: in fp32, with their copies in half precision and frozen models. logits: with their
    gradients.
    """

    weights: int
    gradients: int
    optimiser: int
    activations: int
    logits: int

    @property
    def total(self) -> int:
        return sum(getattr(self, field.name) for field in fields(self))


def layer_matrices(shape: ModelShape) -> Iterator[tuple[str, int, int]]:
    """Name, inputs and outputs of each matrix of a layer."""
    width, hidden = shape.width, shape.hidden
    queries, keys = shape.heads * shape.head_dim, shape.kv_heads * shape.head_dim
    if shape.architecture == "gpt2":
        yield from (("c_attn", width, 3 * width), ("c_proj", width, width))
        yield from (("c_fc", width, hidden), ("c_proj", hidden, width))
        return
    yield from (("q_proj", width, queries), ("k_proj", width, keys), ("v_proj", width, keys))
    yield from (("o_proj", queries, width), ("gate_proj", width, hidden), ("up_proj", width, hidden))
    yield "down_proj", hidden, width


def trained_parameters(shape: ModelShape, adapters: Adapters | None) -> int:
    """How many parameters a training run changes: those of the adapters, or all."""
    if adapters is None:
        return shape.parameters
    sizes = [
        inputs + outputs
        for name, inputs, outputs in layer_matrices(shape)
        if adapters.targets is None or name in adapters.targets
    ]
    return shape.layers * adapters.rank * sum(sizes)


def training_memory(shape: ModelShape, sequences: int, kind: TrainingKind | None = None) -> TrainingMemory:
    """What training with micro-batches of `sequences` sequences of the whole context needs."""
    kind = kind or TrainingKind()
    trained, tokens, width = trained_parameters(shape, kind.adapters), sequences * shape.context, shape.width
    hidden_matrices = shape.layers * sum(inputs * outputs for _, inputs, outputs in layer_matrices(shape))
    of_muon = hidden_matrices if kind.muon and kind.adapters is None else 0
    frozen = 4 * shape.parameters * (kind.reward_models + (kind.copies if kind.adapters is None else 0))
    halves = 2 * shape.matrix_parameters if kind.precision_bytes == 2 else 0
    of_layer = tokens * _layer_bytes(shape, kind)
    if kind.savings.activation_checkpointing:  # what enters each layer, and one layer in full
        activations = 4 * tokens * width * shape.layers + of_layer
    else:
        activations = of_layer * shape.layers
    return TrainingMemory(
        weights=-(-(4 * shape.parameters + frozen + halves) // kind.shards),
        gradients=-(-4 * trained // kind.shards),
        optimiser=-(-(4 * of_muon + 8 * (trained - of_muon)) // kind.shards),
        activations=activations,
        logits=_logit_bytes(shape, tokens, kind),
    )


def _layer_bytes(shape: ModelShape, kind: TrainingKind) -> int:
    """Bytes per token that the backward pass reads of a layer; flash attention keeps no scores.

    Norms keep what they are given, in fp32; queries, keys, values and what attention gives are kept as they are. Of the
    hidden arrays of SwiGLU there are four, of GELU two; a compiled model computes the last half of them again. One that
    is not compiled keeps what enters products, and under automatic mixed precision each product makes its own copy.
    """
    precision, width = kind.precision_bytes, shape.width
    queries, keys = shape.heads * shape.head_dim, shape.kv_heads * shape.head_dim
    has_normed_heads = shape.architecture in ("qwen3", "olmo2")
    normed = (precision if kind.compiled else 4) * (queries + keys) if has_normed_heads else 0
    attention = normed + precision * (2 * queries + 2 * keys)
    hidden = (2 if shape.architecture == "gpt2" else 4) * precision * shape.hidden
    if kind.compiled:
        return 8 * width + attention + hidden // 2
    entering = 2 if precision == 4 or shape.architecture == "gpt2" else 5
    return (8 + entering * precision) * width + attention + hidden


def _logit_bytes(shape: ModelShape, tokens: int, kind: TrainingKind) -> int:
    """Bytes of the logits of a micro-batch with their gradients.

    A compiled model keeps both in half precision. Otherwise a chunk has logits in half precision and fp32, their
    log-softmax, and gradients of both kinds; the output layer's gradient is in half precision and fp32 beside that
    which it is added to.
    """
    if kind.compiled and not kind.savings.chunked_logits:
        return tokens * shape.rows * 2 * kind.precision_bytes
    chunk = min(tokens, max(1, LOGIT_BYTES // (4 * shape.rows)))
    of_head = 6 * shape.rows * shape.width if kind.adapters is None else 0
    return chunk * shape.rows * (12 + 2 * kind.precision_bytes) + of_head


def fitting_micro_batch(shape: ModelShape, memory: int, sequences: int, kind: TrainingKind | None = None) -> int:
    """The largest micro-batch, a power of two or all sequences, that fits into USABLE of the memory by the estimate.

    sequences: of a step on this device. Raises ModelError if not even one sequence fits.
    """
    powers = (2**power for power in range(int(math.log2(sequences)) + 1))
    for size in sorted({sequences, *powers}, reverse=True):
        if training_memory(shape, size, kind).total <= USABLE * memory:
            return size
    needed = training_memory(shape, 1, kind).total
    raise ModelError(
        f"one sequence of {shape.context} tokens at depth {shape.layers} needs {needed / 1e9:.0f} GB, but the device "
        f"has {memory / 1e9:.0f} GB ({100 * USABLE:.0f} % usable); lower model.depth or model.context, or use a larger "
        "device"
    )


def with_checkpointing(kind: TrainingKind) -> TrainingKind:
    """The same training with activation checkpointing."""
    return replace(kind, savings=replace(kind.savings, activation_checkpointing=True))
