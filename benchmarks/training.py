"""Tokens per second, model FLOPs utilisation and memory of training, compared with transformers' Qwen3 in an eager
loop.

    python benchmarks/training.py --depth 4 --width 128 --context 256 --vocabulary 2048 --tied --json FILE
    python benchmarks/training.py --depth 12 --device cuda --json FILE

Both train the same shape on the same random tokens in the same run, in alternating rounds. "ours" is what
`base_checkpoint` runs: Muon and AdamW, attention within documents, torch.compile (on a CPU, as in the recipe `laptop`,
if there is a C++ compiler), and on a GPU bf16 and FlexAttention. The reference is transformers' model with AdamW (not
fused), and on a GPU bf16 autocast. On a CPU, peak FLOP/s are measured with a large fp32 matrix product. Memory is that
of each contestant's first two steps, without what the earlier ones hold; a contestant that does not fit has no figures.
"""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from model_shape import add_shape, finish, random_tokens, read_shape

from llm_assets.compute.allocator import ALLOCATOR
from llm_assets.model.devices import find_device, measured_peak
from llm_assets.model.huggingface import config
from llm_assets.model.shape import ModelShape
from llm_assets.model.training_memory import TrainingKind, fitting_micro_batch, training_memory
from llm_assets.model.transformer import Transformer
from llm_assets.training.learner import Execution, Learner, sequence_loss
from llm_assets.training.losses import token_losses
from llm_assets.training.plan import Optimisation
from llm_assets.training.processes import Devices

Step = Callable[[int], float]  # takes a step's number, returns its loss


@dataclass(frozen=True)
class Setting:
    """What all contestants train. batch_size, micro_batch_size: in sequences."""

    shape: ModelShape
    batch_size: int
    micro_batch_size: int
    devices: Devices

    @property
    def step_tokens(self) -> int:
        return self.batch_size * self.shape.context


class RandomSequences:
    """Random tokens, the same for all contestants; on average every 600th begins a document (id 0)."""

    def __init__(self, shape: ModelShape):
        self.shape = shape

    def batch(self, first: int, count: int) -> tuple[np.ndarray, np.ndarray]:
        tokens = random_tokens(self.shape, first, count)
        return tokens[:, :-1].copy(), tokens[:, 1:].copy()


def make_ours(setting: Setting, muon: bool = True, compiled: bool | Literal["layers"] = True) -> Step:
    """The training step of this project."""
    model = Transformer(setting.shape)
    model.initialise(1)
    model.train()
    learner = Learner(model, Optimisation(muon=muon), 1_000, setting.devices, Execution(compile=compiled))
    data, losses = RandomSequences(setting.shape), token_losses(boundary=0)

    def step(number: int) -> float:
        loss = sequence_loss(data, number, setting.batch_size, setting.micro_batch_size, setting.devices, losses)
        [value], _ = learner.step(number, [loss])
        return value

    return step


def make_reference(setting: Setting, compiled: bool = False) -> Step:
    """The same step with transformers' model, in a plain loop. compiled: with torch.compile."""
    from transformers import AutoConfig, AutoModelForCausalLM

    values = config(setting.shape)
    described = AutoConfig.for_model(values.pop("model_type"), **values)
    devices = setting.devices
    model = AutoModelForCausalLM.from_config(described, attn_implementation="sdpa").to(devices.device).train()
    optimiser = torch.optim.AdamW(model.parameters(), lr=2e-3, foreach=False)
    data = RandomSequences(setting.shape)
    runner = torch.compile(model) if compiled else model

    def step(number: int) -> float:
        batch = data.batch(number * setting.batch_size, setting.batch_size)
        tokens, targets = (torch.from_numpy(array).to(devices.device) for array in batch)
        total = 0.0
        for first in range(0, setting.batch_size, setting.micro_batch_size):
            part = slice(first, first + setting.micro_batch_size)
            with devices.autocast():
                logits = runner(tokens[part]).logits
            loss = torch.nn.functional.cross_entropy(logits.float().flatten(0, 1), targets[part].flatten())
            loss = loss * len(tokens[part]) / setting.batch_size
            loss.backward()
            total += float(loss.detach())
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        optimiser.zero_grad(set_to_none=True)
        return total

    return step


def measure(step: Step, first: int, steps: int, setting: Setting) -> dict[str, float]:
    """Speed of steps [first, first + steps), and how many cores they kept busy."""
    if setting.devices.cuda:
        torch.cuda.synchronize()
    began, cpu = time.perf_counter(), time.process_time()
    for number in range(first, first + steps):
        step(number)
    if setting.devices.cuda:
        torch.cuda.synchronize()
    seconds = time.perf_counter() - began
    return {
        "tokens_per_second": steps * setting.step_tokens / seconds,
        "cores_busy": (time.process_time() - cpu) / seconds,
    }


