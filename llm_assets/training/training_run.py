"""Training as the build of a stage: run its process, follow its events, keep its result.

Shared by all checkpoints.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from llm_assets.artifacts.inputs import Inputs
from llm_assets.artifacts.step import Step, Task
from llm_assets.artifacts.store import Artifact
from llm_assets.artifacts.tables import polars_schema, read_json_lines, read_table
from llm_assets.artifacts.views import View
from llm_assets.compute.launch import run_job
from llm_assets.model.devices import Prediction
from llm_assets.model.shape import ADAPTER_FILES, Adapters, ModelShape
from llm_assets.recipes.finetuning import Finetuning
from llm_assets.recipes.lora import Lora
from llm_assets.recipes.preference import PairTraining, Rlhf
from llm_assets.recipes.pretraining import PretrainingRun, Rates
from llm_assets.recipes.reinforcement import Reinforcement
from llm_assets.report import plots

from .plan import Optimisation
from .schemas import TrainingCurve, TrainingSample, Validation

MODEL_FILES = ("model.safetensors", "shape.json", "tokenizer.tiktoken", "encoding.json")
PLOT = "loss.svg"
CHECKPOINT_TABLES = {"curve": TrainingCurve}
CHECKPOINT_OPTIONAL_TABLES = {"validation": Validation, "samples": TrainingSample}


def optimisation(
    settings: PretrainingRun | Finetuning | Reinforcement | PairTraining | Rlhf,
    inherited: Rates,
    shape: ModelShape,
    learning_rate_scale: float = 1.0,
) -> Optimisation:
    """How a stage changes the weights.

    Learning rates (times `learning_rate_scale`), clipping and optimisers are pretraining's, weight decay and schedule
    the stage's own.
    """
    learning_rate, matrix_learning_rate = inherited.rates(shape)
    return Optimisation(
        learning_rate=learning_rate * learning_rate_scale,
        matrix_learning_rate=matrix_learning_rate * learning_rate_scale,
        weight_decay=settings.weight_decay,
        warmup=settings.warmup,
        cooldown=settings.cooldown,
        clip=inherited.clip,
        muon=inherited.muon,
        adapters=adapters(settings),
    )


def adapters(settings: Any) -> Adapters | None:
    """The adapters that a stage trains in place of the weights; None if its settings have none."""
    lora: Lora | None = getattr(settings, "lora", None)
    return None if lora is None else Adapters(lora.rank, lora.alpha, lora.targets, settings.seed)


def files_of(folder: Path, *others: str) -> list[str]:
    """The files of a checkpoint to keep: the model's, `others`, and those of adapters if it has any."""
    return [*MODEL_FILES, *others, *(name for name in ADAPTER_FILES if (folder / name).exists())]


class _Follower:
    """Passes a training run's events on to the stage's progress and to experiment tracking.

    ends: device, first step (`resumed`), seconds, CPU-seconds and memory of the process.
    """

    def __init__(self, step: Step):
        self.step, self.ends = step, {}  # type: ignore[var-annotated]

    def __call__(self, event: dict[str, Any]) -> None:
        handle = getattr(self, f"on_{event['kind']}", None)
        if handle is not None:
            handle(event)

    def _track(self, event: dict[str, Any], prefix: str, leave_out: tuple[str, ...] = ()) -> None:
        """Track the numbers of an event under their names with `prefix` in front."""
        numbers = {
            f"{prefix}{name}": value
            for name, value in event.items()
            if name not in ("kind", "step", *leave_out) and value is not None
        }
        self.step.track(numbers, event["step"])

    def on_started(self, event: dict[str, Any]) -> None:
        self.ends.update(device=event["device"], resumed=event["step"])
        self.step.progress.start(event["steps"], "steps", event["step"])

    def on_step(self, event: dict[str, Any]) -> None:
        message = f"loss {event['loss']:.3f}, {event['tokens_per_second']:,.0f} tokens/s"
        if event["mfu"]:
            message += f", MFU {event['mfu']:.0%}"
        self.step.progress.advance(event["step"], message=message)
        self._track(event, "", leave_out=("steps", "seconds_left"))

    def on_policy_step(self, event: dict[str, Any]) -> None:
        message = f"reward {event['reward']:.3f}, length {event['length']:.1f}, KL {event['kl']:.4f}"
        self.step.progress.advance(event["step"], message=message)
        self._track(event, "", leave_out=("steps",))

    def on_validation(self, event: dict[str, Any]) -> None:
        self._track(event, "validation.")

    def on_evaluation(self, event: dict[str, Any]) -> None:
        self._track(event, "held_out.")

    def on_finished(self, event: dict[str, Any]) -> None:
        self.ends.update({name: event[name] for name in ("seconds", "cpu_seconds", "memory")})


def follow(step: Step, module: str, job: Any, folder: Path, processes: int) -> dict[str, Any]:
    """Run the training process `module` in `folder` to its end, and pass on its progress.

    Returns its device, the step that it resumed from (``resumed``; 0 is a new run), and the seconds, CPU-seconds
    and memory that it took.
    """
    follower = _Follower(step)
    run_job(module, job, folder, follower, processes, step.launcher)
    return follower.ends


