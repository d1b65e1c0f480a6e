"""Loss of a model of this project while it is trained, compared with nanochat's published method in the same run.

    python benchmarks/loss_curve.py --shards FOLDER --device cuda --depth 12 --context 1024 --vocabulary 50257
        --nanochat CHECKOUT --json FILE

--shards: token shards, as the asset `token_shards` writes them, in which id --boundary begins every document. Both
contestants read the same sequences in the same order, at the same batch size, depth, width, heads and context, and
validate on the same sequences at the same steps.

ours: what `base_checkpoint` runs, with the default rates of a recipe: Muon and AdamW, attention within documents.
nanochat: the model and the optimisers of a checkout (`nanochat/gpt.py`, `nanochat/optim.py`), with the learning rates,
momentum and weight decay of its `scripts/base_train.py`, full attention in every layer (which that script recommends
where FlashAttention 3 is missing), and attention across documents, as there. It has more parameters at the same shape:
value embeddings in every second layer, and an output layer that is not tied. Tokens per second do not count validation.
"""

from __future__ import annotations

import argparse
import math
import platform
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from model_shape import add_shape, finish
from torch import nn

from llm_assets.model.devices import find_device, measured_peak
from llm_assets.model.shape import ModelShape
from llm_assets.model.transformer import Transformer
from llm_assets.training.learner import Execution, Learner, sequence_loss
from llm_assets.training.loader import PackedDocuments
from llm_assets.training.losses import HeldOut, mean_loss, token_losses
from llm_assets.training.plan import Optimisation
from llm_assets.training.processes import Devices
from llm_assets.training.shards import TokenStream

# nanochat's scripts/base_train.py, the defaults of its options: rates at a batch of 2^19 tokens, and what it trains a
# model of depth 12 on.
NANOCHAT_RATES = {"unembedding_lr": 0.008, "embedding_lr": 0.3, "scalar_lr": 0.5, "matrix_lr": 0.02}
NANOCHAT_BATCH, NANOCHAT_DECAY = 1 << 19, 0.28
NANOCHAT_WARMUP, NANOCHAT_COOLDOWN, NANOCHAT_FINAL = 40, 0.65, 0.05


@dataclass(frozen=True)
class Run:
    """What all contestants are given. validation: sequences."""

    shape: ModelShape
    steps: int
    batch_size: int
    micro_batch_size: int
    boundary: int
    validation: int
    devices: Devices
    training: PackedDocuments
    held_out: PackedDocuments


@dataclass(frozen=True)
class Contestant:
    """step(number): takes a step and returns its loss. validate(): the mean loss of the validation sequences."""

    model: nn.Module
    step: Callable[[int], float]
    validate: Callable[[], float]


def make_ours(run: Run) -> Contestant:
    """This project's model, and its training step."""
    model = Transformer(run.shape)
    model.initialise(1)
    model.train()
    rate = 2e-3 * math.sqrt(768 / run.shape.width)
    optimisation = Optimisation(learning_rate=rate, matrix_learning_rate=rate)
    learner = Learner(model, optimisation, run.steps, run.devices, Execution(compile=run.devices.cuda))
    losses = token_losses(run.boundary)

    def step(number: int) -> float:
        loss = sequence_loss(run.training, number, run.batch_size, run.micro_batch_size, run.devices, losses)
        [value], _ = learner.step(number, [loss])
        return value

    def validate() -> float:
        with run.devices.autocast():
            held_out = HeldOut(run.held_out, run.validation, run.micro_batch_size, boundary=run.boundary)
            numbers = mean_loss(model, held_out)
        return numbers["loss"]

    return Contestant(model, step, validate)


def make_nanochat(run: Run) -> Contestant:
    """nanochat's model and optimisers, in a loop as that of its `scripts/base_train.py`."""
    from nanochat.gpt import GPT, GPTConfig

    shape, device = run.shape, run.devices.device
    described = GPTConfig(
        sequence_len=shape.context,
        vocab_size=shape.vocabulary,
        n_layer=shape.layers,
        n_head=shape.heads,
        n_kv_head=shape.kv_heads,
        n_embd=shape.width,
        window_pattern="L",
    )
    torch.manual_seed(1)
    with torch.device("meta"):
        model = GPT(described)
    model.to_empty(device=device)
    model.init_weights()
    scale = math.sqrt(run.batch_size * shape.context / NANOCHAT_BATCH)
    decay = NANOCHAT_DECAY * scale
    rates = {name: rate * scale for name, rate in NANOCHAT_RATES.items()}
    optimiser = model.setup_optimizer(**rates, weight_decay=decay)
    runner = torch.compile(model, dynamic=False) if run.devices.cuda else model

    def batch(data: PackedDocuments, first: int, count: int) -> list[torch.Tensor]:
        arrays = data.batch(first, count)
        return [run.devices.pinned(torch.from_numpy(array)).to(device, non_blocking=True) for array in arrays]

    def step(number: int) -> float:
        total = torch.zeros((), device=device)
        for first in range(0, run.batch_size, run.micro_batch_size):
            count = min(run.micro_batch_size, run.batch_size - first)
            tokens, targets = batch(run.training, number * run.batch_size + first, count)
            loss = runner(tokens, targets) * count / run.batch_size
            loss.backward()
            total += loss.detach()
        set_rates(optimiser, number, run.steps, decay)
        optimiser.step()
        model.zero_grad(set_to_none=True)
        return float(total)

    def validate() -> float:
        total = 0.0
        with torch.no_grad():
            for first in range(0, run.validation, run.micro_batch_size):
                count = min(run.micro_batch_size, run.validation - first)
                total += float(model(*batch(run.held_out, first, count))) * count
        return total / run.validation

    return Contestant(model, step, validate)


