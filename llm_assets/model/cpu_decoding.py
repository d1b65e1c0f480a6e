"""A model whose weights do not change any more reads tokens on a CPU.

A step of a small model is some two hundred operations, and calling them takes longer than their work. Here, what is
multiplied with the same input is one matrix, and most of what is between the products is compiled. On one core, the
laptop's model gives 1,810 tokens per second instead of 640 for one sequence, and 11,200 instead of 6,400 for 32
(`benchmarks/results/sampling-served-cpu.json`).

Shapes: B sequences, D width, H query heads, K key/value heads, F features of a head, I hidden features.
"""

from __future__ import annotations

import itertools
import math
import os
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from llm_assets.compiled import vectorised

from .attention import AttentionContext, attend
from .cache import KeyValueCache
from .devices import half_precision
from .transformer import Transformer

ARCHITECTURES = ("llama", "qwen2", "qwen3")  # which differ in what they have on queries and keys only
THREAD_BYTES = 1 << 21  # of keys and values that are worth a thread, which takes 30 µs to begin
UNNORMALISED = np.zeros((2, 0), np.float32)

Array = np.ndarray[Any, np.dtype[Any]]


@vectorised
def normalise(x, weight, epsilon, out):  # type: ignore[no-untyped-def]
    """RMSNorm of each row of `x`, (B, D)."""
    for row in range(len(x)):
        squares = np.float32(0)
        for i in range(x.shape[1]):
            squares += x[row, i] * x[row, i]
        scale = np.float32(1 / math.sqrt(squares / np.float32(x.shape[1]) + epsilon))
        for i in range(x.shape[1]):
            out[row, i] = x[row, i] * scale * weight[i]


@vectorised
def rotate(projected, norms, epsilon, tables, positions, kv_heads):  # type: ignore[no-untyped-def]
    """Normalise the heads of queries and keys, if there are weights for it, and rotate them by their positions' angles.

    projected: (N, (H + 2 K) x F), queries, keys and values of N tokens, changed in place. norms: (2, F), weights for
    queries and for keys, or (2, 0). tables: (2, context, F), cosines and sines. positions: (N,).
    """
    size = tables.shape[2]
    half, heads = size // 2, projected.shape[1] // size - 2 * kv_heads
    for row in range(len(projected)):
        cosine, sine = tables[0, positions[row]], tables[1, positions[row]]
        for number in range(heads + kv_heads):
            head = projected[row, number * size : (number + 1) * size]
            weight = norms[0] if number < heads else norms[1]
            if len(weight):
                squares = np.float32(0)
                for i in range(size):
                    squares += head[i] * head[i]
                scale = np.float32(1 / math.sqrt(squares / np.float32(size) + epsilon))
                for i in range(size):
                    head[i] *= scale * weight[i]
            for i in range(half):
                first, second = head[i], head[i + half]
                head[i] = first * cosine[i] - second * sine[i]
                head[i + half] = second * cosine[i + half] + first * sine[i + half]


@vectorised
def weighted_sum(weights, values, out):  # type: ignore[no-untyped-def]
    """Write the weighted sum of `values`, (T, F), to `out`. weights: (T,)."""
    out[:] = 0
    whole = len(weights) - len(weights) % 4  # four at a time, so that `out` is read and written less often
    for t in range(0, whole, 4):
        a, b, c, d = weights[t], weights[t + 1], weights[t + 2], weights[t + 3]
        for i in range(len(out)):
            out[i] += a * values[t, i] + b * values[t + 1, i] + c * values[t + 2, i] + d * values[t + 3, i]
    for t in range(whole, len(weights)):
        for i in range(len(out)):
            out[i] += weights[t] * values[t, i]


