"""The training loop that every stage shares: what is trained on, and on what loss, is the caller's.

A step's rows are a function of its number; every process takes its share of them. The loss of a step is the sum over
all its targets divided by their number, so neither passes nor processes change it but for rounding. What happens is
told to `report` as it happens; the curve holds no times, so that the same training gives the same file.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor

from llm_assets.model import IGNORE
from llm_assets.model.checkpoint import TrainingState, load_training, save_training
from llm_assets.model.devices import autocast, find_device, half_precision, measured_peak, pick_device
from llm_assets.model.transformer import Mask, Transformer, document_mask

from .optimiser import apply_gradients, make_optimisers, parameter_names, rate
from .plan import TrainingPlan
from .rows import Rows, TrainingError

CURVE = "curve.jsonl"
DIVERGED_NATS = 1.0  # above the best mean loss, sustained: a run that recovers from this has not been seen
DIVERGED_STEPS = 20
REPORT_SECONDS = 1.0


@dataclass(frozen=True)
class Devices:
    """The processes that train together, and the device of this one."""

    device: torch.device
    rank: int = 0
    world: int = 1

    @property
    def cuda(self) -> bool:
        return self.device.type == "cuda"

    def autocast(self) -> contextlib.AbstractContextManager[Any]:
        """Mixed precision, as LLM_ASSETS_PRECISION says (`model.devices.half_precision`)."""
        return autocast(self.device.type)


def join_processes(wanted: str) -> Devices:
    """This process's device; with torchrun's variables in the environment, joined to the others."""
    kind = pick_device(wanted)
    world, rank, local = (
        int(os.environ.get(name, default))
        for name, default in (("WORLD_SIZE", "1"), ("RANK", "0"), ("LOCAL_RANK", "0"))
    )
    device = torch.device("cuda", local) if kind == "cuda" else torch.device("cpu")
    if kind == "cuda":
        torch.cuda.set_device(device)
        torch.set_float32_matmul_precision("high" if half_precision(kind) else "highest")
    if world > 1:
        dist.init_process_group("nccl" if kind == "cuda" else "gloo")
    return Devices(device, rank, world)


def shares(rows: int, devices: Devices) -> range:
    """Which rows of a step this process takes."""
    return range(rows * devices.rank // devices.world, rows * (devices.rank + 1) // devices.world)


class Curve:
    """One line a step, on the disk as it comes; cut back to where a training resumes."""

    def __init__(self, path: Path, from_step: int):
        kept = (
            [line for line in path.read_text().splitlines() if json.loads(line)["step"] < from_step]
            if path.exists() and from_step
            else []
        )
        path.write_text("".join(f"{line}\n" for line in kept))
        self.losses = [json.loads(line)["loss"] for line in kept]
        self._file = path.open("a")

    def add(self, **values: Any) -> None:
        self.losses.append(values["loss"])
        self._file.write(json.dumps(values) + "\n")

    def sync(self) -> None:
        self._file.flush()
        os.fsync(self._file.fileno())

    def diverged(self) -> bool:
        """Whether the mean of the last steps lies DIVERGED_NATS above the best such mean."""
        if len(self.losses) < 2 * DIVERGED_STEPS:
            return False
        means = np.convolve(self.losses, np.full(DIVERGED_STEPS, 1 / DIVERGED_STEPS), "valid")
        return bool(means[-1] > means.min() + DIVERGED_NATS)


def train(
    model: Transformer,
    data: Rows,
    plan: TrainingPlan,
    folder: Path,
    devices: Devices,
    report: Callable[..., None],
    validate: Callable[[Transformer], dict[str, float]] | None = None,
    sample: Callable[[Transformer], list[dict[str, Any]]] | None = None,
) -> None:
    """Train from the newest checkpoint in `folder`, or from the model as it is given, until `plan.steps` are done.

    The last step's checkpoint is the result. Raises TrainingError on a loss that is no number or diverges: the last
    good checkpoint stays, and the steps since are not written.
    """
    if plan.rows % devices.world:
        raise TrainingError(
            f"{plan.rows} rows a step cannot be shared by {devices.world} processes; let their number divide the rows"
        )
    torch.manual_seed(plan.seed)
    model.to(devices.device).train()
    optimisers = make_optimisers(model, plan.optimisation)
    names = parameter_names(model)
    state = load_training(folder, model, optimisers, names) or TrainingState(0, {})
    for optimiser in optimisers.values():
        for group in optimiser.param_groups:
            group["initial_lr"] = (
                plan.optimisation.matrix_learning_rate
                if optimiser is optimisers.get("muon")
                else plan.optimisation.learning_rate
            )
    runner: torch.nn.Module = torch.compile(model) if plan.compile else model
    if devices.world > 1:
        runner = torch.nn.parallel.DistributedDataParallel(
            runner, device_ids=[devices.device.index] if devices.cuda else None
        )
    curve = Curve(folder / CURVE, state.step) if devices.rank == 0 else None
    events: list[dict[str, Any]] = state.values.get("events", [])
    context, flops = model.shape.context, model.shape.flops_per_token
    mine = shares(plan.rows, devices)
    peak = _peak(devices)
    report(
        "started",
        step=state.step,
        steps=plan.steps,
        parameters=model.shape.parameters,
        device=_device_name(devices),
        processes=devices.world,
        rows=plan.rows,
        context=context,
    )
    seconds = float(state.values.get("seconds", 0.0))
    clock = told = time.perf_counter()
    told_step = state.step
    # Validation and samples belong to the step before which they are made: 0 is the untrained model.
    for step in range(state.step, plan.steps + 1):
        if devices.rank == 0 and (step != state.step or step == 0):
            pause = time.perf_counter()
            events += _look(model, step, plan, devices, report, validate, sample)
            clock += time.perf_counter() - pause
            told += time.perf_counter() - pause
        last = step == plan.steps
        if step != state.step and (last or (plan.checkpoint_every and step % plan.checkpoint_every == 0)):
            if devices.rank == 0:
                assert curve is not None
                curve.sync()
                spent = seconds + time.perf_counter() - clock
                save_training(
                    folder,
                    model,
                    optimisers,
                    names,
                    TrainingState(step, {"events": events, "seconds": round(spent, 3)}),
                    plan.checkpoints_kept,
                )
                report("checkpoint", step=step)
            if devices.world > 1:
                dist.barrier()
        if last:
            break
        loss, norm = update(model, runner, data, step, mine, plan, devices, optimisers)
        if not (math.isfinite(loss) and math.isfinite(norm)):
            raise TrainingError(
                f"step {step}: the loss is {loss}, the gradient's norm {norm}; lower the learning rate (now {plan.optimisation.learning_rate:g} and {plan.optimisation.matrix_learning_rate:g} for matrices) or raise warmup"
            )
        if curve is not None:
            share = rate(step, plan.steps, plan.optimisation)
            curve.add(
                step=step,
                tokens=(step + 1) * plan.rows * context,
                loss=round(loss, 6),
                learning_rate=plan.optimisation.learning_rate * share,
                gradient_norm=round(norm, 6),
            )
            if curve.diverged():
                raise TrainingError(
                    f"step {step}: the loss diverges ({loss:.2f}, and the mean of {DIVERGED_STEPS} steps is more than {DIVERGED_NATS:g} above the best); lower the learning rate (now {plan.optimisation.learning_rate:g} and {plan.optimisation.matrix_learning_rate:g} for matrices) or raise warmup"
                )
            now = time.perf_counter()
            if now - told >= REPORT_SECONDS or step + 1 == plan.steps:
                speed = (step + 1 - told_step) * plan.rows * context / (now - told)
                report(
                    "step",
                    step=step + 1,
                    steps=plan.steps,
                    loss=round(loss, 4),
                    learning_rate=plan.optimisation.learning_rate * share,
                    gradient_norm=round(norm, 4),
                    tokens_per_second=round(speed, 1),
                    mfu=round(speed * flops / peak, 4) if peak else None,
                    seconds_left=round((plan.steps - step - 1) * plan.rows * context / speed, 1),
                    memory=_memory(devices),
                )
                told, told_step = now, step + 1
    report(
        "finished",
        step=plan.steps,
        seconds=round(seconds + time.perf_counter() - clock, 3),
        cpu_seconds=round(time.process_time(), 1),
        memory=_memory(devices),
    )


def update(
    model: Transformer,
    runner: torch.nn.Module,
    data: Rows,
    step: int,
    mine: range,
    plan: TrainingPlan,
    devices: Devices,
    optimisers: dict[str, torch.optim.Optimizer],
) -> tuple[float, float]:
    """One update; the step's mean loss over all processes, and the gradient's norm before it was clipped."""
    tokens, targets = (torch.from_numpy(array) for array in data.rows(step * plan.rows + mine.start, len(mine)))
    counts = torch.tensor([float((targets != IGNORE).sum()), 0.0], dtype=torch.float64, device=devices.device)
    if devices.world > 1:
        dist.all_reduce(counts)
    total = max(float(counts[0]), 1.0)
    loss_sum = torch.zeros((), dtype=torch.float64, device=devices.device)
    passes = range(0, len(mine), plan.micro_batch_size)
    for first in passes:
        part, aims = (
            array[first : first + plan.micro_batch_size].to(devices.device, non_blocking=True)
            for array in (tokens, targets)
        )
        # Gradients are exchanged once, with the last pass.
        quiet = runner.no_sync() if devices.world > 1 and first != passes[-1] else contextlib.nullcontext()  # type: ignore[operator]
        with quiet:
            with devices.autocast():
                losses: Tensor = runner(part, aims, masked(part, plan.boundary))
            # DistributedDataParallel takes the mean over processes; the loss is a sum over all of them.
            (losses.sum() * (devices.world / total)).backward()
        loss_sum += losses.detach().sum().double()
    if devices.world > 1:
        dist.all_reduce(loss_sum)
    loss = float(loss_sum) / total
    return loss, apply_gradients(model, optimisers, plan.optimisation, step, plan.steps, loss)


def masked(tokens: Tensor, boundary: int | None) -> Mask | None:
    return None if boundary is None else document_mask(tokens, boundary)


def _look(
    model: Transformer,
    step: int,
    plan: TrainingPlan,
    devices: Devices,
    report: Callable[..., None],
    validate: Callable[..., dict[str, float]] | None,
    sample: Callable[..., list[dict[str, Any]]] | None,
) -> list[dict[str, Any]]:
    """Validation and samples where this step has them."""
    found: list[dict[str, Any]] = []

    def due(every: int) -> bool:
        return bool(every) and (step % every == 0 or step == plan.steps)

    model.eval()
    with torch.no_grad():
        if validate is not None and due(plan.validate_every):
            with devices.autocast():
                numbers = validate(model)
            found.append({"kind": "validation", "step": step, **numbers})
        if sample is not None and due(plan.sample_every):
            found += [{"kind": "sample", "step": step, **one} for one in sample(model)]
    model.train()
    for event in found:
        report(**event)
    return found


def mean_loss(
    model: Transformer,
    data: Rows,
    rows: int,
    micro_batch_size: int,
    weights: np.ndarray | None = None,
    boundary: int | None = None,
) -> dict[str, float]:
    """Loss on the first rows of `data`: nats a token and, with the bytes of each id as `weights` (V,), bits per byte.

    Targets without bytes (special tokens) count for neither.
    """
    nats = count = size = 0.0
    lengths = torch.from_numpy(weights.astype(np.float32)).to(model.device) if weights is not None else None
    with torch.no_grad():
        for first in range(0, rows, micro_batch_size):
            tokens, targets = (
                torch.from_numpy(array).to(model.device)
                for array in data.rows(first, min(micro_batch_size, rows - first))
            )
            losses = model(tokens, targets, masked(tokens, boundary))
            held = targets != IGNORE
            if lengths is not None:
                of_target = lengths[targets.clamp(min=0)] * held
                held &= of_target > 0
                size += float(of_target.sum())
            nats += float((losses * held).sum().double())
            count += float(held.sum())
    found = {"loss": round(nats / max(count, 1), 6)}
    if lengths is not None:
        found["bits_per_byte"] = round(nats / math.log(2) / max(size, 1), 6)
    return found


def _memory(devices: Devices) -> int:
    """Peak bytes: of the GPU's memory, or of this process's."""
    if devices.cuda:
        return torch.cuda.max_memory_allocated()
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def _peak(devices: Devices) -> float:
    """FLOP/s that all processes could reach together, for MFU; 0 for a GPU that the table does not know."""
    if devices.cuda:
        known = find_device(torch.cuda.get_device_name(devices.device))
        return known.peak * devices.world if known else 0.0
    state = torch.get_rng_state()  # the measurement draws numbers
    peak = measured_peak() * devices.world
    torch.set_rng_state(state)
    return peak


def _device_name(devices: Devices) -> str:
    return torch.cuda.get_device_name(devices.device) if devices.cuda else f"CPU, {torch.get_num_threads()} threads"