def set_rates(optimiser: torch.optim.Optimizer, step: int, steps: int, decay: float) -> None:
    """nanochat's schedules of learning rates, of Muon's momentum and of its weight decay."""
    cooldown = round(NANOCHAT_COOLDOWN * steps)
    remaining = (steps - step) / max(cooldown, 1)
    factor = min(1.0, (step + 1) / NANOCHAT_WARMUP)
    if step >= NANOCHAT_WARMUP and remaining < 1:
        factor = remaining + (1 - remaining) * NANOCHAT_FINAL
    momentum = 0.97
    if step < 400:
        momentum = 0.85 + (0.97 - 0.85) * step / 400
    elif remaining < 1:
        momentum = 0.97 * remaining + 0.90 * (1 - remaining)
    for group in optimiser.param_groups:
        group["lr"] = group["initial_lr"] * factor
        if group["kind"] == "muon":
            group["momentum"] = momentum
            group["weight_decay"] = decay * 0.5 * (1 + math.cos(math.pi * step / steps))


def train(contestant: Contestant, run: Run, validations: int, peak: float) -> dict[str, Any]:
    """Train to the end; losses, validation losses, and tokens per second of the median step."""
    cuda, every = run.devices.cuda, max(1, run.steps // validations)
    losses, validation, times = [], {}, []
    if cuda:
        torch.cuda.reset_peak_memory_stats()
    for number in range(run.steps + 1):
        if number == run.steps or (number and number % every == 0):
            validation[number] = round(contestant.validate(), 4)
            print(f"step {number}: loss {losses[-1]}, validation {validation[number]}", file=sys.stderr)
        if number == run.steps:
            break
        began = time.perf_counter()
        losses.append(round(contestant.step(number), 4))  # the loss is read, so the device has done the step before it
        times.append(time.perf_counter() - began)
    speed = run.batch_size * run.shape.context / float(np.median(times))
    return {
        "parameters": sum(parameter.numel() for parameter in contestant.model.parameters()),
        "tokens_per_second": round(speed, 1),
        "mfu": round(speed * run.shape.flops_per_token / peak, 4),
        "first_step_seconds": round(times[0], 1),
        "memory": torch.cuda.max_memory_allocated() if cuda else None,
        "validation": validation,
        "losses": losses,
    }


def read_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shards", type=Path, required=True, help="a folder of token shards")
    parser.add_argument("--boundary", type=int, default=50_256, help="the id that begins a document")
    parser.add_argument("--nanochat", type=Path, help="a checkout of nanochat; none compares nothing")
    parser.add_argument("--contestants", nargs="+", help="ours, nanochat; default: all")
    parser.add_argument("--architecture", default="qwen3", choices=("qwen3", "gpt2"))
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--batch-size", type=int, default=128, help="sequences of a step")
    parser.add_argument("--micro-batch-size", type=int, default=32)
    parser.add_argument("--validations", type=int, default=10)
    parser.add_argument("--validation-sequences", type=int, default=256)
    add_shape(parser)
    parser.add_argument("--json", type=Path, help="write the result to this file")
    return parser.parse_args()


def main() -> None:
    options = read_options()
    devices, cuda = Devices(torch.device(options.device)), options.device == "cuda"
    if cuda:
        torch.set_float32_matmul_precision("high")
    shape = ModelShape.of_depth(
        options.depth,
        options.vocabulary,
        options.context,
        options.architecture,
        width=options.width,
        tied=options.tied or None,
    )
    training, held_out = (TokenStream([options.shards], split) for split in ("train", "validation"))
    sequences = PackedDocuments(held_out, shape.context, 0, shuffle=False)
    run = Run(
        shape,
        options.steps,
        options.batch_size,
        options.micro_batch_size,
        options.boundary,
        max(1, min(options.validation_sequences, int(sequences.sequences_per_epoch))),
        devices,
        PackedDocuments(training, shape.context, 1),
        sequences,
    )
    makers = {"ours": make_ours}
    if options.nanochat:
        sys.path.insert(0, str(options.nanochat))
        makers["nanochat"] = make_nanochat
    name = torch.cuda.get_device_name() if cuda else platform.processor() or platform.machine()
    known = find_device(name)
    peak = known.peak if known else measured_peak()
    result: dict[str, Any] = {
        "device": name,
        "versions": {"torch": torch.__version__, "python": platform.python_version()},
        "shape": shape.__dict__,
        "steps": run.steps,
        "batch_size": run.batch_size,
        "micro_batch_size": run.micro_batch_size,
        "tokens": run.steps * run.batch_size * shape.context,
        "epochs": round(run.steps * run.batch_size / run.training.sequences_per_epoch, 2),
        "validation_tokens": run.validation * shape.context,
        "seeds": 1,
        "flops_per_token": shape.flops_per_token,
    }
    for contestant in options.contestants or makers:
        result[contestant] = train(makers[contestant](run), run, options.validations, peak)
        finish(result, options.json)


if __name__ == "__main__":
    main()
