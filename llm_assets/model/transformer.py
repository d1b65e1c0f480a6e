"""The transformer. Parameters bear the names of transformers' Qwen3ForCausalLM and GPT2LMHeadModel, so that a state
dict is the file that the ecosystem reads.

Shapes: B sequences, T tokens, D width, H query heads, K key/value heads, F features of a head, V embedding rows.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import cache as remember
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from . import IGNORE
from .shape import ModelError, ModelShape

INDUCTION_TURN = 0.005  # radians a position: over a hundred positions, such a pair turns by half a radian at most
EMBEDDING_STD = 0.2  # of embeddings that an induction head begins on; trained ones of small models have 0.17
Mask = Any  # a tensor added to the scores, or FlexAttention's BlockMask


class KeyValueCache:
    """Keys and values of B sequences, (layers, B, K, room, F) each. Room grows in steps; a sequence may be dropped or repeated."""

    STEP = 64

    def __init__(self, shape: ModelShape, sequences: int, device: torch.device | str, dtype: torch.dtype):
        self.shape = shape
        size = (shape.layers, sequences, shape.kv_heads, 0, shape.head_dim)
        self.keys = torch.zeros(size, device=device, dtype=dtype)
        self.values = torch.zeros(size, device=device, dtype=dtype)
        self.length = 0

    def reserve(self, length: int) -> None:
        """Make room for `length` positions; attention looks at no more than these."""
        self.length = length
        have = self.keys.shape[3]
        if length > have:
            want = min(
                max(-(-length // self.STEP) * self.STEP, min(2 * have, have + 1024)), max(self.shape.context, length)
            )
            grow = (0, 0, 0, want - have)
            self.keys, self.values = F.pad(self.keys, grow), F.pad(self.values, grow)

    def select(self, sequences: Tensor) -> None:
        """Keep these sequences, in this order; a number given twice is a copy. sequences: (B',) of indices."""
        self.keys, self.values = self.keys[:, sequences], self.values[:, sequences]

    def part(self, sequences: Tensor) -> KeyValueCache:
        """A cache of its own for some of the sequences; `put` brings back what was added to it."""
        part = KeyValueCache(self.shape, 0, self.keys.device, self.keys.dtype)
        part.keys, part.values, part.length = self.keys[:, sequences], self.values[:, sequences], self.length
        return part

    def put(self, sequences: Tensor, part: KeyValueCache) -> None:
        """Take over a part's keys and values for these sequences."""
        self.reserve(max(self.length, part.length))
        if part.keys.shape[3] > self.keys.shape[3]:  # rooms grow in steps, a part's by as much
            self.keys, self.values = (
                F.pad(array, (0, 0, 0, part.keys.shape[3] - self.keys.shape[3])) for array in (self.keys, self.values)
            )
        room = part.keys.shape[3]
        self.keys[:, sequences, :, :room], self.values[:, sequences, :, :room] = part.keys, part.values


class RMSNorm(nn.Module):
    """x / rms(x) x weight, over the last dimension, in fp32 (Zhang, Sennrich, arXiv:1910.07467)."""

    def __init__(self, width: int, epsilon: float):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))
        self.epsilon = epsilon

    def forward(self, x: Tensor) -> Tensor:
        return F.rms_norm(x.float(), (x.shape[-1],), self.weight.float(), self.epsilon).to(x.dtype)


def rotary_tables(shape: ModelShape) -> tuple[Tensor, Tensor]:
    """Cosines and sines, (context, F) fp32 (Su et al., arXiv:2104.09864; halves laid out as transformers does)."""
    frequencies = 1.0 / shape.rope_theta ** (torch.arange(0, shape.head_dim, 2, dtype=torch.float64) / shape.head_dim)
    angles = torch.outer(torch.arange(shape.context, dtype=torch.float64), frequencies)
    angles = torch.cat([angles, angles], dim=-1)
    return angles.cos().float(), angles.sin().float()


def rotate(x: Tensor, cosines: Tensor, sines: Tensor) -> Tensor:
    """Turn each pair of features by its position's angle. x: (B, H, T, F); tables: (B or 1, 1, T, F)."""
    half = x.shape[-1] // 2
    turned = torch.cat([-x[..., half:], x[..., :half]], dim=-1)
    return x * cosines + turned * sines


