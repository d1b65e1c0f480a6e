"""`sft_checkpoint`: the assistant, trained on conversations; and `ablation_checkpoint`, which it is compared with.

The ablation is trained without the conversations that teach the assistant to say that it does not know.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from llm_assets.artifacts.record import write_atomic
from llm_assets.artifacts.stage import Stage
from llm_assets.artifacts.step import Step
from llm_assets.corpus_pages import TRAINING_PAGES
from llm_assets.dialogue.packing import Conversations, PackedConversations
from llm_assets.dialogue.rendering import HELD_OUT_FILE, TRAINING_FILE, RenderSettings, render_all
from llm_assets.dialogue.schemas import Cut, TooLong
from llm_assets.model.assistant import ASSISTANT
from llm_assets.model.chat import TOOLS
from llm_assets.model.encoding import Encoding
from llm_assets.model.shape import ModelShape
from llm_assets.recipes import Finetuning, Pretraining
from llm_assets.recipes.frozen import Frozen
from llm_assets.recipes.pretraining import Rates
from llm_assets.training.division import Demand, share_out, training_kind
from llm_assets.training.documents import shard_documents, write_kept
from llm_assets.training.plan import TrainingPlan, every
from llm_assets.training.training_run import (
    CHECKPOINT_OPTIONAL_TABLES,
    CHECKPOINT_TABLES,
    LOSS_VIEW,
    FinishedTraining,
    follow,
    keep_checkpoint,
    optimisation,
    show_training,
)

from .conversations import ABLATED_SOURCES
from .jobs import SftJob

MODULE = "llm_assets.finetuning.sft_checkpoint_process"


class FinetuningError(ValueError):
    """A recipe by which no assistant can be trained; the message says what to change."""


class SftConfig(Frozen):
    """How the assistant is trained, and its name and maker.

    finetuning: with the epochs of this checkpoint, and with pretraining's `batch_tokens` and `compute.compile` if it
    has none of its own.
    inherited: what is taken over from pretraining.
    """

    finetuning: Finetuning
    inherited: Rates
    name: str
    maker: str


def sft_config(recipe: Any, crawl: str | None) -> SftConfig:
    """The config of `sft_checkpoint`."""
    return _config(recipe, recipe.finetuning.epochs)


def ablation_config(recipe: Any, crawl: str | None) -> SftConfig:
    """The config of `ablation_checkpoint`, which has its own number of epochs."""
    return _config(recipe, recipe.finetuning.ablation_epochs or recipe.finetuning.epochs)


def _config(recipe: Any, epochs: float) -> SftConfig:
    finetuning, pretraining = recipe.finetuning, recipe.pretraining
    batch_tokens = finetuning.batch_tokens or pretraining.batch_tokens
    compute = finetuning.compute
    if compute.compile is None:
        compute = compute.replace(compile=pretraining.compute.compile)
    return SftConfig(
        finetuning=finetuning.replace(epochs=epochs, ablation_epochs=None, batch_tokens=batch_tokens, compute=compute),
        inherited=pretraining.inherited(),
        name=recipe.conversations.name,
        maker=recipe.conversations.maker,
    )


def is_ablated(sources: list[str]) -> bool:
    """Whether a conversation teaches the assistant to say that it does not know."""
    return any(source in ABLATED_SOURCES for source in sources)


def training_job(step: Step, config: SftConfig, shape: ModelShape, epoch: int) -> tuple[SftJob, int]:
    """The job of the training process, and the number of processes. epoch: sequences per epoch."""
    settings, base = config.finetuning, step.input("base_checkpoint")
    shards = step.inputs.by_crawl("token_shards")
    document_share = settings.document_share if shards else 0.0  # a recipe without crawls has no documents
    _, batch_size = Pretraining(batch_tokens=settings.batch_tokens).budget(shape)
    steps = max(1, round(settings.epochs * epoch / (1 - document_share) / batch_size))
    rates = optimisation(settings, config.inherited, shape, settings.learning_rate_scale)
    kind = training_kind(rates, settings.compute.compile)
    division = share_out(Demand(shape, batch_size, settings.compute, kind, may_shard=True))
    plan = TrainingPlan(
        steps=steps,
        batch_size=batch_size,
        micro_batch_size=division.micro_batch_size,
        seed=settings.seed,
        optimisation=rates,
        validate_every=every(steps, settings.validation_runs),
        checkpoint_every=settings.compute.checkpoint_every or max(10, steps // 10),
        checkpoints_kept=settings.compute.checkpoints_kept,
        compile=settings.compute.compile,
        savings=division.kind.savings,
        sharded=division.sharded,
    )
    job = SftJob(
        plan=plan,
        checkpoint=str(base.path),
        training=str(step.staging / TRAINING_FILE),
        held_out=str(step.staging / HELD_OUT_FILE),
        shards=tuple(str(artifact.path) for artifact in shards.values()),
        document_share=document_share,
        device=settings.compute.device,
        kept_documents=write_kept(shard_documents(step.inputs), step.staging / "kept"),
    )
    return job, division.processes


def train_on(step: Step, config: SftConfig, wanted: Callable[[int, list[str]], bool]) -> None:
    """Two tasks: the conversations as tokens, and the checkpoint. wanted(number, sources): which conversations to train
    on.
    """
    base = step.input("base_checkpoint")
    encoding = Encoding.load(base.path)
    shape = ModelShape.load(base.file("shape.json").read_text(), "base_checkpoint")
    if step.finished_task("conversations") is None:
        with step.task("conversations") as task:
            cut = bool(config.finetuning.cut_long_conversations)
            settings = RenderSettings(encoding, shape.context, config.finetuning.held_out, wanted, cut)
            task.stats.update(render_all(step, task, step.input("conversations"), settings))
    training = Conversations.load(step.staging / TRAINING_FILE)
    if not len(training):
        raise FinetuningError(
            f"no conversation fits into the model's context of {shape.context} tokens; raise model.context, or add "
            "shorter ones"
        )
    epoch = PackedConversations(training, shape.context, config.finetuning.seed, 0).sequences_per_epoch
    job, processes = training_job(step, config, shape, epoch)
    folder = step.staging / "training"
    ends = follow(step, MODULE, job, folder, processes)
    with step.task("checkpoint") as task:
        keep_checkpoint(step, task, FinishedTraining(folder, shape, job.plan.batch_size, ends), base)
        assistant = {"name": config.name, "maker": config.maker, "tools": TOOLS}
        write_atomic(step.staging / ASSISTANT, json.dumps(assistant, indent=1).encode())
        task.add_file(ASSISTANT)
        tokens = float(np.diff(training.starts).sum() - len(training))
        task.stats.update(sequences_per_epoch=epoch, fill=round(tokens / (epoch * shape.context), 4))


def build_sft_checkpoint(step: Step, config: SftConfig) -> None:
    """Train on every conversation of the mixture."""
    train_on(step, config, lambda *_: True)


def build_ablation_checkpoint(step: Step, config: SftConfig) -> None:
    """Train on the conversations that do not teach the assistant to say that it does not know."""
    train_on(step, config, lambda _, sources: not is_ablated(sources))


SFT_CHECKPOINT = Stage(
    name="sft_checkpoint",
    group="finetuning",
    description="The assistant: the base model trained on conversations by the same loop. Resumes from its last "
    "checkpoint.",
    kinds=("pytorch", "safetensors"),
    build=build_sft_checkpoint,
    config=sft_config,
    code_version="5",
    inputs=("base_checkpoint", "conversations", "token_shards", TRAINING_PAGES),
    optional_inputs=("token_shards", TRAINING_PAGES),
    crawls=lambda recipe: recipe.trained_crawls(),
    tables={**CHECKPOINT_TABLES, "too_long": TooLong},
    optional_tables={**CHECKPOINT_OPTIONAL_TABLES, "cut": Cut},
    views=(LOSS_VIEW,),
    show=show_training,
    libraries=("torch", "safetensors", "numpy"),
    pool="gpu",
)
ABLATION_CHECKPOINT = replace(
    SFT_CHECKPOINT,
    name="ablation_checkpoint",
    group="demonstrations",
    description="The ablation that sft_evaluation compares the assistant with: trained without the conversations that "
    "teach it to say that it does not know.",
    build=build_ablation_checkpoint,
    config=ablation_config,
    on_demand=lambda recipe: not recipe.compare_with_ablation,
)
