"""`base_checkpoint`: the base model, trained on the token shards in separate processes, or a published model."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import polars as pl

from llm_assets.artifacts.external import external_digests, external_version
from llm_assets.artifacts.identity import PREDECESSOR
from llm_assets.artifacts.stage import Stage
from llm_assets.artifacts.step import Step
from llm_assets.artifacts.store import Artifact
from llm_assets.compute.engine import cores
from llm_assets.corpus_pages import TRAINING_PAGES
from llm_assets.model.devices import Machine, Prediction, predict
from llm_assets.model.encoding import Encoding
from llm_assets.model.published_config import model_files, read_shape, shape_with
from llm_assets.model.shape import ModelError, ModelShape
from llm_assets.recipes.frozen import Frozen
from llm_assets.recipes.pretraining import Model, PretrainingRun
from llm_assets.settings import load_settings
from llm_assets.training.division import Demand, share_out, training_kind
from llm_assets.training.documents import shard_documents, write_kept
from llm_assets.training.plan import TrainingPlan, every
from llm_assets.training.start import start_folder, start_version
from llm_assets.training.training_run import (
    CHECKPOINT_OPTIONAL_TABLES,
    CHECKPOINT_TABLES,
    LOSS_VIEW,
    MODEL_FILES,
    FinishedTraining,
    follow,
    keep_checkpoint,
    optimisation,
    show_training,
)

from .jobs import PretrainingJob

NAME = "base_checkpoint"
MODULE = "llm_assets.pretraining.base_checkpoint_process"


class PretrainingError(ValueError):
    """A recipe by which no base model can be trained; the message says what to change."""


class BaseCheckpointConfig(Frozen):
    """The model and its training.

    continue_share: share of the steps of a full training with which a re-crawl continues the model; None without one.
    """

    model: Model
    training: PretrainingRun
    continue_share: float | None = None


def make_job(
    config: BaseCheckpointConfig,
    shape: ModelShape,
    tokenizer: Path,
    shards: list[Path],
    before: Path | None = None,
    kept_documents: str | None = None,
) -> tuple[PretrainingJob, int, Prediction | None]:
    """The job of the training process, the number of processes, and the predicted cost. Raises ModelError.

    before: the base checkpoint that is continued, with fewer steps. kept_documents: see PretrainingJob. The prediction
    is None for a GPU that is not listed.
    """
    settings = config.training
    steps, batch_size = budget(config, shape, before is not None)
    rates = optimisation(settings, settings, shape)
    kind = training_kind(rates, settings.compute.compile)
    division = share_out(Demand(shape, batch_size, settings.compute, kind, may_shard=True))
    continue_from = settings.continue_from and str(Path(settings.continue_from).expanduser())
    plan = TrainingPlan(
        steps=steps,
        batch_size=batch_size,
        micro_batch_size=division.micro_batch_size,
        seed=settings.seed,
        optimisation=rates,
        validate_every=every(max(steps, 1), settings.validation_runs),
        sample_every=every(max(steps, 1), settings.samples),
        checkpoint_every=settings.compute.checkpoint_every or max(10, steps // 20),
        checkpoints_kept=settings.compute.checkpoints_kept,
        compile=settings.compute.compile,
        savings=division.kind.savings,
        sharded=division.sharded,
    )
    job = PretrainingJob(
        shape=shape,
        plan=plan,
        tokenizer=str(tokenizer),
        shards=tuple(map(str, shards)),
        device=settings.compute.device,
        continue_from=str(before) if before is not None else continue_from,
        start=settings.start and str(start_folder(settings.start)),
        kept_documents=kept_documents,
        induction=config.model.induction,
        validation_sequences=max(1, settings.validation_tokens // shape.context),
        prompts=settings.prompts if settings.samples else (),
        sample_tokens=settings.sample_tokens,
    )
    try:
        batch_tokens = batch_size * shape.context
        machine = Machine(division.device, division.processes, cores())
        prediction = predict(shape, steps * batch_tokens, batch_tokens, machine, division.kind)
    except ModelError:
        prediction = None  # a GPU that is not listed in model.devices
    return job, division.processes, prediction


def shape_of(config: BaseCheckpointConfig, encoding: Encoding) -> ModelShape:
    """The model's shape: the recipe's, or that of the published model. Raises ModelError."""
    start = config.training.start
    if start is None:
        return config.model.shape(encoding.size)
    return shape_with(read_shape(start_folder(start), start.context), encoding.size)


def budget(config: BaseCheckpointConfig, shape: ModelShape, continued: bool) -> tuple[int, int]:
    """The number of steps and the batch size in sequences. continued: the training continues an earlier checkpoint."""
    steps, batch_size = config.training.budget(shape)
    if continued and config.continue_share is not None:
        steps = max(min(1, steps), round(steps * config.continue_share))
    return steps, batch_size


def build_base_checkpoint(step: Step, config: BaseCheckpointConfig) -> None:
    """Train in the folder ``training/``, and keep checkpoint, curve and samples as one task."""
    tokenizer = step.input("tokenizer")
    encoding = Encoding.load(tokenizer.path)
    shape = shape_of(config, encoding)
    shards = list(step.inputs.by_crawl("token_shards").values())
    before: Artifact | None = step.inputs.get(f"{NAME}{PREDECESSOR}")
    steps, batch_size = budget(config, shape, before is not None)
    documents = shard_documents(step.inputs)
    trained = documents.filter((pl.col("split") == "train") & pl.col("current"))
    corpus_tokens = int(trained["length"].sum())
    if steps and corpus_tokens < batch_size * shape.context:
        raise PretrainingError(
            f"the corpus has {corpus_tokens:,} tokens to train on, fewer than one batch of "
            f"{batch_size * shape.context:,}; lower pretraining.batch_tokens, or add crawls"
        )
    paths = [artifact.path for artifact in shards]
    kept_documents = write_kept(documents, step.staging / "kept")
    job, processes, prediction = make_job(config, shape, tokenizer.path, paths, before and before.path, kept_documents)
    folder = step.staging / "training"
    ends = follow(step, MODULE, job, folder, processes)
    with step.task("checkpoint") as task:
        finished = FinishedTraining(folder, shape, batch_size, ends, prediction)
        keep_checkpoint(step, task, finished, tokenizer)
        task.stats["epochs"] = round(steps * batch_size * shape.context / max(corpus_tokens, 1), 3)
        task.stats["documents"] = len(trained)
        task.stats["left_out_documents"] = int((~documents["current"]).sum())
        if before is not None:
            task.stats["continued_from"] = before.record.short_id


def earlier_files(folder: str) -> dict[str, Path]:
    """The files of the checkpoint folder that a recipe continues from. Raises PretrainingError if some are missing."""
    path = Path(folder).expanduser()
    missing = [name for name in MODEL_FILES if not (path / name).is_file()]
    if missing:
        raise PretrainingError(
            f"pretraining.continue_from {path.absolute()}: not a checkpoint ({', '.join(missing)} missing)"
        )
    return {name: path / name for name in MODEL_FILES}


def earlier_model(config: BaseCheckpointConfig) -> Mapping[str, str]:
    """The version of the checkpoint or of the published model that the training starts from, by its content."""
    if config.training.continue_from is None:
        return start_version(config.training.start, model_files)
    digests = external_digests(earlier_files(config.training.continue_from), load_settings().digest_cache)
    return {"continue_from": external_version(digests)}


BASE_CHECKPOINT = Stage(
    name=NAME,
    group="pretraining",
    description="The base model, which continues a text the way pages of the crawl would. Trained from new "
    "weights or a published model, in a process that resumes from its last checkpoint.",
    kinds=("pytorch", "safetensors"),
    build=build_base_checkpoint,
    config=lambda recipe, crawl: BaseCheckpointConfig(
        model=recipe.model, training=recipe.pretraining.run(), continue_share=recipe.continue_share()
    ),
    code_version="4",
    inputs=("token_shards", "tokenizer", TRAINING_PAGES),
    optional_inputs=("token_shards", TRAINING_PAGES),
    external_inputs=earlier_model,
    continues=lambda recipe, crawls: recipe.before_continuing(crawls),
    crawls=lambda recipe: recipe.trained_crawls(),
    tables=CHECKPOINT_TABLES,
    optional_tables=CHECKPOINT_OPTIONAL_TABLES,
    views=(LOSS_VIEW,),
    show=show_training,
    libraries=("torch", "safetensors", "numpy"),
    pool="gpu",
)