def document_mask(tokens: Tensor, boundary: int, blocks: bool | None = None) -> Mask:
    """What each token may see: itself and those before it in its own document. tokens: (B, T); `boundary` begins a document.

    On a GPU (or where `blocks` says so) a mask of blocks for FlexAttention, which skips those between documents; on a CPU
    (B, 1, T, T) of 0 and -inf, which costs no more than causality does.
    """
    documents = (tokens == boundary).cumsum(1)
    length = tokens.shape[1]
    if tokens.is_cuda if blocks is None else blocks:
        from torch.nn.attention.flex_attention import create_block_mask

        def same(batch: Tensor, head: Tensor, query: Tensor, key: Tensor) -> Tensor:
            return (query >= key) & (documents[batch, query] == documents[batch, key])

        return create_block_mask(same, len(tokens), None, length, length, device=tokens.device)
    seen = (documents[:, None, :, None] == documents[:, None, None, :]) & torch.ones(
        length, length, dtype=torch.bool, device=tokens.device
    ).tril()
    # As what is added to the scores: made once here, not from bools by every layer (3 ms of a step of 200).
    return torch.zeros(seen.shape, device=tokens.device).masked_fill(~seen, -torch.inf)


@remember
def _flex_attention(compiled: bool) -> Any:
    """FlexAttention; on a GPU compiled by itself (within a compiled model that is no second compilation), or it is not fused."""
    from torch.nn.attention.flex_attention import flex_attention

    return torch.compile(flex_attention) if compiled else flex_attention


def attend(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    layer: int,
    positions: Tensor | None,
    cache: KeyValueCache | None,
    mask: Mask | None = None,
) -> Tensor:
    """Causal attention. query: (B, H, T, F); key, value: (B, K, T, F); positions: (B, T). Returns (B, T, H x F).

    With a cache, keys and values are written at their positions first, and each query sees the positions up to its own.
    A mask (see `document_mask`) stands for causality where it is given.
    """
    grouped = query.shape[1] != key.shape[1]
    if mask is not None and not isinstance(mask, Tensor):
        return (
            _flex_attention(query.is_cuda)(query, key, value, block_mask=mask, enable_gqa=grouped)
            .transpose(1, 2)
            .flatten(2)
        )
    if cache is not None:
        assert positions is not None
        batch = torch.arange(len(key), device=key.device)[:, None]
        cache.keys[layer][batch, :, positions] = key.transpose(1, 2)
        cache.values[layer][batch, :, positions] = value.transpose(1, 2)
        key, value = cache.keys[layer][:, :, : cache.length], cache.values[layer][:, :, : cache.length]
        mask = torch.arange(key.shape[2], device=key.device) <= positions[:, None, :, None]
    out = F.scaled_dot_product_attention(query, key, value, attn_mask=mask, is_causal=mask is None, enable_gqa=grouped)
    return out.transpose(1, 2).flatten(2)


class Attention(nn.Module):
    def __init__(self, shape: ModelShape, layer: int):
        super().__init__()
        self.layer, self.heads, self.kv_heads, self.head_dim = layer, shape.heads, shape.kv_heads, shape.head_dim
        self.q_proj = nn.Linear(shape.width, shape.heads * shape.head_dim, bias=False)
        self.k_proj = nn.Linear(shape.width, shape.kv_heads * shape.head_dim, bias=False)
        self.v_proj = nn.Linear(shape.width, shape.kv_heads * shape.head_dim, bias=False)
        self.o_proj = nn.Linear(shape.heads * shape.head_dim, shape.width, bias=False)
        self.q_norm = RMSNorm(shape.head_dim, shape.norm_epsilon)
        self.k_norm = RMSNorm(shape.head_dim, shape.norm_epsilon)

    def forward(
        self,
        x: Tensor,
        tables: tuple[Tensor, Tensor],
        positions: Tensor | None,
        cache: KeyValueCache | None,
        mask: Mask | None,
    ) -> Tensor:
        query = self.q_norm(self.q_proj(x).unflatten(-1, (self.heads, self.head_dim))).transpose(1, 2)
        key = self.k_norm(self.k_proj(x).unflatten(-1, (self.kv_heads, self.head_dim))).transpose(1, 2)
        value = self.v_proj(x).unflatten(-1, (self.kv_heads, self.head_dim)).transpose(1, 2)
        # Under autocast the tables are fp32 and so is what they turn; FlexAttention and the cache take one type for all three.
        query, key = rotate(query, *tables).to(value.dtype), rotate(key, *tables).to(value.dtype)
        return self.o_proj(attend(query, key, value, self.layer, positions, cache, mask))


