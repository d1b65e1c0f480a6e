"""Speed, memory and precision of devices, to predict training runs and compute model FLOPs utilisation."""

from __future__ import annotations

import contextlib
import os
import time
from dataclasses import dataclass, replace
from typing import Any

from .shape import ModelError, ModelShape
from .training_memory import TrainingKind, fitting_micro_batch, training_memory

# Of a GPU in training: what depth 12 reached on an H100, rounded (docs/experiments/gpu.md). The checkpoint records what
# was reached beside the prediction.
PLANNED_MFU = 0.33
CPU_FLOPS_PER_CORE = (
    4.5e10  # fp32 training of 1 M parameters on a 2-core AVX2 virtual machine: 97 GFLOP/s with both cores free
)
# Sequences that are sampled together, at most. On a CPU more would not be faster; on a GPU, Python's share of a step,
# which grows with them, then exceeds the GPU's.
CPU_SEQUENCES = 256
GPU_SEQUENCES = 1024


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
    """The entry of a device such as ``h200`` or ``NVIDIA H200``; None if it is not listed."""
    return next((device for device in DEVICES if device.matches.lower() in name.lower()), None)


def measured_peak() -> float:
    """FLOP/s of an fp32 matrix product on this CPU, the best of five: the peak from which MFU is computed."""
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
    """What a training run will need. memory: bytes per device. cost: US dollars; None on a CPU."""

    parameters: int
    tokens: int
    flops: float
    steps: int
    micro_batch_size: int
    memory: int
    tokens_per_second: float
    seconds: float
    cost: float | None


def fitting_sequences(shape: ModelShape, tokens: int, memory: int) -> int:
    """How many sequences of `tokens` tokens can be sampled together in `memory` bytes, from 1 to GPU_SEQUENCES.

    Counts keys and values three times, because the cache grows by copying and at most doubles, and for each sequence's
    logits the fp32 and fp64 arrays from which a token is drawn. A fifth of the memory is left free.
    """
    bytes_per_sequence = 3 * shape.cache_bytes(tokens) + 32 * shape.vocabulary
    return min(GPU_SEQUENCES, max(1, int(0.8 * memory) // bytes_per_sequence))


def free_memory(device: Any) -> int:
    """Bytes that this process can still allocate on a GPU, those that its allocator holds unused included."""
    import torch

    unused = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    return int(torch.cuda.mem_get_info(device)[0]) + unused


@dataclass(frozen=True)
class Machine:
    """What a training run runs on. device: one of DEVICES, or ``cpu``. processes: one per GPU. cores: of the CPU."""

    device: str
    processes: int = 1
    cores: int = 2


def predict(
    shape: ModelShape, tokens: int, batch_tokens: int, machine: Machine, kind: TrainingKind | None = None
) -> Prediction:
    """Steps, memory, time and cost of a training run. Raises ModelError for an unknown device.

    tokens: trained on in total. batch_tokens: of a step. kind: of training, by default one of all weights; on a CPU,
    products are in fp32 in any case.
    """
    kind = kind or TrainingKind()
    batch_size = max(1, batch_tokens // shape.context)
    steps = max(1, round(tokens / (batch_size * shape.context)))
    price = None
    if machine.device == "cpu":
        micro_batch_size, kind = min(batch_size, 16), replace(kind, precision_bytes=4)
        speed = CPU_FLOPS_PER_CORE * machine.cores / shape.flops_per_token
    else:
        known = find_device(machine.device)
        if known is None:
            names = ", ".join(device.name for device in DEVICES)
            raise ModelError(f"unknown device {machine.device!r}; available: cpu, {names}")
        price = known.price
        micro_batch_size = fitting_micro_batch(shape, known.memory, max(1, batch_size // machine.processes), kind)
        speed = PLANNED_MFU * known.peak * machine.processes / shape.flops_per_token
    flops = float(shape.flops_per_token) * steps * batch_size * shape.context
    seconds = flops / shape.flops_per_token / speed
    return Prediction(
        parameters=shape.parameters,
        tokens=tokens,
        flops=flops,
        steps=steps,
        micro_batch_size=micro_batch_size,
        memory=training_memory(shape, micro_batch_size, kind).total,
        tokens_per_second=speed,
        seconds=seconds,
        cost=None if price is None else seconds / 3600 * price * machine.processes,
    )


def pick_device(wanted: str) -> str:
    """``cpu`` or ``cuda``, for ``auto``, ``cpu`` or ``cuda``. Raises ModelError if a GPU is required and there is none.

    LLM_ASSETS_GPUS=none selects the CPU in every case.
    """
    import torch

    if os.environ.get("LLM_ASSETS_GPUS") == "none":
        return "cpu"
    if wanted == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    if wanted == "cuda" and not torch.cuda.is_available():
        raise ModelError(
            "the recipe names a GPU (device 'cuda'), and there is none, or the CPU build of torch is installed; set "
            "device to 'auto' or 'cpu', or install torch for CUDA"
        )
    return wanted


def half_precision(device: str) -> bool:
    """Whether matrix products are computed in bf16 on a device type (``cuda``, ``cpu``); weights are fp32 in any case.

    LLM_ASSETS_PRECISION is bf16, fp32 or auto. auto is bf16 on a GPU and fp32 on a CPU, where bf16 is 30 times slower
    without AMX. Raises ModelError for another value.
    """
    precision = os.environ.get("LLM_ASSETS_PRECISION", "") or "auto"
    if precision not in ("auto", "bf16", "fp32"):
        raise ModelError(f"LLM_ASSETS_PRECISION is {precision!r}; it must be auto, bf16 or fp32")
    return device == "cuda" if precision == "auto" else precision == "bf16"


def autocast(device: str) -> contextlib.AbstractContextManager[Any]:
    """torch's automatic mixed precision on a device type, if `half_precision` says so."""
    import torch

    return torch.autocast(device, torch.bfloat16) if half_precision(device) else contextlib.nullcontext()


def find_gpus(wanted: str) -> tuple[int, int, str]:
    """The number of GPUs to train on (0 is a CPU), the memory of one in bytes, and its name."""
    import torch

    if wanted == "cpu" or os.environ.get("LLM_ASSETS_GPUS") == "none" or not torch.cuda.is_available():
        return 0, 0, "cpu"
    properties = torch.cuda.get_device_properties(0)
    return torch.cuda.device_count(), properties.total_memory, properties.name
