"""What the processes of the assistant are given. Plain values, so that neither side needs the other's packages."""

from __future__ import annotations

from dataclasses import dataclass

from llm_assets.evaluation.jobs import BasePrompting, Question
from llm_assets.tools.jobs import ToolboxJob
from llm_assets.training.plan import TrainingPlan


@dataclass(frozen=True)
class FewShotPrompt:
    """A question to a base model, and the examples that come before it, as pages have them."""

    question: str
    examples: tuple[str, ...]


@dataclass(frozen=True)
class InterrogationJob:
    """Prompts put to the base model (`finetuning.knowledge_boundary_process`). checkpoint: a folder. samples: answers to each prompt.

    max_tokens: of an answer.
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
    """One training of the assistant (`finetuning.sft_checkpoint_process`).

    checkpoint, shards: folders. training, held_out: files of conversations as tokens. document_share: of the sequences
    that are documents of the shards. kept: a folder that says which of these are trained on; None is all of them.
    """

    plan: TrainingPlan
    checkpoint: str
    training: str
    held_out: str
    shards: tuple[str, ...]
    document_share: float
    device: str
    kept: str | None = None


@dataclass(frozen=True)
class SftEvaluationJob:
    """The evaluation's questions to each model (`finetuning.sft_evaluation_process`).

    models: checkpoints' folders, by name; `base` is asked as a base model, and only `sft` has tools. max_tokens: of an
    answer.
    """

    models: dict[str, str]
    device: str
    max_tokens: int
    base: BasePrompting
    questions: tuple[Question, ...]
    toolbox: ToolboxJob
