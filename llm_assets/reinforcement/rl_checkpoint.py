"""`rl_checkpoint`: the assistant after practice on problems with checkable answers."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

import polars as pl

from llm_assets.artifacts.stage import Stage
from llm_assets.artifacts.step import Step
from llm_assets.artifacts.store import Artifact
from llm_assets.dialogue.rendering import write_rehearsal
from llm_assets.dialogue.schemas import TooLong
from llm_assets.model.encoding import Encoding
from llm_assets.model.shape import ModelShape
from llm_assets.recipes import Recipe
from llm_assets.tools.toolbox import toolbox_job
from llm_assets.training.policy_run import POLICY_OPTIONAL_TABLES, POLICY_TABLES, keep_policy
from llm_assets.training.training_run import follow, inherited, optimisation, share_out

from .practice_problems import families_of
from .schemas import Solutions

MODULE = "llm_assets.reinforcement.train"


class ReinforcementError(ValueError):
    """A policy that cannot be trained as the recipe asks; the message says what to change."""


def read_problems(artifact: Artifact, split: str) -> list[dict[str, Any]]:
    """Problems of one side, with their rivals read."""
    frame = pl.concat([pl.read_parquet(path) for path in sorted(artifact.table("problems"))]).filter(pl.col("split") == split).sort("problem")
    return [{**row, "rivals": json.loads(row["rivals"])} for row in frame.drop("key", "split").iter_rows(named=True)]


def ranked(problems: Sequence[dict[str, Any]]) -> Iterator[tuple[int, dict[str, Any]]]:
    """Problems in order, each with its place in its family and level, counted from 0."""
    seen: Counter[tuple[str, int]] = Counter()
    for problem in problems:
        group = (problem["family"], problem["level"])
        yield seen[group], problem
        seen[group] += 1


def spread(problems: Sequence[dict[str, Any]], most: int) -> list[dict[str, Any]]:
    """At most so many problems, of every family and level in turn."""
    return [problem for _, problem in sorted(ranked(problems), key=lambda one: (one[0], one[1]["problem"]))[:most]]


def build_rl_checkpoint(step: Step, recipe: Recipe) -> None:
    """One part."""
    settings = recipe.reinforcement
    sft, problems = step.input("sft_checkpoint"), step.input("practice_problems")
    shape = ModelShape.load(sft.file("shape.json").read_text(), "sft_checkpoint")
    train, held_out = read_problems(problems, "train"), spread(read_problems(problems, "held_out"), settings.evaluation_problems)
    if not held_out and settings.evaluate_every:
        raise ReinforcementError("practice_problems has no problem held out; raise practice_problems.held_out, or set reinforcement.evaluate_every to 0")
    processes, _, _ = share_out(shape, settings.prompts, settings.device, settings.processes, settings.pass_rows)
    rehearsal = write_rehearsal(step, step.input("conversations"), Encoding.load(sft.path), shape.context, settings.steps * settings.rehearsal_rows, settings.seed) if settings.rehearsal else None
    job = {
        **settings.model_dump(), "conversations": rehearsal, "checkpoint": str(sft.path), "families": list(families_of(recipe)), "train": train, "held_out": held_out,
        "optimisation": optimisation(settings, recipe.pretraining, shape, settings.rate), "toolbox": toolbox_job(step.input("search_index"), recipe.tools),
    }  # fmt: skip
    folder = step.staging / "training"
    ends = follow(step, MODULE, job, folder, processes)
    with step.part("checkpoint") as part:
        noted = keep_policy(step, part, folder, sft, ends)
        if rows := noted["row"]:
            part.table("solutions", Solutions).frame(pl.DataFrame(rows))


RL_CHECKPOINT = Stage(
    name="rl_checkpoint",
    build=build_rl_checkpoint,
    code_version="2",
    rooms=(
        "llm_assets.reinforcement.rl_checkpoint",
        "llm_assets.reinforcement.train",
        "llm_assets.reinforcement.checking",
        "llm_assets.reinforcement.problems",
        "llm_assets.dialogue",
        "llm_assets.evaluation.grading",
        "llm_assets.training",
        "llm_assets.model",
        "llm_assets.tools",
    ),
    inputs=("sft_checkpoint", "practice_problems", "search_index", "conversations"),
    literals=lambda recipe, _: {"reinforcement": recipe.reinforcement, "tools": recipe.tools, "pretraining": inherited(recipe.pretraining)},
    tables=POLICY_TABLES,
    optional_tables={**POLICY_OPTIONAL_TABLES, "solutions": Solutions, "too_long": TooLong},
    libraries=("torch", "safetensors", "numpy", "pydantic-monty"),
)