def read_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batch-size", type=int, help="sequences of a step; default: one micro-batch")
    parser.add_argument("--micro-batch-size", type=int, help="default: what fits on a GPU, 4,096 tokens on a CPU")
    parser.add_argument("--contestants", nargs="+", help="names of those to compare; default: all")
    parser.add_argument("--steps", type=int, default=10, help="steps of each round")
    add_shape(parser)
    parser.add_argument("--json", type=Path, help="write the result to this file")
    return parser.parse_args()


def read_setting(options: argparse.Namespace) -> Setting:
    shape, devices = read_shape(options), Devices(torch.device(options.device))
    micro_batch_size = options.micro_batch_size or max(1, 4096 // shape.context)
    if devices.cuda and not options.micro_batch_size:
        memory = torch.cuda.get_device_properties(0).total_memory
        micro_batch_size = fitting_micro_batch(shape, memory, 64)
    return Setting(shape, options.batch_size or micro_batch_size, micro_batch_size, devices)


def contestants(setting: Setting) -> dict[str, Callable[[], Step]]:
    """What is compared, by name; each is a function that makes a contestant's step."""
    return {
        "ours": partial(make_ours, setting),
        "ours, AdamW alone": partial(make_ours, setting, muon=False),
        "ours, compiled by layers": partial(make_ours, setting, compiled="layers"),
        "ours, not compiled": partial(make_ours, setting, compiled=False),
        "reference": partial(make_reference, setting),
        "reference, compiled": partial(make_reference, setting, compiled=True),
    }


@dataclass(frozen=True)
class Contest:
    """steps: of each contestant that does not fail. memory: bytes, on a GPU. first_steps: seconds that the first
    two steps took, compilation included.
    """

    steps: dict[str, Step]
    memory: dict[str, int | None]
    first_steps: dict[str, float]


def warm_up(makers: dict[str, Callable[[], Step]], setting: Setting) -> Contest:
    """Make all contestants, and run two steps of each, which compile it and fill the allocator."""
    contest, cuda = Contest({}, {}, {}), setting.devices.cuda
    for name, make in makers.items():
        if cuda:
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats()
        held = torch.cuda.memory_allocated() if cuda else 0
        began = time.perf_counter()
        try:
            step = make()
            measure(step, 0, 2, setting)
        except RuntimeError as error:  # out of memory, or no compiler for what is compiled
            print(f"{name}: {error}", file=sys.stderr)
            contest.memory[name] = None
            continue
        contest.steps[name] = step
        contest.memory[name] = torch.cuda.max_memory_allocated() - held if cuda else None
        contest.first_steps[name] = round(time.perf_counter() - began, 1)
    return contest


def main() -> None:
    options = read_options()
    setting = read_setting(options)
    shape, cuda = setting.shape, setting.devices.cuda
    name = torch.cuda.get_device_name() if cuda else platform.processor() or platform.machine()
    if cuda:
        torch.set_float32_matmul_precision("high")
    known = find_device(name)
    peak = known.peak if known else measured_peak()
    makers = contestants(setting)
    contest = warm_up({key: makers[key] for key in options.contestants or makers}, setting)
    rounds: dict[str, list[dict[str, float]]] = {key: [] for key in contest.steps}
    for number in range(options.rounds):
        for key, step in contest.steps.items():
            rounds[key].append(measure(step, 2 + number * options.steps, options.steps, setting))

    def medians(measure: str) -> dict[str, float]:
        return {key: statistics.median(result[measure] for result in results) for key, results in rounds.items()}

    speeds = medians("tokens_per_second")
    reference = speeds.get("reference")
    result: dict[str, Any] = {
        "device": name,
        "cores": None if cuda else torch.get_num_threads(),
        "versions": {"torch": torch.__version__, "python": platform.python_version()},
        "shape": shape.__dict__,
        "parameters": shape.parameters,
        "batch_size": setting.batch_size,
        "micro_batch_size": setting.micro_batch_size,
        "rounds": options.rounds,
        "tokens_per_second": {key: round(value, 1) for key, value in speeds.items()},
        "ratio": {
            key: round(value / reference, 3) for key, value in speeds.items() if reference and key != "reference"
        },
        "mfu": {key: round(value * shape.flops_per_token / peak, 4) for key, value in speeds.items()},
        "peak_flops": peak,
        "peak_is": "as the maker states" if known else "a matrix product measured here",
        "cores_busy": {key: round(value, 2) for key, value in medians("cores_busy").items()},
        "memory": contest.memory,
        "first_two_steps_seconds": contest.first_steps,
        "estimated_memory": training_memory(
            shape, setting.micro_batch_size, TrainingKind(precision_bytes=2 if cuda else 4)
        ).total,
    }
    finish(result, options.json)


if __name__ == "__main__":
    # Run with the allocator settings of training, which the reference gets too.
    if not ALLOCATOR.keys() <= os.environ.keys():
        os.execve(sys.executable, [sys.executable, *sys.argv], {**ALLOCATOR, **os.environ})
    main()
