"""What the processes of reinforcement learning are given. Plain values: neither side needs the other's packages."""

from __future__ import annotations

from dataclasses import dataclass

from llm_assets.evaluation.jobs import BasePrompting, Question
from llm_assets.tools.jobs import ToolboxJob
from llm_assets.training.plan import PolicyPlan


@dataclass(frozen=True)
class ProblemRow:
    """A row of the table Problems. tools: names of the tools that the solver has, with commas between them."""

    problem: int
    family: str
    level: int
    question: str
    answer: str
    distractors: tuple[str, ...]
    tools: str


@dataclass(frozen=True)
class RlJob:
    """One training of the policy (`reinforcement.rl_checkpoint_process`).

    checkpoint: a folder. conversations: a file of those that are replayed; None where the plan's `replay_weight` is 0.
    families: whose checkers say what is right. transcripts: solutions kept of each evaluation on `held_out`.
    """

    plan: PolicyPlan
    checkpoint: str
    conversations: str | None
    families: tuple[str, ...]
    train: tuple[ProblemRow, ...]
    held_out: tuple[ProblemRow, ...]
    accuracy_reward: float
    format_reward: float
    transcripts: int
    device: str
    toolbox: ToolboxJob


@dataclass(frozen=True)
class RlEvaluationJob:
    """What is asked of each model (`reinforcement.rl_evaluation_process`).

    models: checkpoints' folders, by name, the tuned policy last; `base` is asked as a base model. samples, temperature,
    max_tokens, seed: of the solutions. questions: those of the assistant's own evaluation, which the last model is
    asked again; answer_tokens: of an answer to one.
    """

    models: dict[str, str]
    families: tuple[str, ...]
    problems: tuple[ProblemRow, ...]
    samples: int
    temperature: float
    max_tokens: int
    seed: int
    device: str
    base: BasePrompting
    questions: tuple[Question, ...]
    answer_tokens: int
    toolbox: ToolboxJob
