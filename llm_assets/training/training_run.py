"""A training as a step's work: its process followed, its result kept. What every checkpoint has in common."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import polars as pl

from llm_assets.artifacts.inputs import Inputs
from llm_assets.artifacts.step import Step, Task
from llm_assets.artifacts.store import Artifact
from llm_assets.artifacts.views import View
from llm_assets.compute.devices import TrainingDevices
from llm_assets.compute.launch import run_job
from llm_assets.model.devices import Prediction, find_gpus, fitting_rows
from llm_assets.model.shape import ModelShape
from llm_assets.recipes.compute import Compute
from llm_assets.recipes.finetuning import Finetuning
from llm_assets.recipes.preference import RewardTraining, Rlhf
from llm_assets.recipes.pretraining import PretrainingRun, Rates
from llm_assets.recipes.reinforcement import Reinforcement
from llm_assets.report import plots

from .plan import Optimisation
from .schemas import TrainingCurve, TrainingSample, Validation

MODEL_FILES = ("model.safetensors", "shape.json", "tokenizer.tiktoken", "encoding.json")
PLOT = "loss.svg"
CPU_PASS_TOKENS = 4096  # what two cores' caches take well: from 1,024 to 16,384 tokens the speed is within 5 %
CHECKPOINT_TABLES = {"curve": TrainingCurve}
CHECKPOINT_OPTIONAL_TABLES = {"validation": Validation, "samples": TrainingSample}


def share_out(shape: ModelShape, rows: int, compute: Compute) -> tuple[int, int, str]:
    """How a step's `rows` sequences are divided: the number of processes, the micro-batch size, the device's name.

    The machine's settings (environment variables) take precedence over the recipe's `device` and `processes`.
    """
    chosen = TrainingDevices.of_environment()
    chosen.to_environment()  # before GPUs are counted: CUDA_VISIBLE_DEVICES hides those that are not to be used
    gpus, memory, name = find_gpus(compute.device)
    processes = chosen.processes or compute.processes or max(1, gpus)
    share = max(1, rows // processes)
    micro_batch_size = compute.micro_batch_size
    if not micro_batch_size:
        micro_batch_size = (
            fitting_rows(shape, memory, share) if gpus else max(1, min(share, CPU_PASS_TOKENS // shape.context))
        )
    return processes, micro_batch_size, name


def optimisation(
    settings: PretrainingRun | Finetuning | Reinforcement | RewardTraining | Rlhf,
    inherited: Rates,
    shape: ModelShape,
    rate: float = 1.0,
) -> Optimisation:
    """How a stage's weights are changed.

    Learning rates (times `rate`), clipping and optimiser are pretraining's; weight decay and the schedule its own.
    """
    plain, matrix = inherited.rates(shape)
    return Optimisation(
        learning_rate=plain * rate,
        matrix_learning_rate=matrix * rate,
        weight_decay=settings.weight_decay,
        warmup=settings.warmup,
        cooldown=settings.cooldown,
        clip=inherited.clip,
        muon=inherited.muon,
    )


def follow(step: Step, module: str, job: Any, folder: Path, processes: int) -> dict[str, Any]:
    """Run the training in `folder` to its end, with its progress and its numbers told; where it began, and what it spent."""
    ends: dict[str, Any] = {}

    def hear(event: dict[str, Any]) -> None:
        kind = event["kind"]
        if kind == "started":
            ends.update(device=event["device"], resumed=event["step"])
            step.progress.start(event["steps"], "steps", event["step"])
        elif kind == "step":
            step.progress.advance(
                event["step"],
                message=f"loss {event['loss']:.3f}, {event['tokens_per_second']:,.0f} tokens/s"
                + (f", MFU {event['mfu']:.0%}" if event["mfu"] else ""),
            )
            step.track(
                {
                    name: event[name]
                    for name in ("loss", "learning_rate", "gradient_norm", "tokens_per_second", "mfu", "memory")
                    if event[name] is not None
                },
                event["step"],
            )
        elif kind == "validation":
            step.track(
                {f"validation.{name}": value for name, value in event.items() if name not in ("kind", "step")},
                event["step"],
            )
        elif kind == "policy_step":
            step.progress.advance(
                event["step"],
                message=f"reward {event['reward']:.3f}, length {event['length']:.1f}, KL {event['kl']:.4f}",
            )
            step.track(
                {name: value for name, value in event.items() if name not in ("kind", "step", "steps")}, event["step"]
            )
        elif kind == "evaluation":
            step.track(
                {
                    f"held_out.{name}": value
                    for name, value in event.items()
                    if name not in ("kind", "step") and value is not None
                },
                event["step"],
            )
        elif kind == "finished":
            ends.update({name: event[name] for name in ("seconds", "cpu_seconds", "memory")})

    run_job(module, job, folder, hear, processes, step.launcher)
    return ends


def add_files(step: Step, task: Task, names: Iterable[str], folder: Path, otherwise: Artifact, under: str = "") -> None:
    """Copies of files of `folder` as the part's own (in its folder `under`), of another artifact where the folder has none."""
    (step.staging / under).mkdir(exist_ok=True)
    for name in names:
        temporary = step.staging / f".{name}.{os.getpid()}.tmp"
        shutil.copyfile(folder / name if (folder / name).exists() else otherwise.file(name), temporary)
        os.replace(temporary, step.staging / under / name)
        task.add_file(f"{under}/{name}" if under else name)


