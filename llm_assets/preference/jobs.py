"""Jobs of the processes of preference tuning: plain values, so that neither side needs the other's packages."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from llm_assets.evaluation.ground_truth import GroundTruth
from llm_assets.evaluation.jobs import BasePrompting, ProblemsJob, Question
from llm_assets.tools.jobs import ToolboxJob
from llm_assets.training.plan import PolicyPlan, TrainingPlan


@dataclass(frozen=True)
class PromptRow:
    """An open prompt: the columns of the table Prompts that processes need."""

    prompt: int
    question: str
    subject: str
    subject_exists: bool


@dataclass(frozen=True)
class RewardJob:
    """One training run of a reward model (`preference.reward_checkpoint_process`).

    checkpoint: a folder. train, development, test: rankings, each as question, preferred answer and other answer; those
    of development are measured while the model is trained, those of the test at the end. A sequence of the plan is an
    answer, two per pair.
    """

    plan: TrainingPlan
    checkpoint: str
    train: tuple[tuple[str, str, str], ...]
    development: tuple[tuple[str, str, str], ...]
    test: tuple[tuple[str, str, str], ...]
    device: str


@dataclass(frozen=True)
class DpoJob:
    """One direct preference optimisation (`preference.dpo_checkpoint_process`).

    checkpoint: a folder: the policy at the start, which is the reference. train, development, test: as in `RewardJob`.
    loss, beta: as in `recipes.preference.Dpo`.
    """

    plan: TrainingPlan
    checkpoint: str
    train: tuple[tuple[str, str, str], ...]
    development: tuple[tuple[str, str, str], ...]
    test: tuple[tuple[str, str, str], ...]
    loss: Literal["dpo", "dpo_norm", "ipo"]
    beta: float
    device: str


@dataclass(frozen=True)
class DpoEvaluationJob:
    """The evaluation of the policy after DPO (`preference.dpo_evaluation_process`).

    checkpoint: a folder. problems, questions: those that every checkpoint is evaluated with. answer_tokens: most tokens
    of an answer to a question.
    """

    checkpoint: str
    device: str
    problems: ProblemsJob
    questions: tuple[Question, ...]
    answer_tokens: int
    toolbox: ToolboxJob


@dataclass(frozen=True)
class SamplingJob:
    """Answers of the policy to open prompts (`preference.response_pairs_process`).

    checkpoint: a folder. samples: answers per question. max_tokens: of an answer.
    """

    checkpoint: str
    questions: tuple[str, ...]
    samples: int
    temperature: float
    max_tokens: int
    device: str
    seed: int


@dataclass(frozen=True)
class RlhfJob:
    """One tuning of the policy to a reward model (`preference.rlhf_checkpoint_process`).

    checkpoint, reward: folders. gold: the signal that is trusted: ``truth``, ``rule``, or the folder of a reward model.
    truth: the ground truth of the corpus, if it has one. conversations: the file of conversations that are replayed;
    None if the plan's `replay_weight` is 0. monitor: prompts of the over-optimisation monitor, which stops the training
    by monitor_patience and monitor_margin. unfinished_reward: upper limit of the reward of an answer that did not end
    by itself. adversarial: answers to prompts of `train` kept per evaluation that only the reward model prefers.
    """

    plan: PolicyPlan
    checkpoint: str
    reward: str
    gold: str
    truth: GroundTruth | None
    conversations: str | None
    train: tuple[PromptRow, ...]
    monitor: tuple[PromptRow, ...]
    unfinished_reward: float
    monitor_patience: int
    monitor_margin: float
    adversarial: int
    device: str


@dataclass(frozen=True)
class RlhfEvaluationJob:
    """The evaluation of all models (`preference.rlhf_evaluation_process`).

    models: checkpoint folders by name, the tuned policy last; `base` is prompted as a base model. reward, gold, truth:
    as in `RlhfJob`. samples, temperature, max_tokens, seed: of the answers to `prompts`. problems, questions: those
    that every checkpoint is evaluated with, for the last model. answer_tokens: most tokens of an answer to a question.
    """

    models: dict[str, str]
    prompts: tuple[PromptRow, ...]
    reward: str
    gold: str
    truth: GroundTruth | None
    samples: int
    temperature: float
    max_tokens: int
    seed: int
    device: str
    base: BasePrompting
    problems: ProblemsJob
    questions: tuple[Question, ...]
    answer_tokens: int
    toolbox: ToolboxJob