class FeedForward(nn.Module):
    """SwiGLU (Shazeer, arXiv:2002.05202)."""

    def __init__(self, shape: ModelShape):
        super().__init__()
        self.gate_proj = nn.Linear(shape.width, shape.hidden, bias=False)
        self.up_proj = nn.Linear(shape.width, shape.hidden, bias=False)
        self.down_proj = nn.Linear(shape.hidden, shape.width, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.down_proj(F.silu(self.gate_proj(x)) * self.up_proj(x))


class Block(nn.Module):
    def __init__(self, shape: ModelShape, layer: int):
        super().__init__()
        self.self_attn = Attention(shape, layer)
        self.mlp = FeedForward(shape)
        self.input_layernorm = RMSNorm(shape.width, shape.norm_epsilon)
        self.post_attention_layernorm = RMSNorm(shape.width, shape.norm_epsilon)

    def forward(
        self,
        x: Tensor,
        tables: tuple[Tensor, Tensor],
        positions: Tensor | None,
        cache: KeyValueCache | None,
        mask: Mask | None,
    ) -> Tensor:
        x = x + self.self_attn(self.input_layernorm(x), tables, positions, cache, mask)
        return x + self.mlp(self.post_attention_layernorm(x))


class Qwen3Body(nn.Module):
    def __init__(self, shape: ModelShape):
        super().__init__()
        self.embed_tokens = nn.Embedding(shape.rows, shape.width)
        self.layers = nn.ModuleList(Block(shape, layer) for layer in range(shape.layers))
        self.norm = RMSNorm(shape.width, shape.norm_epsilon)
        cosines, sines = rotary_tables(shape)
        self.register_buffer("cosines", cosines, persistent=False)
        self.register_buffer("sines", sines, persistent=False)

    def forward(
        self, tokens: Tensor, positions: Tensor | None, cache: KeyValueCache | None, mask: Mask | None
    ) -> Tensor:
        x = self.embed_tokens(tokens)
        if positions is None:
            tables = self.cosines[None, None, : tokens.shape[1]], self.sines[None, None, : tokens.shape[1]]
        else:
            tables = self.cosines[positions][:, None], self.sines[positions][:, None]
        tables = tables[0].to(x.dtype), tables[1].to(x.dtype)
        for layer in self.layers:
            x = layer(x, tables, positions, cache, mask)
        return self.norm(x)


class Conv1D(nn.Module):
    """A linear layer whose weight is (in, out), as OpenAI stored GPT-2's."""

    def __init__(self, inputs: int, outputs: int):
        super().__init__()
        self.weight = nn.Parameter(torch.empty(inputs, outputs))
        self.bias = nn.Parameter(torch.zeros(outputs))

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x, self.weight.T, self.bias)


class GPT2Attention(nn.Module):
    def __init__(self, shape: ModelShape, layer: int):
        super().__init__()
        self.layer, self.heads, self.head_dim = layer, shape.heads, shape.head_dim
        self.c_attn = Conv1D(shape.width, 3 * shape.width)
        self.c_proj = Conv1D(shape.width, shape.width)

    def forward(self, x: Tensor, positions: Tensor | None, cache: KeyValueCache | None, mask: Mask | None) -> Tensor:
        query, key, value = self.c_attn(x).unflatten(-1, (3, self.heads, self.head_dim)).permute(2, 0, 3, 1, 4)
        return self.c_proj(attend(query, key, value, self.layer, positions, cache, mask))


class GPT2FeedForward(nn.Module):
    def __init__(self, shape: ModelShape):
        super().__init__()
        self.c_fc = Conv1D(shape.width, shape.hidden)
        self.c_proj = Conv1D(shape.hidden, shape.width)

    def forward(self, x: Tensor) -> Tensor:
        return self.c_proj(F.gelu(self.c_fc(x), approximate="tanh"))


