"""The transformer, as Qwen3, Qwen2, Llama, OLMo 2 or GPT-2. Parameters have the names of transformers' classes
(Qwen3ForCausalLM, …, GPT2LMHeadModel), so that a state dict is the weights file that other software reads.

Shapes: B sequences, T tokens, D width, H query heads, K key/value heads, F features of a head, V embedding rows.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from . import IGNORE
from .attention import AttentionContext, Mask, attend, rotary_tables, rotate
from .cache import KeyValueCache
from .induction import begin_induction
from .shape import ModelShape
from .training_memory import LOGIT_BYTES, MemorySavings


class RMSNorm(nn.Module):
    """x / rms(x) x weight, over the last dimension, in fp32 (Zhang, Sennrich, arXiv:1910.07467)."""

    def __init__(self, width: int, epsilon: float):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))
        self.epsilon = epsilon

    def forward(self, x: Tensor) -> Tensor:
        return F.rms_norm(x.float(), (x.shape[-1],), self.weight.float(), self.epsilon).to(x.dtype)


class Attention(nn.Module):
    """Grouped-query attention with rotary positions, and what the architecture has on queries and keys.

    Qwen2 has biases, Qwen3 RMSNorm on each head, OLMo 2 RMSNorm on all heads of a token together, Llama nothing.
    """

    def __init__(self, shape: ModelShape, layer: int):
        super().__init__()
        self.layer, self.heads, self.kv_heads, self.head_dim = layer, shape.heads, shape.kv_heads, shape.head_dim
        has_biases = shape.architecture == "qwen2"
        self.q_proj = nn.Linear(shape.width, shape.heads * shape.head_dim, bias=has_biases)
        self.k_proj = nn.Linear(shape.width, shape.kv_heads * shape.head_dim, bias=has_biases)
        self.v_proj = nn.Linear(shape.width, shape.kv_heads * shape.head_dim, bias=has_biases)
        self.o_proj = nn.Linear(shape.heads * shape.head_dim, shape.width, bias=False)
        self.normalised = {"qwen3": "head", "olmo2": "token"}.get(shape.architecture)
        if self.normalised is not None:
            heads = (1, 1) if self.normalised == "head" else (shape.heads, shape.kv_heads)
            self.q_norm = RMSNorm(heads[0] * shape.head_dim, shape.norm_epsilon)
            self.k_norm = RMSNorm(heads[1] * shape.head_dim, shape.norm_epsilon)

    def forward(
        self,
        x: Tensor,
        tables: tuple[Tensor, Tensor],
        context: AttentionContext,
    ) -> Tensor:
        query, key = self.q_proj(x), self.k_proj(x)
        if self.normalised == "token":
            query, key = self.q_norm(query), self.k_norm(key)
        query, key = query.unflatten(-1, (self.heads, self.head_dim)), key.unflatten(-1, (self.kv_heads, self.head_dim))
        if self.normalised == "head":
            query, key = self.q_norm(query), self.k_norm(key)
        query, key = query.transpose(1, 2), key.transpose(1, 2)
        value = self.v_proj(x).unflatten(-1, (self.kv_heads, self.head_dim)).transpose(1, 2)
        # Under autocast, what is rotated by the fp32 tables is fp32; FlexAttention and the cache need one type for all
        # three.
        query, key = rotate(query, *tables).to(value.dtype), rotate(key, *tables).to(value.dtype)
        return self.o_proj(attend(query, key, value, self, context))


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
    """Attention and feed-forward, each with a norm before it."""

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
        context: AttentionContext,
    ) -> Tensor:
        x = x + self.self_attn(self.input_layernorm(x), tables, context)
        return x + self.mlp(self.post_attention_layernorm(x))


class OLMo2Block(nn.Module):
    """Attention and feed-forward, each with a norm after it."""

    def __init__(self, shape: ModelShape, layer: int):
        super().__init__()
        self.self_attn = Attention(shape, layer)
        self.mlp = FeedForward(shape)
        self.post_attention_layernorm = RMSNorm(shape.width, shape.norm_epsilon)
        self.post_feedforward_layernorm = RMSNorm(shape.width, shape.norm_epsilon)

    def forward(
        self,
        x: Tensor,
        tables: tuple[Tensor, Tensor],
        context: AttentionContext,
    ) -> Tensor:
        x = x + self.post_attention_layernorm(self.self_attn(x, tables, context))
        return x + self.post_feedforward_layernorm(self.mlp(x))


def run_layer(layer: nn.Module, *inputs: Any) -> Tensor:
    """What a layer gives."""
    return layer(*inputs)  # type: ignore[no-any-return]


class Body(nn.Module):
    """What all architectures have around their layers.

    recompute: keep only the inputs of a layer for the backward pass, and run it again there. run_layer: runs a layer of
    a training run; it may be compiled, once for all layers.
    """

    recompute = False
    run_layer = staticmethod(run_layer)

    def run_layers(self, layers: nn.ModuleList, x: Tensor, *inputs: Any) -> Tensor:
        """Run one layer after the other. inputs: of every layer, after `x`."""
        is_training = torch.is_grad_enabled()
        run = self.run_layer if is_training else run_layer
        for layer in layers:
            if is_training and self.recompute:
                x = checkpoint(run, layer, x, *inputs, use_reentrant=False, preserve_rng_state=False)
            else:
                x = run(layer, x, *inputs)
        return x


class RotaryBody(Body):
    """The layers of all architectures with rotary positions."""

    def __init__(self, shape: ModelShape):
        super().__init__()
        self.embed_tokens = nn.Embedding(shape.rows, shape.width)
        block = OLMo2Block if shape.architecture == "olmo2" else Block
        self.layers = nn.ModuleList(block(shape, layer) for layer in range(shape.layers))
        self.norm = RMSNorm(shape.width, shape.norm_epsilon)
        cosines, sines = rotary_tables(shape)
        self.register_buffer("cosines", cosines, persistent=False)
        self.register_buffer("sines", sines, persistent=False)

    def forward(self, tokens: Tensor, context: AttentionContext) -> Tensor:
        x = self.embed_tokens(tokens)
        if context.positions is None:
            tables = self.cosines[None, None, : tokens.shape[1]], self.sines[None, None, : tokens.shape[1]]
        else:
            tables = self.cosines[context.positions][:, None], self.sines[context.positions][:, None]
        tables = tables[0].to(x.dtype), tables[1].to(x.dtype)
        return self.norm(self.run_layers(self.layers, x, tables, context))


class Conv1D(nn.Module):
    """A linear layer whose weight is (in, out), the layout in which OpenAI published GPT-2."""

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

    def forward(self, x: Tensor, context: AttentionContext) -> Tensor:
        query, key, value = self.c_attn(x).unflatten(-1, (3, self.heads, self.head_dim)).permute(2, 0, 3, 1, 4)
        return self.c_proj(attend(query, key, value, self, context))


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

    def forward(self, x: Tensor, context: AttentionContext) -> Tensor:
        x = x + self.attn(self.ln_1(x), context)
        return x + self.mlp(self.ln_2(x))


class GPT2Body(Body):
    def __init__(self, shape: ModelShape):
        super().__init__()
        self.wte = nn.Embedding(shape.rows, shape.width)
        self.wpe = nn.Embedding(shape.context, shape.width)
        self.h = nn.ModuleList(GPT2Block(shape, layer) for layer in range(shape.layers))
        self.ln_f = nn.LayerNorm(shape.width, shape.norm_epsilon)

    def forward(self, tokens: Tensor, context: AttentionContext) -> Tensor:
        positions = context.positions
        if positions is None and context.mask is not None:
            # Rotary positions are relative, so it does not matter where in a sequence a document begins. These do:
            # trained at its place among others, a document would have positions that it never has by itself.
            positions = context.mask.positions
        if positions is None:
            positions = torch.arange(tokens.shape[1], device=tokens.device)[None]
        x = self.wte(tokens) + self.wpe(positions)
        return self.ln_f(self.run_layers(self.h, x, context))


def logits(hidden: Tensor, head: Tensor, temperature: float) -> Tensor:
    """Logits (…, V) fp32 of hidden states (…, D), divided by the temperature. head: (V, D)."""
    values = F.linear(hidden, head).float()
    return values if temperature == 1 else values / temperature


def losses(hidden: Tensor, head: Tensor, targets: Tensor, temperature: float) -> Tensor:
    """The loss of targets (N,) after hidden states (N, D), in nats, (N,) fp32."""
    return F.cross_entropy(logits(hidden, head, temperature), targets, reduction="none")


class Transformer(nn.Module):
    """A language model of one of the architectures in `shape.ARCHITECTURES`."""

    losses = staticmethod(losses)  # may be compiled

    def __init__(self, shape: ModelShape):
        super().__init__()
        self.shape = shape
        if shape.architecture == "gpt2":
            self.transformer: Body = GPT2Body(shape)
        else:
            self.model: Body = RotaryBody(shape)
        if not shape.tied:
            self.lm_head = nn.Linear(shape.width, shape.rows, bias=False)
        self.savings = MemorySavings()

    def save_memory(self, savings: MemorySavings) -> None:
        """Train with these savings from now on."""
        self.savings, self.body.recompute = savings, savings.activation_checkpointing

    def layers(self) -> nn.ModuleList:
        """The layers, in their order."""
        return self.body.h if self.shape.architecture == "gpt2" else self.body.layers  # type: ignore[return-value]

    def compile_layers(self) -> None:
        """Compile a layer for training, once for all layers, and the logits by themselves."""
        self.body.run_layer = torch.compile(run_layer)  # type: ignore[method-assign, assignment]
        self.losses = torch.compile(losses)  # type: ignore[method-assign, assignment]

    @property
    def body(self) -> Body:
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
        """The states of the last layer, (B, T, D), of tokens (B, T). For the other arguments see `AttentionContext`."""
        return self.body(tokens, AttentionContext(positions, cache, mask))

    def forward(
        self,
        tokens: Tensor,
        targets: Tensor | None = None,
        mask: Mask | None = None,
        temperature: float = 1.0,
    ) -> Tensor:
        """Logits (B, T, V) fp32 of tokens (B, T).

        With targets (B, T), the loss of each target in nats instead, (B, T) fp32, 0 where the target is IGNORE.
        temperature: of the distribution; logits are divided by it, as in sampling.
        """
        hidden = self.hidden_states(tokens, mask=mask)
        if targets is None:
            return logits(hidden, self.head, temperature)
        if torch.compiler.is_compiling() and not self.savings.chunked_logits:
            # Shapes that depend on data would break the compiled graph.
            return F.cross_entropy(
                logits(hidden, self.head, temperature).flatten(0, 1),
                targets.flatten(),
                ignore_index=IGNORE,
                reduction="none",
            ).view_as(targets)
        return self.target_losses(hidden, targets, temperature)

    def target_losses(self, hidden: Tensor, targets: Tensor, temperature: float = 1.0) -> Tensor:
        """As `forward` with targets, of the last layer's states (B, T, D). Where it saves memory, in chunks."""
        # Logits are a third of a small model's work, and two thirds of the tokens in the laptop's conversations have no
        # loss: a step takes 155 ms instead of 193.
        has_loss = targets != IGNORE
        # On a GPU, the logits of a micro-batch are what would fill its memory.
        is_chunked = hidden.is_cuda or self.savings.chunked_logits
        size = max(1, LOGIT_BYTES // (4 * self.shape.rows)) if is_chunked else None
        losses = self.chosen_losses(hidden[has_loss], targets[has_loss], temperature, size)
        return losses.new_zeros(targets.shape).masked_scatter(has_loss, losses)

    def chosen_losses(
        self, hidden: Tensor, targets: Tensor, temperature: float = 1.0, size: int | None = None
    ) -> Tensor:
        """The loss of targets (N,) after hidden states (N, D), in nats, (N,) fp32.

        size: compute the logits of that many targets at a time, and again in the backward pass, instead of keeping
        those of all.
        """
        if size is None or len(targets) <= size:
            return self.losses(hidden, self.head, targets, temperature)
        chunks = [
            (states, self.head, wanted, temperature)
            for states, wanted in zip(hidden.split(size), targets.split(size), strict=True)
        ]
        if not torch.is_grad_enabled():
            return torch.cat([self.losses(*chunk) for chunk in chunks])
        return torch.cat([checkpoint(self.losses, *chunk, use_reentrant=False) for chunk in chunks])

    def initialise(self, seed: int, induction: bool = False) -> None:
        """Draw normal weights of standard deviation 0.02, as GPT-2's; norms start at 1, biases at 0.

        Weights that write into the residual stream are scaled by 1/sqrt(2 x layers). induction: set up an induction
        head (`induction.begin_induction`), which raises ModelError if the shape has no room for it.
        """
        generator = torch.Generator().manual_seed(seed)
        residual = 0.02 / math.sqrt(2 * self.shape.layers)
        with torch.no_grad():
            for name, parameter in self.named_parameters():
                if parameter.ndim < 2:
                    parameter.fill_(0.0 if name.endswith("bias") else 1.0)
                    continue
                std = residual if name.endswith(("o_proj.weight", "down_proj.weight", "c_proj.weight")) else 0.02
                parameter.copy_(torch.empty(parameter.shape).normal_(0.0, std, generator=generator))
            if induction:
                begin_induction(self, generator)

    def matrices(self) -> Iterator[tuple[str, nn.Parameter]]:
        """The hidden matrices, which Muon trains: all matrices except embeddings and the output layer."""
        excluded = {id(self.embedding.weight), id(self.head)}
        if self.shape.architecture == "gpt2":
            excluded.add(id(self.transformer.wpe.weight))
        for name, parameter in self.named_parameters():
            if parameter.ndim == 2 and id(parameter) not in excluded:
                yield name, parameter