def add_files(step: Step, task: Task, names: Iterable[str], folder: Path, otherwise: Artifact, under: str = "") -> None:
    """Copy files of `folder` into the artifact. Files that `folder` lacks are copied from the artifact `otherwise`.

    under: a folder in the artifact.
    """
    (step.staging / under).mkdir(exist_ok=True)
    for name in names:
        temporary = step.staging / f".{name}.{os.getpid()}.tmp"
        shutil.copyfile(folder / name if (folder / name).exists() else otherwise.file(name), temporary)
        os.replace(temporary, step.staging / under / name)
        task.add_file(f"{under}/{name}" if under else name)


@dataclass(frozen=True)
class FinishedTraining:
    """A training run that has ended. ends: what `follow` returned. prediction: made before the training, if any."""

    folder: Path
    shape: ModelShape
    batch_size: int
    ends: Mapping[str, Any]
    prediction: Prediction | None = None


def keep_checkpoint(step: Step, task: Task, training: FinishedTraining, tokenizer: Artifact) -> None:
    """Keep the last checkpoint of a training run as the task's files and tables, and its numbers as statistics."""
    folder, shape, ends = training.folder, training.shape, training.ends
    last = max(folder.glob("step-*"))
    events = json.loads((last / "state.json").read_text())["values"]["events"]
    curve = read_curve(folder / "curve.jsonl")
    add_files(step, task, files_of(last), last, tokenizer)
    task.table("curve", TrainingCurve).frame(curve)
    validations = pl.DataFrame([event for event in events if event["kind"] == "validation"])
    if len(validations):
        task.table("validation", Validation).frame(validations)
    samples = pl.DataFrame([event for event in events if event["kind"] == "sample"])
    if len(samples):
        task.table("samples", TrainingSample).frame(samples)
    tokens = len(curve) * training.batch_size * shape.context
    task.stats.update(
        parameters=shape.parameters,
        steps=len(curve),
        batch_size=training.batch_size,
        tokens=tokens,
        flops=float(shape.flops_per_token) * tokens,
    )
    if len(curve):
        task.stats["final_loss"] = round(float(curve["loss"].tail(20).mean()), 4)  # type: ignore[arg-type]
    if len(validations):
        task.stats["bits_per_byte"] = validations["bits_per_byte"][-1]
    if not ends.get("resumed"):  # the clock of a resumed run does not include the first one
        task.stats["actual"] = {
            "seconds": ends["seconds"],
            "cpu_seconds": ends["cpu_seconds"],
            "tokens_per_second": round(tokens / max(ends["seconds"], 1e-9), 1),
            "memory": ends["memory"],
        }
    if training.prediction is not None:
        task.stats["predicted"] = {
            "seconds": round(training.prediction.seconds, 1),
            "tokens_per_second": round(training.prediction.tokens_per_second, 1),
            "memory": training.prediction.memory,
        }


def read_curve(path: Path) -> pl.DataFrame:
    """The curve of a training run, which has no rows if there were no steps."""
    if path.stat().st_size:
        return read_json_lines(path)
    return pl.DataFrame(schema=polars_schema(TrainingCurve))


def loss_series(curve: pl.DataFrame, points: int = 400) -> dict[str, plots.Series]:
    """The loss by step; with more than `points` steps, means of neighbouring steps."""
    width = max(1, -(-len(curve) // points))
    thin = curve.group_by(pl.int_range(pl.len()) // width, maintain_order=True).agg(
        pl.col("step").last(), pl.col("loss").mean()
    )
    return {"loss": (thin["step"].to_list(), thin["loss"].to_list())}


def draw_loss(checkpoint: Artifact, inputs: Inputs, config: Any) -> str:
    """The loss by step, as SVG."""
    return plots.svg(loss_series(read_table(checkpoint.table("curve"))), "step", "loss, nats per token")


LOSS_VIEW = View(PLOT, draw_loss)


def show_training(checkpoint: Artifact) -> dict[str, str]:
    """Loss curve, validation and samples in Markdown, for the asset's page in Dagster."""
    curve = read_table(checkpoint.table("curve"))
    shown = {"loss_curve": plots.markdown(plots.png(loss_series(curve), "step", "loss, nats per token"))}
    if files := checkpoint.table("validation"):
        rows = read_table(files)
        lines = ["| step | nats per token | bits per byte |", "|--:|--:|--:|"]
        lines += [f"| {row['step']:,} | {row['loss']:.4f} | {row['bits_per_byte']:.4f} |" for row in rows.to_dicts()]
        shown["validation"] = "\n".join(lines)
    if files := checkpoint.table("samples"):
        rows = read_table(files)
        shown["samples"] = "\n\n".join(
            f"**step {row['step']:,}** {row['prompt']}**|**{row['text']}" for row in rows.to_dicts()
        )
    return shown