class GPT2Block(nn.Module):
    def __init__(self, shape: ModelShape, layer: int):
        super().__init__()
        self.ln_1 = nn.LayerNorm(shape.width, shape.norm_epsilon)
        self.attn = GPT2Attention(shape, layer)
        self.ln_2 = nn.LayerNorm(shape.width, shape.norm_epsilon)
        self.mlp = GPT2FeedForward(shape)

    def forward(self, x: Tensor, positions: Tensor | None, cache: KeyValueCache | None, mask: Mask | None) -> Tensor:
        x = x + self.attn(self.ln_1(x), positions, cache, mask)
        return x + self.mlp(self.ln_2(x))


class GPT2Body(nn.Module):
    def __init__(self, shape: ModelShape):
        super().__init__()
        self.wte = nn.Embedding(shape.rows, shape.width)
        self.wpe = nn.Embedding(shape.context, shape.width)
        self.h = nn.ModuleList(GPT2Block(shape, layer) for layer in range(shape.layers))
        self.ln_f = nn.LayerNorm(shape.width, shape.norm_epsilon)

    def forward(
        self, tokens: Tensor, positions: Tensor | None, cache: KeyValueCache | None, mask: Mask | None
    ) -> Tensor:
        where = torch.arange(tokens.shape[1], device=tokens.device)[None] if positions is None else positions
        x = self.wte(tokens) + self.wpe(where)
        for layer in self.h:
            x = layer(x, positions, cache, mask)
        return self.ln_f(x)


