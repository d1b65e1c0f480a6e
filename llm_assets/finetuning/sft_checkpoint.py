"""`sft_checkpoint`: the assistant, trained on conversations; and `unmitigated_checkpoint`, the same without what teaches it to say that
it does not know, against which sft_evaluation holds it.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import numpy as np

from llm_assets.artifacts.record import write_atomic
from llm_assets.artifacts.stage import Stage
from llm_assets.artifacts.step import Step
from llm_assets.dialogue.packing import Conversations, PackedConversations
from llm_assets.dialogue.rendering import HELD_OUT, TRAINING, render_all
from llm_assets.dialogue.schemas import TooLong
from llm_assets.model.assistant import ASSISTANT
from llm_assets.model.chat import TOOLS
from llm_assets.model.encoding import Encoding
from llm_assets.model.shape import ModelShape
from llm_assets.recipes import Recipe
from llm_assets.recipes.crawls import crawls_of
from llm_assets.training.training_run import (
    CHECKPOINT_OPTIONAL_TABLES,
    CHECKPOINT_TABLES,
    follow,
    inherited,
    keep,
    optimisation,
    share_out,
)

from .conversations import MITIGATION

MODULE = "llm_assets.finetuning.train"


class FinetuningError(ValueError):
    """An assistant that cannot be trained as the recipe asks; the message says what to change."""


def mitigates(sources: list[str]) -> bool:
    """Whether a conversation teaches what is not known."""
    return any(source in MITIGATION for source in sources)


def train_on(step: Step, recipe: Recipe, wanted: Callable[[int, list[str]], bool], epochs: float) -> None:
    """Two parts: the conversations as tokens, and the checkpoint."""
    settings, pretraining = recipe.finetuning, recipe.pretraining
    base = step.input("base_checkpoint")
    encoding = Encoding.load(base.path)
    shape = ModelShape.load(base.file("shape.json").read_text(), "base_checkpoint")
    if step.finished("conversations") is None:
        with step.part("conversations") as part:
            part.stats.update(render_all(part, step, step.input("conversations"), encoding, shape.context, settings.held_out, wanted))
    training = Conversations.load(step.staging / TRAINING)
    if not len(training):
        raise FinetuningError(f"no conversation fits into the model's context of {shape.context} tokens; raise model.context, or add shorter ones")
    packed = PackedConversations(training, shape.context, settings.seed, 0)
    rows = max(1, settings.batch_tokens // shape.context) if settings.batch_tokens else pretraining.budget(shape)[1]
    steps = max(1, round(epochs * packed.rows_per_epoch / (1 - settings.document_share) / rows))
    processes, pass_rows, _ = share_out(shape, rows, settings.device, settings.processes, settings.pass_rows)
    job = {
        "checkpoint": str(base.path), "training": str(step.staging / TRAINING), "held_out": str(step.staging / HELD_OUT), "shards": [str(step.inputs[f"token_shards/{crawl}"].path) for crawl in crawls_of(recipe)],
        "document_share": settings.document_share, "seed": settings.seed, "steps": steps, "rows": rows, "pass_rows": pass_rows, "device": settings.device, "compile": pretraining.compile, "keep": settings.keep,
        "optimisation": optimisation(settings, pretraining, shape, settings.rate),
        "validate_every": -(-steps // settings.validations) if settings.validations else 0, "checkpoint_every": settings.checkpoint_every or max(10, steps // 10),
    }  # fmt: skip
    folder = step.staging / "training"
    ends = follow(step, MODULE, job, folder, processes)
    with step.part("checkpoint") as part:
        keep(step, part, folder, base, shape, rows, ends)
        write_atomic(step.staging / ASSISTANT, json.dumps({"name": recipe.conversations.name, "maker": recipe.conversations.maker, "tools": TOOLS}, indent=1).encode())
        part.add_file(ASSISTANT)
        part.stats.update(rows_an_epoch=packed.rows_per_epoch, fill=round(float(np.diff(training.starts).sum() - len(training)) / (packed.rows_per_epoch * shape.context), 4))


def build_sft_checkpoint(step: Step, recipe: Recipe) -> None:
    """Trained on every conversation of the mixture."""
    train_on(step, recipe, lambda *_: True, recipe.finetuning.epochs)


def build_unmitigated_checkpoint(step: Step, recipe: Recipe) -> None:
    """Trained on those that do not teach what is not known."""
    train_on(step, recipe, lambda _, sources: not mitigates(sources), recipe.finetuning.unmitigated_epochs or recipe.finetuning.epochs)


def _literals(recipe: Recipe, mitigated: bool) -> dict[str, Any]:
    pretraining, settings = recipe.pretraining, recipe.finetuning
    settings = settings.but(unmitigated_epochs=None) if mitigated else settings.but(epochs=settings.unmitigated_epochs or settings.epochs, unmitigated_epochs=None)
    return {"finetuning": settings, "pretraining": {"batch_tokens": pretraining.batch_tokens, **inherited(pretraining)}, "crawls": crawls_of(recipe), "name": recipe.conversations.name, "maker": recipe.conversations.maker}


def _stage(name: str, build: Callable[[Step, Recipe], None], mitigated: bool) -> Stage:
    return Stage(
        name=name,
        build=build,
        code_version="3",
        rooms=(
            "llm_assets.finetuning.sft_checkpoint",
            "llm_assets.finetuning.train",
            "llm_assets.dialogue",
            "llm_assets.training",
            "llm_assets.model",
        ),
        inputs=("base_checkpoint", "conversations", "token_shards"),
        literals=lambda recipe, _: _literals(recipe, mitigated),
        crawls=crawls_of,
        tables={**CHECKPOINT_TABLES, "too_long": TooLong},
        optional_tables=CHECKPOINT_OPTIONAL_TABLES,
        libraries=("torch", "safetensors", "numpy"),
    )


SFT_CHECKPOINT = _stage("sft_checkpoint", build_sft_checkpoint, True)
UNMITIGATED_CHECKPOINT = _stage("unmitigated_checkpoint", build_unmitigated_checkpoint, False)
