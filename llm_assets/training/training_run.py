"""A training as the build of a stage: run its process, follow its events, keep its result.

Shared by all checkpoints.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import polars as pl

from llm_assets.artifacts.inputs import Inputs
from llm_assets.artifacts.step import Step, Task
from llm_assets.artifacts.store import Artifact
from llm_assets.artifacts.tables import polars_schema, read_json_lines, read_table
from llm_assets.artifacts.views import View
from llm_assets.compute.devices import TrainingDevices
from llm_assets.compute.launch import run_job
from llm_assets.model.devices import Prediction, find_gpus
from llm_assets.model.shape import ADAPTER_FILES, Adapters, ModelError, ModelShape
from llm_assets.model.training_memory import (
    MemorySavings,
    TrainingKind,
    fitting_micro_batch,
    with_checkpointing,
)
from llm_assets.recipes.compute import Compute
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
CPU_MICRO_BATCH_TOKENS = 4096  # suits the caches of two cores: from 1,024 to 16,384 tokens the speed differs by 5 %
LARGE_VOCABULARY = 65_536  # from here on, logits would need as much memory as the layers of a model of 0.6 B parameters
CHECKPOINT_TABLES = {"curve": TrainingCurve}
CHECKPOINT_OPTIONAL_TABLES = {"validation": Validation, "samples": TrainingSample}


@dataclass(frozen=True)
class Division:
    """How a step is divided: processes, sequences of a micro-batch, the device's name, and what saves memory.

    sharded: the model is divided too.
    """

    processes: int
    micro_batch_size: int
    device: str
    savings: MemorySavings
    sharded: bool


def share_out(
    shape: ModelShape,
    batch_size: int,
    compute: Compute,
    usual_micro_batch: int = 0,
    kind: TrainingKind | None = None,
    may_shard: bool = False,
) -> Division:
    """How a step's `batch_size` sequences are divided.

    usual_micro_batch: the largest micro-batch if the recipe sets none; 0 is as many sequences as should fit. kind: of
    training, without what saves memory, which the recipe sets. may_shard: the stage can divide its model. The machine's
    settings (environment variables) take precedence over the recipe's `device` and `processes`. Raises ModelError if a
    GPU's memory does not hold a sequence, or if the model cannot be divided as the recipe says.
    """
    if compute.sharded and not may_shard:
        raise ModelError("compute.sharded: only pretraining and fine-tuning divide a model among processes")
    chosen = TrainingDevices.from_environment()
    chosen.to_environment()  # before GPUs are counted: CUDA_VISIBLE_DEVICES hides those that are not to be used
    gpus, memory, name = find_gpus(compute.device)
    processes = chosen.processes or compute.processes or max(1, gpus)
    share = max(1, batch_size // processes)
    chunked = shape.rows > LARGE_VOCABULARY if compute.chunked_logits is None else compute.chunked_logits
    savings = MemorySavings(bool(compute.activation_checkpointing), chunked)
    kind = replace(kind or TrainingKind(), savings=savings, shards=processes if compute.sharded else 1)
    micro_batch_size = compute.micro_batch_size
    if not micro_batch_size and gpus:
        limit = min(share, usual_micro_batch or share)
        kinds = list(_kinds(kind, compute, processes if may_shard else 1))
        micro_batch_size, kind = _first_fitting(shape, memory, limit, kinds)
    elif not micro_batch_size:
        micro_batch_size = usual_micro_batch or max(1, min(share, CPU_MICRO_BATCH_TOKENS // shape.context))
    return Division(processes, micro_batch_size, name, kind.savings, kind.shards > 1)


def _kinds(kind: TrainingKind, compute: Compute, processes: int) -> Iterator[TrainingKind]:
    """Ways to train, the fastest first: as the recipe says, and where it says nothing, with what needs less memory."""
    yield kind
    if compute.activation_checkpointing is None:
        kind = with_checkpointing(kind)
        yield kind
    if compute.sharded is None and processes > 1:
        yield replace(kind, shards=processes, compiled=False)


def _first_fitting(
    shape: ModelShape, memory: int, limit: int, kinds: Sequence[TrainingKind]
) -> tuple[int, TrainingKind]:
    """The micro-batch that fits with the first of these kinds of training that has one, and that kind."""
    for kind in kinds[:-1]:
        with contextlib.suppress(ModelError):
            return fitting_micro_batch(shape, memory, limit, kind), kind
    return fitting_micro_batch(shape, memory, limit, kinds[-1]), kinds[-1]


def training_kind(optimisation: Optimisation, compile: bool | None, copies: int = 0) -> TrainingKind:
    """What the memory of a training depends on. copies: frozen models beside it. On a GPU, None compiles."""
    return TrainingKind(
        adapters=optimisation.adapters, muon=optimisation.muon, compiled=compile is not False, copies=copies
    )


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
    """Passes a training's events on to the stage's progress and to experiment tracking.

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

    Returns its device, the step that it resumed from (``resumed``; 0 is a new training), and the seconds, CPU-seconds
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
    """A training that has ended. ends: what `follow` returned. prediction: made before the training, if any."""

    folder: Path
    shape: ModelShape
    batch_size: int
    ends: Mapping[str, Any]
    prediction: Prediction | None = None


def keep_checkpoint(step: Step, task: Task, training: FinishedTraining, tokenizer: Artifact) -> None:
    """Keep the last checkpoint of a training as the task's files and tables, and its numbers as statistics."""
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
    """The curve of a training, which has no rows if there were no steps."""
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
