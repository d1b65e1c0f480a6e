"""`base_checkpoint`: the base model, trained on the token shards in processes of its own."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import polars as pl

from llm_assets.artifacts.outside import outside_digests, outside_version
from llm_assets.artifacts.record import write_atomic
from llm_assets.artifacts.stage import Stage
from llm_assets.artifacts.step import Step
from llm_assets.artifacts.store import Artifact
from llm_assets.compute.engine import cores
from llm_assets.compute.launch import run_job
from llm_assets.model.devices import Prediction, fitting_rows, predict
from llm_assets.model.shape import ModelError, ModelShape
from llm_assets.recipes import Pretraining, Recipe
from llm_assets.report import plots
from llm_assets.settings import load_settings
from llm_assets.tokens.encoding import Encoding

from .schemas import TrainingCurve, TrainingSample, Validation

MODULE = "llm_assets.pretraining.train"
MODEL_FILES = ("model.safetensors", "shape.json", "tokenizer.tiktoken", "encoding.json")
PLOT = "loss.svg"
CPU_PASS_TOKENS = 4096  # what two cores' caches take well: from 1,024 to 16,384 tokens the speed is within 5 %


class PretrainingError(ValueError):
    """A base model that cannot be trained as the recipe asks; the message says what to change."""


def crawls_of(recipe: Recipe) -> list[str]:
    """Crawls that the base model is trained on."""
    return recipe.corpus(recipe.pretraining.crawls)


def find_gpus(wanted: str) -> tuple[int, int, str]:
    """Number of GPUs to train on (0 is a CPU), the memory of one in bytes, and its name."""
    import torch

    if wanted == "cpu" or not torch.cuda.is_available():
        return 0, 0, "cpu"
    properties = torch.cuda.get_device_properties(0)
    return torch.cuda.device_count(), properties.total_memory, properties.name


def make_job(settings: Pretraining, shape: ModelShape, tokenizer: Path, shards: list[Path]) -> tuple[dict[str, Any], int, Prediction | None]:
    """The training process's job, the number of processes, and what was predicted for it. Raises ModelError."""
    steps, rows = settings.budget(shape)
    gpus, memory, name = find_gpus(settings.device)
    processes = settings.processes or max(1, gpus)
    share = max(1, rows // processes)
    pass_rows = settings.pass_rows or (fitting_rows(shape, memory, share) if gpus else max(1, min(share, CPU_PASS_TOKENS // shape.context)))
    plain, matrix = settings.rates(shape)
    job = {
        "shape": asdict(shape), "tokenizer": str(tokenizer), "shards": [str(path) for path in shards], "continue_from": settings.continue_from and str(Path(settings.continue_from).expanduser()), "seed": settings.seed, "steps": steps, "rows": rows,
        "pass_rows": pass_rows, "device": settings.device, "compile": settings.compile, "keep": settings.keep, "prompts": list(settings.prompts) if settings.samples else [], "sample_tokens": settings.sample_tokens,
        "optimisation": {
            "learning_rate": plain, "matrix_learning_rate": matrix, "weight_decay": settings.weight_decay, "warmup": settings.warmup, "cooldown": settings.cooldown, "clip": settings.clip, "muon": settings.muon,
        },
        "validate_every": -(-steps // settings.validations) if settings.validations else 0, "validation_rows": max(1, settings.validation_tokens // shape.context), "sample_every": -(-steps // settings.samples) if settings.samples else 0,
        "checkpoint_every": settings.checkpoint_every or max(10, steps // 20),
    }  # fmt: skip
    try:
        prediction = predict(shape, steps * rows * shape.context, rows * shape.context, name, processes, cores())
    except ModelError:
        prediction = None  # a GPU that the table does not know
    return job, processes, prediction


def build_base_checkpoint(step: Step, recipe: Recipe) -> None:
    """One part: the checkpoint, its curve and samples. What training keeps for itself lies in ``training/`` until then."""
    settings = recipe.pretraining
    tokenizer = step.input("tokenizer")
    encoding = Encoding.load(tokenizer.path)
    shape = recipe.model.shape(encoding.size)
    shards = [step.inputs[f"token_shards/{crawl}"] for crawl in crawls_of(recipe)]
    steps, rows = settings.budget(shape)
    held = sum(int(one.record.stats["train_tokens"]) for one in shards)
    if held < rows * shape.context:
        raise PretrainingError(f"the corpus has {held:,} tokens to train on, fewer than one batch of {rows * shape.context:,}; lower pretraining.batch_tokens, or add crawls")
    job, processes, prediction = make_job(settings, shape, tokenizer.path, [one.path for one in shards])
    folder = step.staging / "training"
    ends: dict[str, Any] = {}

    def hear(event: dict[str, Any]) -> None:
        kind = event["kind"]
        if kind == "started":
            ends.update(device=event["device"], resumed=event["step"])
            step.progress.start(event["steps"], "steps", event["step"])
        elif kind == "step":
            step.progress.advance(event["step"], message=f"loss {event['loss']:.3f}, {event['tokens_per_second']:,.0f} tokens/s" + (f", MFU {event['mfu']:.0%}" if event["mfu"] else ""))
            step.track({name: event[name] for name in ("loss", "learning_rate", "gradient_norm", "tokens_per_second", "mfu", "memory") if event[name] is not None}, event["step"])
        elif kind == "validation":
            step.track({f"validation.{name}": event[name] for name in ("loss", "bits_per_byte")}, event["step"])
        elif kind == "finished":
            ends.update({name: event[name] for name in ("seconds", "cpu_seconds", "memory")})

    run_job(MODULE, job, folder, hear, processes, step.launcher)
    last = max(folder.glob("step-*"))
    events = json.loads((last / "state.json").read_text())["values"]["events"]
    curve = pl.read_ndjson(folder / "curve.jsonl")
    with step.part("checkpoint") as part:
        for name in MODEL_FILES:
            source = last / name if (last / name).exists() else tokenizer.file(name)
            temporary = step.staging / f".{name}.{os.getpid()}.tmp"
            shutil.copyfile(source, temporary)
            os.replace(temporary, step.staging / name)
            part.add_file(name)
        part.table("curve", TrainingCurve).frame(curve)
        looks = pl.DataFrame([event for event in events if event["kind"] == "validation"])
        if len(looks):
            part.table("validation", Validation).frame(looks)
        samples = pl.DataFrame([event for event in events if event["kind"] == "sample"])
        if len(samples):
            part.table("samples", TrainingSample).frame(samples)
        write_atomic(step.staging / PLOT, plots.svg(loss_series(curve), "step", "loss, nats a token").encode())
        part.add_file(PLOT)
        tokens = steps * rows * shape.context
        found = {"parameters": shape.parameters, "steps": steps, "rows": rows, "tokens": tokens, "epochs": round(tokens / held, 3), "flops": float(shape.flops_per_token) * tokens, "final_loss": round(float(curve["loss"].tail(20).mean()), 4)}  # type: ignore[arg-type]
        if len(looks):
            found["bits_per_byte"] = looks["bits_per_byte"][-1]
        part.stats.update(found)
        if not ends.get("resumed"):  # a resumed run's clock has no part in what the first one spent
            part.stats["actual"] = {"seconds": ends["seconds"], "cpu_seconds": ends["cpu_seconds"], "tokens_per_second": round(tokens / max(ends["seconds"], 1e-9), 1), "memory": ends["memory"]}
        if prediction is not None:
            part.stats["predicted"] = {"seconds": round(prediction.seconds, 1), "tokens_per_second": round(prediction.tokens_per_second, 1), "memory": prediction.memory}


def loss_series(curve: pl.DataFrame, points: int = 400) -> dict[str, plots.Series]:
    """The loss by step, the mean of neighbours where there are more than `points`."""
    width = -(-len(curve) // points)
    thin = curve.group_by(pl.int_range(pl.len()) // width, maintain_order=True).agg(pl.col("step").last(), pl.col("loss").mean())
    return {"loss": (thin["step"].to_list(), thin["loss"].to_list())}


def show(checkpoint: Artifact) -> dict[str, str]:
    """Loss curve, validation and samples in Markdown, for Dagster's page of the asset."""
    curve = pl.read_parquet(checkpoint.table("curve"))
    shown = {"loss_curve": plots.markdown(plots.png(loss_series(curve), "step", "loss, nats a token"))}
    if files := checkpoint.table("validation"):
        rows = pl.read_parquet(files)
        shown["validation"] = "\n".join(["| step | nats a token | bits a byte |", "|--:|--:|--:|", *(f"| {row['step']:,} | {row['loss']:.4f} | {row['bits_per_byte']:.4f} |" for row in rows.to_dicts())])
    if files := checkpoint.table("samples"):
        rows = pl.read_parquet(files)
        shown["samples"] = "\n\n".join(f"**step {row['step']:,}** {row['prompt']}**|**{row['text']}" for row in rows.to_dicts())
    return shown


def earlier_files(folder: str) -> dict[str, Path]:
    """The files of the checkpoint that a recipe continues from. Raises PretrainingError."""
    path = Path(folder).expanduser()
    missing = [name for name in MODEL_FILES if not (path / name).is_file()]
    if missing:
        raise PretrainingError(f"pretraining.continue_from {path.absolute()}: no checkpoint is there ({', '.join(missing)} missing)")
    return {name: path / name for name in MODEL_FILES}


def _outside(recipe: Recipe, crawl: str | None) -> Mapping[str, str]:
    if recipe.pretraining.continue_from is None:
        return {}
    return {"continue_from": outside_version(outside_digests(earlier_files(recipe.pretraining.continue_from), load_settings().digest_cache))}


BASE_CHECKPOINT = Stage(
    name="base_checkpoint",
    build=build_base_checkpoint,
    code_version="1",
    rooms=("llm_assets.pretraining.base_checkpoint", "llm_assets.pretraining.train", "llm_assets.model", "llm_assets.tokens.loader", "llm_assets.tokens.shards"),
    inputs=("token_shards", "tokenizer"),
    literals=lambda recipe, _: {"model": recipe.model, "pretraining": recipe.pretraining.but(crawls=None), "crawls": crawls_of(recipe)},
    outside=_outside,
    crawls=crawls_of,
    tables={"curve": TrainingCurve},
    optional_tables={"validation": Validation, "samples": TrainingSample},
    libraries=("torch", "safetensors", "numpy"),
)
