"""What the processes of the base model are given. Plain values, so that neither side needs the other's packages."""

from __future__ import annotations

from dataclasses import dataclass

from llm_assets.model.shape import ModelShape
from llm_assets.training.plan import TrainingPlan


@dataclass(frozen=True)
class PretrainingJob:
    """One training of the base model (`pretraining.base_checkpoint_process`).

    tokenizer, shards, continue_from: folders. kept: a folder that says which documents of the shards are trained on; None
    is all of them. continue_from: a checkpoint whose weights are gone on from; None begins
    with new ones. induction: new weights begin with an induction head. validation_sequences: sequences that an evaluation
    of the validation split reads. prompts: what samples begin with; without any, none are taken.
    """

    shape: ModelShape
    plan: TrainingPlan
    tokenizer: str
    shards: tuple[str, ...]
    device: str
    continue_from: str | None = None
    kept: str | None = None
    induction: bool = False
    validation_sequences: int = 1
    prompts: tuple[str, ...] = ()
    sample_tokens: int = 64


@dataclass(frozen=True)
class BaseEvaluationJob:
    """What is measured of one base model (`pretraining.base_evaluation_process`); counts and lengths are those of the recipe.

    checkpoint, shards: folders. kept: as in PretrainingJob. training_seed, training_sequences: order and number of the sequences that it was trained on.
    facts: beginnings of sentences and what must follow. questions: relation, question, answer. examples, asked: what
    the assistant by prompt is shown and asked.
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
    kept: str | None = None
    facts: tuple[tuple[str, str], ...] = ()
    questions: tuple[tuple[str, str, str], ...] = ()
    examples: tuple[tuple[str, str], ...] = ()
    asked: tuple[str, ...] = ()
