"""The jobs of the fine-tuning processes, as plain values, so that neither side needs the other's packages."""

from __future__ import annotations

from dataclasses import dataclass

from llm_assets.evaluation.jobs import BasePrompting, Question
from llm_assets.tools.jobs import ToolboxJob
from llm_assets.training.plan import TrainingPlan


@dataclass(frozen=True)
class FewShotPrompt:
    """A question to a base model, and the examples that come before it, written as on a page."""

    question: str
    examples: tuple[str, ...]


@dataclass(frozen=True)
class InterrogationJob:
    """Prompts put to the base model (`finetuning.knowledge_boundary_process`).

    checkpoint: a folder. samples: answers per prompt. max_tokens: per answer.
    """

    checkpoint: str
    device: str
    samples: int
    temperature: float
    max_tokens: int
    seed: int
    prompts: tuple[FewShotPrompt, ...]


@dataclass(frozen=True)
class SftJob:
    """A training run of the assistant (`finetuning.sft_checkpoint_process`).

    checkpoint, shards: folders. training, held_out: files of tokenised conversations. document_share: share of the
    sequences that are documents of the shards. kept_documents: a folder that lists the documents to train on; None is
    all.
    """

    plan: TrainingPlan
    checkpoint: str
    training: str
    held_out: str
    shards: tuple[str, ...]
    document_share: float
    device: str
    kept_documents: str | None = None


@dataclass(frozen=True)
class SftEvaluationJob:
    """The evaluation's questions to each model (`finetuning.sft_evaluation_process`).

    models: checkpoint folders by name; `base` is prompted with examples and has no tools. max_tokens: per answer.
    refusals: ways in which the assistant says that it does not know. refusable: numbers of the questions for which the
    probability of such an answer is measured.
    """

    models: dict[str, str]
    device: str
    max_tokens: int
    base: BasePrompting
    questions: tuple[Question, ...]
    refusals: tuple[str, ...]
    refusable: tuple[int, ...]
    toolbox: ToolboxJob
