"""Tokens per second, model FLOPs utilisation and memory of training, against transformers' Qwen3 in a plain eager loop.

    python benchmarks/training.py --depth 4 --width 128 --context 256 --vocabulary 2048 --tied --json FILE
    python benchmarks/training.py --depth 12 --device cuda --json FILE

Both train the same shape on the same random tokens in the same run, turn about. Ours is what `base_checkpoint` runs: Muon
and AdamW, attention within documents, and on a GPU bf16, FlexAttention and
torch.compile. The reference is transformers' model, AdamW (not fused),
and on a GPU bf16 autocast. On a CPU the peak is what a large fp32 matrix product reaches here.
"""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from model_shape import add_shape, finish, read_shape

from llm_assets.compute.launch import ALLOCATOR
from llm_assets.model.devices import find_device, fitting_rows, measured_peak
from llm_assets.model.huggingface import config
from llm_assets.model.shape import ModelShape
from llm_assets.model.transformer import Transformer
from llm_assets.training.loop import Devices, TrainingPlan, update
from llm_assets.training.optimiser import Optimisation, make_optimisers


class RandomRows:
    """Random tokens, the same for everybody; a document (id 0 in front) about every 600."""

    def __init__(self, shape: ModelShape):
        self.shape = shape

    def rows(self, first: int, count: int) -> tuple[np.ndarray, np.ndarray]:
        draw = np.random.default_rng(first)
        tokens = draw.integers(1, self.shape.vocabulary, (count, self.shape.context + 1))
        tokens[draw.random(tokens.shape) < 1 / 600] = 0
        return tokens[:, :-1].copy(), tokens[:, 1:].copy()


def ours(shape: ModelShape, rows: int, micro_batch_size: int, devices: Devices, muon: bool = True) -> Any:
    model = Transformer(shape)
    model.initialise(1)
    model.to(devices.device).train()
    plan = TrainingPlan(steps=1_000, rows=rows, micro_batch_size=micro_batch_size, boundary=0)
    optimisers = make_optimisers(model, Optimisation(muon=muon))
    runner = torch.compile(model) if devices.cuda else model
    return lambda step: update(model, runner, RandomRows(shape), step, range(rows), plan, devices, optimisers)[0]


def reference(shape: ModelShape, rows: int, micro_batch_size: int, devices: Devices) -> Any:
    from transformers import AutoConfig, AutoModelForCausalLM

    values = config(shape)
    described = AutoConfig.for_model(values.pop("model_type"), **values)
    model = AutoModelForCausalLM.from_config(described, attn_implementation="sdpa").to(devices.device).train()
    optimiser = torch.optim.AdamW(model.parameters(), lr=2e-3, foreach=False)
    data = RandomRows(shape)

    def step(number: int) -> float:
        tokens, targets = (torch.from_numpy(array).to(devices.device) for array in data.rows(number * rows, rows))
        total = 0.0
        for first in range(0, rows, micro_batch_size):
            part = slice(first, first + micro_batch_size)
            with devices.autocast():
                logits = model(tokens[part]).logits
            loss = (
                torch.nn.functional.cross_entropy(logits.float().flatten(0, 1), targets[part].flatten())
                * len(tokens[part])
                / rows
            )
            loss.backward()
            total += float(loss.detach())
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        optimiser.zero_grad(set_to_none=True)
        return total

    return step


def measure(step: Any, first: int, steps: int, devices: Devices, tokens: int) -> dict[str, float]:
    if devices.cuda:
        torch.cuda.synchronize()
    began, cpu = time.perf_counter(), time.process_time()
    for number in range(first, first + steps):
        step(number)
    if devices.cuda:
        torch.cuda.synchronize()
    seconds = time.perf_counter() - began
    return {"tokens_per_second": steps * tokens / seconds, "cores_busy": (time.process_time() - cpu) / seconds}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, help="sequences a step; default: one pass")
    parser.add_argument("--micro-batch-size", type=int)
    parser.add_argument("--steps", type=int, default=10, help="of each round")
    add_shape(parser)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    shape = read_shape(options)
    devices = Devices(torch.device(options.device))
    name = torch.cuda.get_device_name() if devices.cuda else platform.processor() or platform.machine()
    if devices.cuda:
        torch.set_float32_matmul_precision("high")
    known = find_device(name)
    micro_batch_size = options.micro_batch_size or (
        fitting_rows(shape, torch.cuda.get_device_properties(0).total_memory, 64)
        if devices.cuda
        else max(1, 4096 // shape.context)
    )
    rows = options.rows or micro_batch_size
    peak = known.peak if known else measured_peak()
    made = {
        "ours": ours(shape, rows, micro_batch_size, devices),
        "ours, AdamW alone": ours(shape, rows, micro_batch_size, devices, muon=False),
        "reference": reference(shape, rows, micro_batch_size, devices),
    }
    rounds: dict[str, list[dict[str, float]]] = {key: [] for key in made}
    memory = {}
    for key, step in made.items():
        if devices.cuda:
            torch.cuda.reset_peak_memory_stats()
        measure(step, 0, 2, devices, rows * shape.context)  # compiles, and fills the allocator
        memory[key] = torch.cuda.max_memory_allocated() if devices.cuda else None
    for number in range(options.rounds):
        for key, step in made.items():
            rounds[key].append(measure(step, 2 + number * options.steps, options.steps, devices, rows * shape.context))
    speeds = {key: statistics.median(one["tokens_per_second"] for one in of_key) for key, of_key in rounds.items()}
    result = {
        "device": name,
        "cores": torch.get_num_threads() if not devices.cuda else None,
        "versions": {"torch": torch.__version__, "python": platform.python_version()},
        "shape": shape.__dict__,
        "parameters": shape.parameters,
        "rows": rows,
        "micro_batch_size": micro_batch_size,
        "tokens_per_second": {key: round(value, 1) for key, value in speeds.items()},
        "ratio": {key: round(value / speeds["reference"], 3) for key, value in speeds.items() if key != "reference"},
        "mfu": {key: round(value * shape.flops_per_token / peak, 4) for key, value in speeds.items()},
        "peak_flops": peak,
        "peak_is": "as the maker states" if known else "a matrix product measured here",
        "cores_busy": {
            key: round(statistics.median(one["cores_busy"] for one in of_key), 2) for key, of_key in rounds.items()
        },
        "memory": memory,
        "estimated_memory": shape.training_memory(micro_batch_size, 2 if devices.cuda else 4),
    }
    finish(result, options.json)


if __name__ == "__main__":
    if not ALLOCATOR.keys() <= os.environ.keys():  # as trainings are launched; the reference has it too
        os.execve(sys.executable, [sys.executable, *sys.argv], {**ALLOCATOR, **os.environ})
    main()
