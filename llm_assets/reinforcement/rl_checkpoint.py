"""`rl_checkpoint`: the assistant after reinforcement learning on problems with checkable answers."""

from __future__ import annotations

import polars as pl

from llm_assets.artifacts import Stage, Step
from llm_assets.dialogue.rendering import write_replay
from llm_assets.dialogue.schemas import TooLong
from llm_assets.dialogue.splits import DEVELOPMENT, TRAIN
from llm_assets.evaluation.problem_sets import family_names, family_versions, read_problems, spread
from llm_assets.model.encoding import Encoding
from llm_assets.model.shape import ModelShape
from llm_assets.recipes.finetuning import Tools
from llm_assets.recipes.frozen import Frozen
from llm_assets.recipes.pretraining import Rates
from llm_assets.recipes.reinforcement import Reinforcement
from llm_assets.tools.search import TRAINING_SEARCH
from llm_assets.tools.toolbox import toolbox_job
from llm_assets.training.policy_run import (
    CURVES_VIEW,
    POLICY_OPTIONAL_TABLES,
    POLICY_TABLES,
    keep_policy,
    policy_plan,
    show_policy,
)
from llm_assets.training.training_run import follow

from .jobs import RlJob
from .schemas import Solutions

MODULE = "llm_assets.reinforcement.rl_checkpoint_process"


class ReinforcementError(ValueError):
    """A recipe by which no policy can be trained; the message says what to change."""


class RlCheckpointConfig(Frozen):
    """How the policy is trained. families: problem families, whose checkers decide which answers are right."""

    reinforcement: Reinforcement
    rates: Rates
    tools: Tools
    families: tuple[str, ...]


def build_rl_checkpoint(step: Step, config: RlCheckpointConfig) -> None:
    """Train the policy in a separate process, and keep its best weights as one task."""
    settings = config.reinforcement
    sft, problems = step.input("sft_checkpoint"), step.input("practice_problems")
    shape = ModelShape.load(sft.file("shape.json").read_text(), "sft_checkpoint")
    # Not those of the test: the weights that solve most of these problems are kept.
    held_out = spread(read_problems(problems, DEVELOPMENT), settings.evaluation_problems)
    if not held_out and settings.evaluate_every:
        raise ReinforcementError(
            "practice_problems has no development problem; raise practice_problems.held_out, or set "
            "reinforcement.evaluate_every to 0"
        )
    plan, processes = policy_plan(settings, config.rates, shape)
    replay = None
    if settings.replay_weight:
        encoding, needed = Encoding.load(sft.path), plan.steps * plan.minibatches * plan.replay_sequences
        replay = write_replay(step, step.input("conversations"), encoding, shape.context, needed, settings.seed)
    job = RlJob(
        plan=plan,
        checkpoint=str(sft.path),
        conversations=replay,
        families=config.families,
        train=tuple(read_problems(problems, TRAIN)),
        held_out=tuple(held_out),
        accuracy_reward=settings.accuracy_reward,
        format_reward=settings.format_reward,
        rewards=settings.rewards,
        transcripts=settings.transcripts,
        device=settings.compute.device,
        toolbox=toolbox_job(step.input(TRAINING_SEARCH), config.tools),
    )
    folder = step.staging / "training"
    ends = follow(step, MODULE, job, folder, processes)
    with step.task("checkpoint") as task:
        events = keep_policy(step, task, folder, sft, ends)
        task.stats.update(prompts=settings.prompts, samples=settings.samples)
        if rows := events["row"]:
            task.table("solutions", Solutions).frame(pl.DataFrame(rows))


RL_CHECKPOINT = Stage(
    name="rl_checkpoint",
    group="reinforcement",
    description="The assistant after reinforcement learning (GRPO) on groups of its own solutions, rewarded if they "
    "are right. Resumes from its last checkpoint.",
    kinds=("pytorch", "safetensors"),
    build=build_rl_checkpoint,
    config=lambda recipe, crawl: RlCheckpointConfig(
        reinforcement=recipe.reinforcement,
        rates=recipe.pretraining.inherited(),
        tools=recipe.tools,
        families=family_names(recipe.practice_problems),
    ),
    code_version="6",
    inputs=("sft_checkpoint", "practice_problems", TRAINING_SEARCH, "conversations"),
    external_inputs=lambda config: family_versions(config.families),
    tables=POLICY_TABLES,
    optional_tables={**POLICY_OPTIONAL_TABLES, "solutions": Solutions, "too_long": TooLong},
    views=(CURVES_VIEW,),
    show=show_policy,
    libraries=("torch", "safetensors", "numpy", "pydantic-monty"),
    pool="gpu",
)
