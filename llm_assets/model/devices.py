"""What devices can do, for predictions and for model FLOPs utilisation (MFU)."""

from __future__ import annotations

import contextlib
import math
import os
import time
from dataclasses import dataclass
from typing import Any

from .shape import ModelError, ModelShape

PLANNED_MFU = 0.45  # of a GPU in training; what was reached stands beside the prediction afterwards
CPU_FLOPS_PER_CORE = (
    4.5e10  # fp32 training of 1 M parameters on a 2-core AVX2 virtual machine: 97 GFLOP/s with both cores free
)


@dataclass(frozen=True)
class Device:
    """peak: dense FLOP/s in bf16 without sparsity, as the maker states; memory in bytes; bandwidth of that memory in
    bytes/s; price: US dollars an hour on demand, about what clouds asked in 2026; watts: rated power.
    """

    name: str
    matches: str
    peak: float
    memory: int
    bandwidth: float
    price: float
    watts: int


DEVICES = (
    Device("h200", "H200", 989e12, 141 * 10**9, 4.8e12, 3.5, 700),
    Device("h100", "H100", 989e12, 80 * 10**9, 3.35e12, 2.5, 700),
    Device("b200", "B200", 2250e12, 180 * 10**9, 8e12, 5.0, 1000),
    Device("a100", "A100", 312e12, 80 * 10**9, 2.0e12, 1.5, 400),
    Device("l40s", "L40S", 362e12, 48 * 10**9, 0.86e12, 1.0, 350),
    Device("4090", "4090", 165e12, 24 * 10**9, 1.0e12, 0.4, 450),
)


def find_device(name: str) -> Device | None:
    """The entry for a name such as ``h200`` or ``NVIDIA H200``; None where it is not known."""
    return next((device for device in DEVICES if device.matches.lower() in name.lower()), None)


def measured_peak() -> float:
    """FLOP/s of a matrix product in fp32 on this CPU, the best of five: what stands for its peak in MFU."""
    import torch

    a, b = torch.randn(1536, 1536), torch.randn(1536, 1536)
    best = 0.0
    for _ in range(5):
        began = time.perf_counter()
        torch.mm(a, b)
        best = max(best, 2 * 1536**3 / (time.perf_counter() - began))
    return best


@dataclass(frozen=True)
class Prediction:
    """What a training will take. Times in seconds, memory in bytes a device, cost in US dollars (None on one's own CPU)."""

    parameters: int
    tokens: int
    flops: float
    steps: int
    micro_batch_size: int
    memory: int
    tokens_per_second: float
    seconds: float
    cost: float | None


def fitting_rows(shape: ModelShape, memory: int, rows: int) -> int:
    """The most sequences a pass, a power of two or all, that fit into 85 % of the memory by the estimate. Raises ModelError."""
    sizes = sorted({rows, *(2**p for p in range(int(math.log2(rows)) + 1))}, reverse=True)
    for size in sizes:
        if shape.training_memory(size) <= 0.85 * memory:
            return size
    raise ModelError(
        f"one sequence of {shape.context} tokens at depth {shape.layers} needs {shape.training_memory(1) / 1e9:.0f} GB of {memory / 1e9:.0f}: lower model.depth or model.context, or take a larger device"
    )


def predict(
    shape: ModelShape, tokens: int, batch_tokens: int, device: str, processes: int = 1, cores: int = 2
) -> Prediction:
    """Steps, memory, time and cost on a device (of the table, or ``cpu`` with that many cores). Raises ModelError."""
    rows = max(1, batch_tokens // shape.context)
    steps = max(1, round(tokens / (rows * shape.context)))
    flops = float(shape.flops_per_token) * steps * rows * shape.context
    if device == "cpu":
        micro_batch_size = min(rows, 16)
        speed = CPU_FLOPS_PER_CORE * cores / shape.flops_per_token
        return Prediction(
            shape.parameters,
            tokens,
            flops,
            steps,
            micro_batch_size,
            shape.training_memory(micro_batch_size, 4),
            speed,
            flops / shape.flops_per_token / speed,
            None,
        )
    known = find_device(device)
    if known is None:
        raise ModelError(f"device {device!r}: there are cpu, {', '.join(one.name for one in DEVICES)}")
    micro_batch_size = fitting_rows(shape, known.memory, max(1, rows // processes))
    speed = PLANNED_MFU * known.peak * processes / shape.flops_per_token
    seconds = flops / shape.flops_per_token / speed
    return Prediction(
        shape.parameters,
        tokens,
        flops,
        steps,
        micro_batch_size,
        shape.training_memory(micro_batch_size),
        speed,
        seconds,
        seconds / 3600 * known.price * processes,
    )


def pick_device(wanted: str) -> str:
    """``auto``, ``cpu`` or ``cuda`` as cpu or cuda. Raises ModelError for a GPU that is not there.

    LLM_ASSETS_GPUS=none makes it cpu, whatever is wanted.
    """
    import torch

    if os.environ.get("LLM_ASSETS_GPUS") == "none":
        return "cpu"
    if wanted == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    if wanted == "cuda" and not torch.cuda.is_available():
        raise ModelError(
            "the recipe names a GPU (device 'cuda'), and there is none, or the CPU build of torch is installed; set device to 'auto' or 'cpu', or install torch for CUDA"
        )
    return wanted


def half_precision(device: str) -> bool:
    """Whether matrix products are in bf16 on a device of this type (``cuda``, ``cpu``), weights staying in fp32.

    LLM_ASSETS_PRECISION says so: bf16, fp32, or auto, which is bf16 on a GPU and fp32 on a CPU, where bf16 without AMX
    is 30 times slower. Raises ModelError for another value.
    """
    precision = os.environ.get("LLM_ASSETS_PRECISION", "") or "auto"
    if precision not in ("auto", "bf16", "fp32"):
        raise ModelError(f"LLM_ASSETS_PRECISION is {precision!r}; it must be auto, bf16 or fp32")
    return device == "cuda" if precision == "auto" else precision == "bf16"


def autocast(device: str) -> contextlib.AbstractContextManager[Any]:
    """torch's automatic mixed precision on a device of this type, as `half_precision` says."""
    import torch

    return torch.autocast(device, torch.bfloat16) if half_precision(device) else contextlib.nullcontext()


def find_gpus(wanted: str) -> tuple[int, int, str]:
    """Number of GPUs to train on (0 is a CPU), the memory of one in bytes, and its name."""
    import torch

    if wanted == "cpu" or os.environ.get("LLM_ASSETS_GPUS") == "none" or not torch.cuda.is_available():
        return 0, 0, "cpu"
    properties = torch.cuda.get_device_properties(0)
    return torch.cuda.device_count(), properties.total_memory, properties.name