def keep(
    step: Step,
    task: Task,
    folder: Path,
    tokenizer: Artifact,
    shape: ModelShape,
    rows: int,
    ends: Mapping[str, Any],
    prediction: Prediction | None = None,
) -> None:
    """The last checkpoint of `folder` as this part's files and tables, with the numbers of the training."""
    last = max(folder.glob("step-*"))
    events = json.loads((last / "state.json").read_text())["values"]["events"]
    curve = pl.read_ndjson(folder / "curve.jsonl")
    add_files(step, task, MODEL_FILES, last, tokenizer)
    task.table("curve", TrainingCurve).frame(curve)
    looks = pl.DataFrame([event for event in events if event["kind"] == "validation"])
    if len(looks):
        task.table("validation", Validation).frame(looks)
    samples = pl.DataFrame([event for event in events if event["kind"] == "sample"])
    if len(samples):
        task.table("samples", TrainingSample).frame(samples)
    steps = len(curve)
    tokens = steps * rows * shape.context
    found = {
        "parameters": shape.parameters,
        "steps": steps,
        "rows": rows,
        "tokens": tokens,
        "flops": float(shape.flops_per_token) * tokens,
        "final_loss": round(float(curve["loss"].tail(20).mean()), 4),
    }  # type: ignore[arg-type]
    if len(looks):
        found["bits_per_byte"] = looks["bits_per_byte"][-1]
    task.stats.update(found)
    if not ends.get("resumed"):  # a resumed run's clock has no part in what the first one spent
        task.stats["actual"] = {
            "seconds": ends["seconds"],
            "cpu_seconds": ends["cpu_seconds"],
            "tokens_per_second": round(tokens / max(ends["seconds"], 1e-9), 1),
            "memory": ends["memory"],
        }
    if prediction is not None:
        task.stats["predicted"] = {
            "seconds": round(prediction.seconds, 1),
            "tokens_per_second": round(prediction.tokens_per_second, 1),
            "memory": prediction.memory,
        }


def loss_series(curve: pl.DataFrame, points: int = 400) -> dict[str, plots.Series]:
    """The loss by step, the mean of neighbours where there are more than `points`."""
    width = -(-len(curve) // points)
    thin = curve.group_by(pl.int_range(pl.len()) // width, maintain_order=True).agg(
        pl.col("step").last(), pl.col("loss").mean()
    )
    return {"loss": (thin["step"].to_list(), thin["loss"].to_list())}


def draw_loss(checkpoint: Artifact, inputs: Inputs, config: Any) -> str:
    """The loss over the steps, as SVG."""
    return plots.svg(loss_series(pl.read_parquet(checkpoint.table("curve"))), "step", "loss, nats a token")


LOSS_VIEW = View(PLOT, draw_loss)


def show(checkpoint: Artifact) -> dict[str, str]:
    """Loss curve, validation and samples in Markdown, for Dagster's page of the asset."""
    curve = pl.read_parquet(checkpoint.table("curve"))
    shown = {"loss_curve": plots.markdown(plots.png(loss_series(curve), "step", "loss, nats a token"))}
    if files := checkpoint.table("validation"):
        rows = pl.read_parquet(files)
        lines = ["| step | nats a token | bits per byte |", "|--:|--:|--:|"]
        lines += [f"| {row['step']:,} | {row['loss']:.4f} | {row['bits_per_byte']:.4f} |" for row in rows.to_dicts()]
        shown["validation"] = "\n".join(lines)
    if files := checkpoint.table("samples"):
        rows = pl.read_parquet(files)
        shown["samples"] = "\n\n".join(
            f"**step {row['step']:,}** {row['prompt']}**|**{row['text']}" for row in rows.to_dicts()
        )
    return shown