@vectorised
def attend_from_last(projected, positions, keys, values, out):  # type: ignore[no-untyped-def]
    """Write the key and value of each sequence's last token into the cache, and attend from it.

    projected: (B, (H + 2 K) x F). positions: (B,). keys, values: (B, K, room, F) of one layer. out: (B, H x F).
    """
    sequences, kv_heads, room, size = keys.shape
    heads, room_for_scores = out.shape[1] // size, np.empty(room, np.float32)
    for row in range(sequences):
        head_rows, scores = projected[row].reshape(-1, size), room_for_scores[: positions[row] + 1]
        for kv_head in range(kv_heads):
            own_keys, own_values = keys[row, kv_head], values[row, kv_head]
            own_keys[positions[row]] = head_rows[heads + kv_head]
            own_values[positions[row]] = head_rows[heads + kv_heads + kv_head]
            for head in range(kv_head * heads // kv_heads, (kv_head + 1) * heads // kv_heads):
                top = np.float32(-np.inf)
                for t in range(len(scores)):
                    score = np.float32(0)
                    for i in range(size):
                        score += head_rows[head, i] * own_keys[t, i]
                    scores[t] = score / np.float32(math.sqrt(size))
                    top = max(top, scores[t])
                total = np.float32(0)
                for t in range(len(scores)):
                    scores[t] = math.exp(scores[t] - top)
                    total += scores[t]
                for t in range(len(scores)):
                    scores[t] /= total
                weighted_sum(scores, own_values, out[row, head * size : (head + 1) * size])


def merged(*linears: nn.Linear) -> tuple[Tensor, Tensor | None]:
    """One weight, (inputs, all outputs), and one bias for several linear layers, whose own weights become views of it.

    In this layout a product with few rows is up to twice as fast.
    """
    weight = torch.cat([linear.weight.detach() for linear in linears]).T.contiguous()
    parts = weight.T.split([linear.out_features for linear in linears])
    for linear, part in zip(linears, parts, strict=True):
        linear.weight = nn.Parameter(part, requires_grad=False)
    biases = [linear.bias.detach() for linear in linears if linear.bias is not None]
    return weight, torch.cat(biases) if biases else None


class MergedLayer(NamedTuple):
    """The weights of a layer; matrices are (inputs, outputs).

    attention: its module. bias: of queries, keys and values, if they have one.
    """

    attention: Any
    attention_norm: Array
    projection: Tensor
    bias: Tensor | None
    head_norms: Array
    output: Tensor
    feed_forward_norm: Array
    gate_and_up: Tensor
    down: Tensor

    @classmethod
    def of(cls, layer: Any) -> MergedLayer:
        attention, feed_forward = layer.self_attn, layer.mlp
        projection, bias = merged(attention.q_proj, attention.k_proj, attention.v_proj)
        norms = UNNORMALISED
        if attention.normalised is not None:
            norms = torch.stack([attention.q_norm.weight.detach(), attention.k_norm.weight.detach()]).numpy()
        return cls(
            attention=attention,
            attention_norm=layer.input_layernorm.weight.detach().numpy(),
            projection=projection,
            bias=bias,
            head_norms=norms,
            output=merged(attention.o_proj)[0],
            feed_forward_norm=layer.post_attention_layernorm.weight.detach().numpy(),
            gate_and_up=merged(feed_forward.gate_proj, feed_forward.up_proj)[0],
            down=merged(feed_forward.down_proj)[0],
        )


class CpuDecoding:
    """Reads tokens with a model, whose weights are merged in place."""

    def __init__(self, model: Transformer):
        self.embedding, self.shape = model.embedding.weight.detach(), model.shape
        self.layers = [MergedLayer.of(layer) for layer in model.layers()]
        body: Any = model.body
        self.norm = body.norm.weight.detach().numpy()
        self.tables = torch.stack([body.cosines, body.sines]).numpy()
        self.threads = ThreadPoolExecutor(os.cpu_count(), "attention")

    @staticmethod
    def serves(model: Transformer) -> bool:
        """Whether it can read with this model where it is."""
        is_fp32 = model.embedding.weight.dtype == torch.float32 and not half_precision("cpu")
        return model.device.type == "cpu" and is_fp32 and model.shape.architecture in ARCHITECTURES

    def hidden_states(self, tokens: Tensor, positions: Tensor, cache: KeyValueCache) -> Tensor:
        """Read tokens (B, T) at positions (B, T) into the cache, which has room for them.

        Returns the states of the last layer, (B, T, D) fp32.
        """
        shape, epsilon = self.shape, np.float32(self.shape.norm_epsilon)
        # Positions may be one row that is shown several times; for such an array, numba would compile everything again.
        context, places = AttentionContext(positions, cache), positions.flatten().contiguous().numpy()
        x = self.embedding[tokens.flatten()]
        normed, attended = torch.empty_like(x), torch.empty(len(x), shape.heads * shape.head_dim)
        projected = torch.empty(len(x), (shape.heads + 2 * shape.kv_heads) * shape.head_dim)
        gate_and_up = torch.empty(len(x), 2 * shape.hidden)
        gate, up = gate_and_up.chunk(2, dim=1)
        # The same memory, for the compiled functions.
        x_array, normed_array, projected_array, attended_array = (
            tensor.numpy() for tensor in (x, normed, projected, attended)
        )
        keys, values = cache.keys.numpy(), cache.values.numpy()
        parts = self._parts(len(tokens), cache) if tokens.shape[1] == 1 else []
        for number, layer in enumerate(self.layers):
            normalise(x_array, layer.attention_norm, epsilon, normed_array)
            if layer.bias is None:
                torch.mm(normed, layer.projection, out=projected)
            else:
                torch.addmm(layer.bias, normed, layer.projection, out=projected)
            rotate(projected_array, layer.head_norms, epsilon, self.tables, places, shape.kv_heads)
            if parts:
                self._attend_from_last(parts, projected_array, places, keys[number], values[number], attended_array)
            else:
                heads = projected.view(*tokens.shape, -1, shape.head_dim).transpose(1, 2)
                queries, keys_and_values = heads[:, : shape.heads], heads[:, shape.heads :].chunk(2, dim=1)
                attended = attend(queries, *keys_and_values, layer.attention, context).flatten(0, 1)
            x.addmm_(attended, layer.output)
            normalise(x_array, layer.feed_forward_norm, epsilon, normed_array)
            torch.mm(normed, layer.gate_and_up, out=gate_and_up)
            x.addmm_(F.silu(gate, inplace=True).mul_(up), layer.down)
        normalise(x_array, self.norm, epsilon, normed_array)
        return normed.view(*tokens.shape, -1)

    def _parts(self, sequences: int, cache: KeyValueCache) -> list[slice]:
        """The sequences for each thread: as many threads as there is work for."""
        read = 2 * sequences * cache.length * self.shape.kv_heads * self.shape.head_dim * cache.keys.element_size()
        parts = min(torch.get_num_threads(), sequences, 1 + read // THREAD_BYTES)
        ends = [sequences * part // parts for part in range(parts + 1)]
        return [slice(*pair) for pair in itertools.pairwise(ends)]

    def _attend_from_last(self, parts: list[slice], *arrays: Array) -> None:
        """`attend_from_last`, in a thread for each part. arrays: one entry per sequence."""
        if len(parts) == 1:
            attend_from_last(*arrays)
        else:
            list(self.threads.map(lambda part: attend_from_last(*(array[part] for array in arrays)), parts))
