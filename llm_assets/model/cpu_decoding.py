"""Decoding steps on a CPU, of a model whose weights do not change any more.

A step of a small model is some two hundred operations, and calling them takes longer than their work. Here, what is
multiplied with the same input is one matrix, and everything between the products is compiled: with the laptop's model a
step takes 0.3 ms instead of 1.2 for one sequence, and 1.4 ms instead of 3.0 for 32 (`benchmarks/sampling.py`).

Shapes: B sequences, D width, H query heads, K key/value heads, F features of a head, I hidden features.
"""

from __future__ import annotations

import itertools
import math
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from llm_assets.compiled import vectorised

from .cache import KeyValueCache
from .devices import half_precision
from .transformer import Transformer

ARCHITECTURES = ("llama", "qwen2", "qwen3")  # which differ in what they have on queries and keys only
THREAD_BYTES = 1 << 21  # of keys and values that are worth a thread, which takes 30 µs to begin
UNNORMALISED = np.zeros(0, np.float32)

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
def turn(head, weight, epsilon, cosines, sines, out):  # type: ignore[no-untyped-def]
    """Normalise the features of a head, (F,), if there are weights for it, and turn them by its position's angles."""
    half = len(head) // 2
    scale = np.float32(1)
    if len(weight):
        squares = np.float32(0)
        for i in range(len(head)):
            squares += head[i] * head[i]
        scale = np.float32(1 / math.sqrt(squares / np.float32(len(head)) + epsilon))
    for i in range(half):
        first, second = head[i] * scale, head[i + half] * scale
        if len(weight):
            first, second = first * weight[i], second * weight[i + half]
        out[i] = first * cosines[i] - second * sines[i]
        out[i + half] = second * cosines[i + half] + first * sines[i + half]


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
def attend(query_weight, key_weight, epsilon, cosines, sines, projected, positions, keys, values, out):  # type: ignore[no-untyped-def]
    """Write each sequence's key and value into the cache, and attend to its positions so far.

    query_weight, key_weight: of RMSNorm on each head, (F,) or empty. cosines, sines: (context, F). projected:
    (B, (H + 2 K) x F), queries, keys and values of one token each. positions: (B,). keys, values: (B, K, room, F) of
    one layer. out: (B, H x F).
    """
    sequences, kv_heads, room, size = keys.shape
    heads = out.shape[1] // size
    query, scores = np.empty(size, np.float32), np.empty(room, np.float32)
    for row in range(sequences):
        position = positions[row]
        cosine, sine, of_row = cosines[position], sines[position], projected[row].reshape(-1, size)
        seen = scores[: position + 1]
        for kv_head in range(kv_heads):
            own_keys, own_values = keys[row, kv_head], values[row, kv_head]
            turn(of_row[heads + kv_head], key_weight, epsilon, cosine, sine, own_keys[position])
            own_values[position] = of_row[heads + kv_heads + kv_head]
            for head in range(kv_head * heads // kv_heads, (kv_head + 1) * heads // kv_heads):
                turn(of_row[head], query_weight, epsilon, cosine, sine, query)
                top = np.float32(-np.inf)
                for t in range(len(seen)):
                    score = np.float32(0)
                    for i in range(size):
                        score += query[i] * own_keys[t, i]
                    seen[t] = score / np.float32(math.sqrt(size))
                    top = max(top, seen[t])
                total = np.float32(0)
                for t in range(len(seen)):
                    seen[t] = math.exp(seen[t] - top)
                    total += seen[t]
                for t in range(len(seen)):
                    seen[t] /= total
                weighted_sum(seen, own_values, out[row, head * size : (head + 1) * size])


@vectorised
def gate(projected, out):  # type: ignore[no-untyped-def]
    """SwiGLU's product. projected: (B, 2 x I), gate and up. out: (B, I)."""
    size = out.shape[1]
    for row in range(len(out)):
        for i in range(size):
            value = projected[row, i]
            out[row, i] = value / (np.float32(1) + math.exp(-value)) * projected[row, size + i]


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
    """The weights of a layer; matrices are (inputs, outputs). bias: of queries, keys and values, if they have one."""

    attention_norm: Array
    projection: Tensor
    bias: Tensor | None
    query_norm: Array
    key_norm: Array
    output: Tensor
    feed_forward_norm: Array
    gate_and_up: Tensor
    down: Tensor

    @classmethod
    def of(cls, layer: Any) -> MergedLayer:
        attention, feed_forward = layer.self_attn, layer.mlp
        projection, bias = merged(attention.q_proj, attention.k_proj, attention.v_proj)
        has_norm = attention.normalised is not None
        return cls(
            attention_norm=layer.input_layernorm.weight.detach().numpy(),
            projection=projection,
            bias=bias,
            query_norm=attention.q_norm.weight.detach().numpy() if has_norm else UNNORMALISED,
            key_norm=attention.k_norm.weight.detach().numpy() if has_norm else UNNORMALISED,
            output=merged(attention.o_proj)[0],
            feed_forward_norm=layer.post_attention_layernorm.weight.detach().numpy(),
            gate_and_up=merged(feed_forward.gate_proj, feed_forward.up_proj)[0],
            down=merged(feed_forward.down_proj)[0],
        )


class CpuDecoding:
    """Decoding steps of a model, whose weights are merged in place."""

    def __init__(self, model: Transformer):
        self.embedding, self.shape = model.embedding.weight.detach(), model.shape
        self.layers = [MergedLayer.of(layer) for layer in model.layers()]
        body: Any = model.body
        self.norm = body.norm.weight.detach().numpy()
        self.cosines, self.sines = body.cosines.numpy(), body.sines.numpy()
        self.threads = ThreadPoolExecutor(max(1, torch.get_num_threads()), "attention")

    @staticmethod
    def serves(model: Transformer) -> bool:
        """Whether there are such steps for this model where it is."""
        is_fp32 = model.embedding.weight.dtype == torch.float32 and not half_precision("cpu")
        return model.device.type == "cpu" and is_fp32 and model.shape.architecture in ARCHITECTURES

    def hidden_states(self, chosen: Tensor, positions: Tensor, cache: KeyValueCache) -> Tensor:
        """Read one token of each sequence into the cache; the states of the last layer, (B, D), fp32.

        chosen: (B,). positions: (B, 1); the cache has room for them.
        """
        shape, rows, epsilon = self.shape, len(chosen), np.float32(self.shape.norm_epsilon)
        x, places = self.embedding[chosen], positions[:, 0].numpy()
        normed, attended = torch.empty_like(x), torch.empty(rows, shape.heads * shape.head_dim)
        projected = torch.empty(rows, (shape.heads + 2 * shape.kv_heads) * shape.head_dim)
        gate_and_up, gated = torch.empty(rows, 2 * shape.hidden), torch.empty(rows, shape.hidden)
        # The same memory, for the compiled functions.
        x_array, normed_array, attended_array = x.numpy(), normed.numpy(), attended.numpy()
        projected_array, gate_and_up_array, gated_array = projected.numpy(), gate_and_up.numpy(), gated.numpy()
        keys, values = cache.keys.numpy(), cache.values.numpy()
        parts = self._parts(rows, cache)
        for number, layer in enumerate(self.layers):
            normalise(x_array, layer.attention_norm, epsilon, normed_array)
            if layer.bias is None:
                torch.mm(normed, layer.projection, out=projected)
            else:
                torch.addmm(layer.bias, normed, layer.projection, out=projected)
            norms = layer.query_norm, layer.key_norm, epsilon, self.cosines, self.sines
            of_rows = projected_array, places, keys[number], values[number], attended_array
            self._attend(norms, of_rows, parts)
            x.addmm_(attended, layer.output)
            normalise(x_array, layer.feed_forward_norm, epsilon, normed_array)
            torch.mm(normed, layer.gate_and_up, out=gate_and_up)
            gate(gate_and_up_array, gated_array)
            x.addmm_(gated, layer.down)
        normalise(x_array, self.norm, epsilon, normed_array)
        return normed

    def _parts(self, rows: int, cache: KeyValueCache) -> list[slice]:
        """The sequences for each thread: as many threads as there is work for."""
        threads = torch.get_num_threads()
        read = 2 * rows * cache.length * self.shape.kv_heads * self.shape.head_dim * cache.keys.element_size()
        parts = min(threads, rows, 1 + read // THREAD_BYTES)
        ends = [rows * part // parts for part in range(parts + 1)]
        return [slice(*pair) for pair in itertools.pairwise(ends)]

    def _attend(self, norms: tuple[Any, ...], of_rows: tuple[Array, ...], parts: list[slice]) -> None:
        """`attend` for the sequences of each part, in a thread for each. of_rows: one entry per sequence."""
        if len(parts) == 1:
            attend(*norms, *of_rows)
        else:
            list(self.threads.map(lambda part: attend(*norms, *(array[part] for array in of_rows)), parts))
