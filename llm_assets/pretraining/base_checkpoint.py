"""`base_checkpoint`: the base model, trained on the token shards in processes of its own."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from llm_assets.artifacts.outside import outside_digests, outside_version
from llm_assets.artifacts.stage import Stage
from llm_assets.artifacts.step import Step
from llm_assets.compute.engine import cores
from llm_assets.model.devices import Prediction, predict
from llm_assets.model.encoding import Encoding
from llm_assets.model.shape import ModelError, ModelShape
from llm_assets.recipes import Pretraining, Recipe
from llm_assets.recipes.crawls import crawls_of
from llm_assets.settings import load_settings
from llm_assets.training.training_run import (
    CHECKPOINT_OPTIONAL_TABLES,
    CHECKPOINT_TABLES,
    MODEL_FILES,
    follow,
    keep,
    optimisation,
    share_out,
)

MODULE = "llm_assets.pretraining.train"


class PretrainingError(ValueError):
    """A base model that cannot be trained as the recipe asks; the message says what to change."""


def make_job(settings: Pretraining, shape: ModelShape, tokenizer: Path, shards: list[Path], induction: bool = False) -> tuple[dict[str, Any], int, Prediction | None]:
    """The training process's job, the number of processes, and what was predicted for it. Raises ModelError."""
    steps, rows = settings.budget(shape)
    processes, pass_rows, name = share_out(shape, rows, settings.device, settings.processes, settings.pass_rows)
    job = {
        "shape": asdict(shape), "induction": induction, "tokenizer": str(tokenizer), "shards": [str(path) for path in shards], "continue_from": settings.continue_from and str(Path(settings.continue_from).expanduser()), "seed": settings.seed, "steps": steps, "rows": rows,
        "pass_rows": pass_rows, "device": settings.device, "compile": settings.compile, "keep": settings.keep, "prompts": list(settings.prompts) if settings.samples else [], "sample_tokens": settings.sample_tokens,
        "optimisation": optimisation(settings, settings, shape),
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
    job, processes, prediction = make_job(settings, shape, tokenizer.path, [one.path for one in shards], recipe.model.induction)
    folder = step.staging / "training"
    ends = follow(step, MODULE, job, folder, processes)
    with step.part("checkpoint") as part:
        keep(step, part, folder, tokenizer, shape, rows, ends, prediction)
        part.stats["epochs"] = round(steps * rows * shape.context / held, 3)


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
    code_version="2",
    rooms=(
        "llm_assets.pretraining.base_checkpoint",
        "llm_assets.pretraining.train",
        "llm_assets.training",
        "llm_assets.model",
    ),
    inputs=("token_shards", "tokenizer"),
    literals=lambda recipe, _: {"model": recipe.model, "pretraining": recipe.pretraining.but(crawls=None), "crawls": crawls_of(recipe)},
    outside=_outside,
    crawls=crawls_of,
    tables=CHECKPOINT_TABLES,
    optional_tables=CHECKPOINT_OPTIONAL_TABLES,
    libraries=("torch", "safetensors", "numpy"),
)
