"""Jobs of the base model's processes: plain values, so that neither side needs the packages of the other."""

from __future__ import annotations

from dataclasses import dataclass

from llm_assets.model.shape import ModelShape
from llm_assets.training.plan import TrainingPlan


@dataclass(frozen=True)
class PretrainingJob:
    """One training run of the base model (`pretraining.base_checkpoint_process`).

    tokenizer, shards, continue_from: folders. kept_documents: a folder that selects the documents of the shards that
    are trained on (`training.documents`); None selects all. continue_from: the checkpoint whose weights the training
    starts from. start: folder of a published model that it starts from otherwise. Without both, it starts with new
    weights. induction: new weights start with an induction head. validation_sequences:
    sequences per evaluation of the validation split. prompts: beginnings of sampled texts; without any, none are
    sampled.
    """

    shape: ModelShape
    plan: TrainingPlan
    tokenizer: str
    shards: tuple[str, ...]
    device: str
    continue_from: str | None = None
    start: str | None = None
    kept_documents: str | None = None
    induction: bool = False
    validation_sequences: int = 1
    prompts: tuple[str, ...] = ()
    sample_tokens: int = 64


@dataclass(frozen=True)
class BaseEvaluationJob:
    """One evaluation of a base model (`pretraining.base_evaluation_process`); counts and lengths are the recipe's.

    checkpoint, shards: folders. kept_documents: as in PretrainingJob. training_seed, training_sequences: order and
    number of the sequences that the model was trained on. facts: beginnings of sentences and what must follow.
    questions: relation, question, answer. examples, assistant_questions: examples and questions for the prompted
    assistant.
    """

    checkpoint: str
    shards: tuple[str, ...]
    device: str
    training_seed: int
    training_sequences: int
    validation_tokens: int
    baseline_tokens: int
    prefixes: int
    prefix_tokens: int
    recited_tokens: int
    free_samples: int
    sample_tokens: int
    problems: int
    seed: int
    prompts: tuple[str, ...]
    instruction: str
    kept_documents: str | None = None
    facts: tuple[tuple[str, str], ...] = ()
    questions: tuple[tuple[str, str, str], ...] = ()
    examples: tuple[tuple[str, str], ...] = ()
    assistant_questions: tuple[str, ...] = ()
