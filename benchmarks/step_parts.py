"""What parts of a step cost: masks, attention, optimisers; and how far recorded decoding is from plain decoding.

    python benchmarks/step_parts.py --depth 4 --width 128 --context 256 --vocabulary 2048 --tied --json FILE
    python benchmarks/step_parts.py --depth 12 --device cuda --json FILE

Milliseconds, as the mean of --repeats calls after three. Attention: forward and backward of one layer, in bf16 on a
GPU; by documents (FlexAttention, GPU only), causal over the whole sequence (scaled_dot_product_attention). Decoding:
the same tokens are read step by step; differences of logits are relative, |a - b| / |b|, between two plain runs, and
between each way and the full forward pass in fp32. Training: the same sequences in fp32 as they are; differences of
gradients to it, of two layers, in ways to save memory and to compile (on a GPU, where they are in bf16 too).
"""

from __future__ import annotations

import argparse
import platform
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from model_shape import add_shape, finish, read_shape
from torch import Tensor

from llm_assets.model.attention import document_mask
from llm_assets.model.decoding_graph import DecodingGraph
from llm_assets.model.devices import autocast
from llm_assets.model.prefill import CachedModel
from llm_assets.model.shape import ModelShape
from llm_assets.model.training_memory import MemorySavings
from llm_assets.model.transformer import Transformer
from llm_assets.training.learner import compiled
from llm_assets.training.muon import StackedMuon
from llm_assets.training.optimiser import make_optimisers
from llm_assets.training.plan import Optimisation


def milliseconds(work: Callable[[], object], repeats: int, cuda: bool) -> float:
    """Of one call, the mean of `repeats` after three."""
    for _ in range(3):
        work()
    if cuda:
        torch.cuda.synchronize()
    began = time.perf_counter()
    for _ in range(repeats):
        work()
    if cuda:
        torch.cuda.synchronize()
    return round((time.perf_counter() - began) / repeats * 1e3, 3)


def attention(shape: ModelShape, tokens: Tensor, repeats: int) -> dict[str, float]:
    """The mask of `tokens` (B, T), and attention of one layer with it and without."""
    cuda = tokens.is_cuda
    dtype = torch.bfloat16 if cuda else torch.float32
    size = (len(tokens), shape.heads, tokens.shape[1], shape.head_dim)
    query, key, value = (torch.randn(size, device=tokens.device, dtype=dtype).requires_grad_() for _ in range(3))

    def backward(out: Tensor) -> None:
        torch.autograd.grad(out.sum(), (query, key, value))

    measured = {
        "mask": milliseconds(lambda: document_mask(tokens, 0), repeats, cuda),
        "causal": milliseconds(
            lambda: backward(F.scaled_dot_product_attention(query, key, value, is_causal=True)), repeats, cuda
        ),
    }
    if cuda:
        from torch.nn.attention.flex_attention import create_block_mask, flex_attention

        compiled, mask = torch.compile(flex_attention), document_mask(tokens, 0).scores
        length = tokens.shape[1]
        measured["mask, not compiled"] = milliseconds(
            lambda: create_block_mask(mask.mask_mod, len(tokens), None, length, length, device=tokens.device),
            repeats,
            cuda,
        )
        measured["documents"] = milliseconds(
            lambda: backward(compiled(query, key, value, block_mask=mask)), repeats, cuda
        )
    return measured


def optimisers(model: Transformer, repeats: int) -> dict[str, float]:
    """A step of each optimiser, on random gradients; of Muon on stacks of matrices and on one after the other."""
    for parameter in model.parameters():
        parameter.grad = torch.randn_like(parameter)
    matrices = [matrix for _, matrix in model.matrices()]
    contestants: dict[str, torch.optim.Optimizer] = {
        "adamw": make_optimisers(model, Optimisation())["adamw"],
        "muon, one matrix at a time": torch.optim.Muon(matrices, adjust_lr_fn="match_rms_adamw"),
        "muon, stacks": StackedMuon(matrices, adjust_lr_fn="match_rms_adamw"),
    }
    cuda = model.device.type == "cuda"
    return {name: milliseconds(optimiser.step, repeats, cuda) for name, optimiser in contestants.items()}