class Transformer(nn.Module):
    """A language model of either architecture."""

    def __init__(self, shape: ModelShape):
        super().__init__()
        self.shape = shape
        if shape.architecture == "gpt2":
            self.transformer: nn.Module = GPT2Body(shape)
        else:
            self.model: nn.Module = Qwen3Body(shape)
        if not shape.tied:
            self.lm_head = nn.Linear(shape.width, shape.rows, bias=False)

    @property
    def body(self) -> nn.Module:
        return self.transformer if self.shape.architecture == "gpt2" else self.model

    @property
    def embedding(self) -> nn.Embedding:
        return self.transformer.wte if self.shape.architecture == "gpt2" else self.model.embed_tokens

    @property
    def head(self) -> Tensor:
        """The output layer's weight, (V, D)."""
        return self.embedding.weight if self.shape.tied else self.lm_head.weight

    @property
    def device(self) -> torch.device:
        return self.embedding.weight.device

    def hidden_states(
        self,
        tokens: Tensor,
        positions: Tensor | None = None,
        cache: KeyValueCache | None = None,
        mask: Mask | None = None,
    ) -> Tensor:
        """The last layer's states, (B, T, D). tokens: (B, T); positions default to 0 … T - 1, and are needed with a cache."""
        return self.body(tokens, positions, cache, mask)

    def forward(self, tokens: Tensor, targets: Tensor | None = None, mask: Mask | None = None) -> Tensor:
        """Logits (B, T, V) in fp32; with targets (B, T), the loss of each token in nats, (B, T) fp32, 0 where the target is IGNORE."""
        hidden = self.hidden_states(tokens, mask=mask)
        if targets is None:
            return F.linear(hidden, self.head).float()
        if hidden.is_cuda:  # shapes that depend on the data would make the GPU wait, and end what is compiled
            return F.cross_entropy(
                F.linear(hidden, self.head).float().flatten(0, 1),
                targets.flatten(),
                ignore_index=IGNORE,
                reduction="none",
            ).view_as(targets)
        # Of the laptop's conversations two thirds bear no loss, and logits are a third of a small model's work: a step takes 155 ms instead of 193.
        borne = targets != IGNORE
        losses = F.cross_entropy(F.linear(hidden[borne], self.head).float(), targets[borne], reduction="none")
        return losses.new_zeros(targets.shape).masked_scatter(borne, losses)

    def initialise(self, seed: int, induction: bool = False) -> None:
        """Normal weights of deviation 0.02 (GPT-2's), those that write into the residual stream scaled by 1/sqrt(2 x layers).

        `induction`: two heads begin as those that copy what followed the same token before (see `_begin_induction`).
        """
        generator = torch.Generator().manual_seed(seed)
        residual = 0.02 / math.sqrt(2 * self.shape.layers)
        with torch.no_grad():
            for name, parameter in self.named_parameters():
                if parameter.ndim < 2:
                    parameter.fill_(0.0 if name.endswith("bias") else 1.0)
                    continue
                deviation = residual if name.endswith(("o_proj.weight", "down_proj.weight", "c_proj.weight")) else 0.02
                parameter.copy_(torch.empty(parameter.shape).normal_(0.0, deviation, generator=generator))
            if induction:
                self._begin_induction(generator)

    def _begin_induction(self, generator: torch.Generator) -> None:
        """Begin with an induction head (Olsson et al., arXiv:2209.11895) instead of waiting for one to form, in the spirit of mimetic
        initialisation (Trockman, Kolter, arXiv:2305.09828). Nothing but weights: they are trained as all others.

        The first head of the first layer looks at the token before: embeddings share one component u (which tied logits do not feel:
        it shifts all of them alike), queries and keys are made of u alone, and the three fastest rotary pairs are turned by one
        position between them. It writes what it sees there, through P, into directions O that embeddings do not use more than
        others. The first head of the second layer takes P of its own token as query and O of others as key, in the pairs that
        turn by less than INDUCTION_TURN a position, so that it finds the token after an equal one, and writes that token back.

        What is begun must outlive the first hundred steps, in which weights of GPT-2's deviation are replaced by learnt ones ten times
        as large. So embeddings begin as large as training leaves them (EMBEDDING_STD; the last norm's weight makes up for it
        in the logits), values and outputs as large as those of trained heads, and queries and keys larger, whose length their norms
        take out of the result, but not out of how fast their direction is changed. Raises ModelError where there is no room for it.
        """
        shape = self.shape
        features, half = shape.head_dim, shape.head_dim // 2
        turns = [shape.rope_theta ** (-pair / half) for pair in range(half)]
        still = [pair for pair in range(half) if turns[pair] < INDUCTION_TURN]
        if (
            shape.architecture != "qwen3"
            or shape.layers < 2
            or shape.width < 1 + 2 * features
            or len(still) < 4
            or half < 4
        ):
            raise ModelError(
                f"an induction head needs qwen3's architecture, two layers, a width of {1 + 2 * features} and four slow rotary pairs ({len(still)} here; raise rope_theta or head_dim); set model.induction to false"
            )
        basis, _ = torch.linalg.qr(torch.empty(shape.width, 1 + 2 * features).normal_(generator=generator))
        shared, reads, writes = basis[:, 0], basis[:, 1 : 1 + features].T, basis[:, 1 + features :]
        growth = EMBEDDING_STD / 0.02
        self.embedding.weight.mul_(growth).add_(2 * EMBEDDING_STD * math.sqrt(shape.width) * shared)
        self.model.norm.weight.fill_(1.5 / growth)
        head = slice(0, features)
        before, match = (layer.self_attn for layer in self.model.layers[:2])
        query, key = torch.zeros(features), torch.zeros(features)
        for pair in range(3):
            key[pair] = 1.0
            query[pair], query[pair + half] = math.cos(turns[pair]), -math.sin(turns[pair])
            for norm in (before.q_norm, before.k_norm):
                norm.weight[[pair, pair + half]] = 2.5  # 99 % of its attention is on the token before
        places = [*still, *(pair + half for pair in still)]
        of_own, of_before = torch.zeros(features, shape.width), torch.zeros(features, shape.width)
        of_own[places], of_before[places] = reads[: len(places)], writes.T[: len(places)]
        for norm in (match.q_norm, match.k_norm):
            norm.weight[places] = 2.0
        for attention, queries, keys, out in (
            (before, 5.0 * torch.outer(query, shared), 5.0 * torch.outer(key, shared), writes),
            (match, 3.0 * of_own, 3.0 * of_before, reads.T),
        ):
            attention.q_proj.weight[head] = 0.1 * attention.q_proj.weight[head] + queries
            attention.k_proj.weight[head] = 0.1 * attention.k_proj.weight[head] + keys
            attention.v_proj.weight[head] = reads
            attention.o_proj.weight[:, head] = out

    def matrices(self) -> Iterator[tuple[str, nn.Parameter]]:
        """The hidden matrices (what Muon trains): all two-dimensional weights but embeddings and the output layer."""
        apart = {id(self.embedding.weight), id(self.head)}
        if self.shape.architecture == "gpt2":
            apart.add(id(self.transformer.wpe.weight))
        for name, parameter in self.named_parameters():
            if parameter.ndim == 2 and id(parameter) not in apart:
                yield name, parameter
