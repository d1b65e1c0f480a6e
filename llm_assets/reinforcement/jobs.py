"""Jobs of the processes of reinforcement learning: plain values, so that neither side needs the other's packages."""

from __future__ import annotations

from dataclasses import dataclass

from llm_assets.evaluation.jobs import BasePrompting, ProblemRow, ProblemsJob, Question
from llm_assets.tools.jobs import ToolboxJob
from llm_assets.training.plan import PolicyPlan


@dataclass(frozen=True)
class RlJob:
    """One training run of the policy (`reinforcement.rl_checkpoint_process`).

    checkpoint: a folder. conversations: the file of conversations that are replayed; None if the plan's `replay_weight`
    is 0. families: problem families, whose checkers decide which answers are right. transcripts: solutions kept per
    evaluation on `held_out`. rewards: `Reinforcement.rewards`.
    """

    plan: PolicyPlan
    checkpoint: str
    conversations: str | None
    families: tuple[str, ...]
    train: tuple[ProblemRow, ...]
    held_out: tuple[ProblemRow, ...]
    accuracy_reward: float
    format_reward: float
    rewards: str
    transcripts: int
    device: str
    toolbox: ToolboxJob


@dataclass(frozen=True)
class RlEvaluationJob:
    """The evaluation of all models (`reinforcement.rl_evaluation_process`).

    models: checkpoint folders by name, the trained policy last; `base` is prompted as a base model. questions: those of
    the assistant's evaluation, which the last model answers again. answer_tokens: most tokens of such an answer.
    """

    models: dict[str, str]
    problems: ProblemsJob
    device: str
    base: BasePrompting
    questions: tuple[Question, ...]
    answer_tokens: int
    toolbox: ToolboxJob