def decoding(model: Transformer, steps: int, sequences: int = 32) -> dict[str, float]:
    """Relative differences of logits between plain and recorded decoding, and between each and the full pass."""
    cached, device, size = CachedModel(model), model.device, model.shape.vocabulary
    tokens = torch.randint(0, size, (sequences, 8 + steps), generator=torch.Generator().manual_seed(1)).to(device)

    @torch.inference_mode()
    def decode(recorded: bool) -> Tensor:
        with autocast(device.type):
            cache, lengths, _ = cached.prefill(tokens[:, :8].tolist())
            read = DecodingGraph(cached).logits if recorded else cached.next_logits
            rows = []
            for step in range(steps):
                cache.reserve(9 + step)
                rows.append(read(tokens[:, 8 + step], lengths[:, None], cache).clone())
                lengths = lengths + 1
        return torch.stack(rows, 1)

    def difference(values: Tensor, other: Tensor) -> float:
        return round(float((values - other).norm() / other.norm()), 6)

    torch.set_float32_matmul_precision("highest")
    with torch.no_grad():
        full = model(tokens)[:, 8:, :size]
    torch.set_float32_matmul_precision("high")
    plain = decode(False)
    measured = {"plain again": difference(decode(False), plain), "plain, fp32": difference(plain, full)}
    if model.device.type == "cuda":
        recorded = decode(True)
        measured |= {"recorded, plain": difference(recorded, plain), "recorded, fp32": difference(recorded, full)}
    return measured


def training(shape: ModelShape, tokens: Tensor) -> dict[str, float]:
    """Relative differences of gradients to those in fp32, for ways to train two layers. tokens: (B, T)."""
    shape = replace(shape, layers=min(2, shape.layers))
    device, targets = tokens.device, tokens.roll(-1, 1)
    savings = MemorySavings(activation_checkpointing=True, chunked_logits=True)

    def gradients(chosen: MemorySavings, by_layer: bool | None) -> Tensor:
        """by_layer: None does not compile."""
        model = Transformer(shape)
        model.initialise(1)
        model.to(device).train().save_memory(chosen)
        runner = model if by_layer is None else compiled(model, by_layer)
        runner(tokens, targets, document_mask(tokens, 0)).sum().backward()
        return torch.cat([parameter.grad.flatten() for parameter in model.parameters()])

    expected = gradients(MemorySavings(), None)
    ways: dict[str, tuple[MemorySavings, bool | None]] = {"plain": (MemorySavings(), None), "savings": (savings, None)}
    if device.type == "cuda":
        ways |= {"compiled, savings": (savings, False), "compiled by layers, savings": (savings, True)}
    measured = {}
    for name, way in ways.items():
        torch.compiler.reset()
        with autocast(device.type):
            measured[name] = round(float((gradients(*way) - expected).norm() / expected.norm()), 6)
    return measured


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batch-size", type=int, default=16, help="sequences of the mask and of attention")
    parser.add_argument("--steps", type=int, default=200, help="decoding steps")
    parser.add_argument("--repeats", type=int, default=20)
    add_shape(parser)
    parser.add_argument("--json", type=Path, help="write the result to this file")
    options = parser.parse_args()
    shape, cuda = read_shape(options), options.device == "cuda"
    model = Transformer(shape)
    model.initialise(1)
    model.to(options.device)
    generator = torch.Generator().manual_seed(1)
    tokens = torch.randint(1, shape.vocabulary, (options.batch_size, shape.context), generator=generator)
    tokens[torch.rand(tokens.shape, generator=generator) < 1 / 600] = 0
    result: dict[str, Any] = {
        "device": torch.cuda.get_device_name() if cuda else platform.processor() or platform.machine(),
        "versions": {"torch": torch.__version__, "python": platform.python_version()},
        "shape": shape.__dict__,
        "batch_size": options.batch_size,
        "repeats": options.repeats,
        "attention_milliseconds": attention(shape, tokens.to(options.device), options.repeats),
        "decoding_differences": decoding(model, options.steps),
        "training_differences": training(shape, tokens[: options.batch_size // 4 or 1].to(options.device)),
        "optimiser_milliseconds": optimisers(model, options.repeats),
    }
    finish(result, options.json)


if __name__ == "__main__":
    main()
