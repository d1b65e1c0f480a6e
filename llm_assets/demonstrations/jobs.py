"""Jobs of the demonstrations' processes: plain values, so that neither side needs the other's packages."""

from __future__ import annotations

import math
from dataclasses import dataclass

from llm_assets.evaluation.ground_truth import GroundTruth
from llm_assets.evaluation.jobs import Question
from llm_assets.preference.jobs import PromptRow
from llm_assets.tools.jobs import ToolboxJob
from llm_assets.training.plan import PolicyPlan, TrainingPlan

RIGHT = "right"  # the share of right answers
# Figures and conditions of `longer_solutions`.
LENGTH, CUT_OFF, STEPWISE = "length", "cut_off", "stepwise"
EARNED, SHUFFLED, ONE_HOP = "earned rewards", "shuffled rewards", "trained on one hop alone"


def by_hops(condition: str, hops: int) -> str:
    """The series of a condition's problems of this many hops."""
    return f"{condition}, {hops} {'hop' if hops == 1 else 'hops'}"


# Figures and series of `in_context_learning`.
LOSS, SCORE = "loss", "score"
WITH_START, WITHOUT_START = "with the induction start", "without the induction start"
# Figures and series of `regurgitation`.
RECITED, MATCHED = "recited", "matched"
SEEN, UNSEEN = "pages of the training", "pages never seen"


def how_often(count: int) -> str:
    """How often, in words."""
    return "once" if count == 1 else f"{count} times"


@dataclass(frozen=True)
class SmallTraining:
    """The fields of `recipes.demonstrations.SmallTraining`."""

    layers: int
    width: int
    heads: int
    steps: int
    batch_size: int
    learning_rate: float
    induction: bool


@dataclass(frozen=True)
class TokensToThinkJob:
    """The fields of `recipes.demonstrations.TokensToThink`."""

    seeds: int
    device: str
    hops: int
    letters: int
    questions: int
    training: SmallTraining
    sum_training: SmallTraining


@dataclass(frozen=True)
class LongerSolutionsJob:
    """The fields of `recipes.demonstrations.LongerSolutions`."""

    seeds: int
    device: str
    hops: int
    letters: int
    steps_share: float
    questions: int
    training: SmallTraining
    rl_steps: int
    prompts: int
    samples: int
    rl_learning_rate: float
    evaluations: int


@dataclass(frozen=True)
class InContextJob:
    """The fields of `recipes.demonstrations.InContextLearning`, and the corpus.

    tokenizer, shards: folders. kept_documents: see `training.shards.TokenStream`.
    """

    seeds: int
    device: str
    examples: int
    pages: int
    training: SmallTraining
    early_token: int
    late_token: int
    window: int
    evaluations: int
    corpus_training: SmallTraining
    tokenizer: str
    shards: tuple[str, ...]
    kept_documents: str | None


@dataclass(frozen=True)
class RegurgitationJob:
    """The fields of `recipes.demonstrations.Regurgitation`, and the corpus.

    tokenizer, shards: folders. kept_documents: see `training.shards.TokenStream`. training: its `steps` are those of
    one pass over all sequences, which the process counts.
    """

    seeds: int
    device: str
    repetitions: tuple[int, ...]
    pages: int
    page_tokens: int
    prefix_tokens: int
    recited_tokens: int
    training: SmallTraining
    tokenizer: str
    shards: tuple[str, ...]
    kept_documents: str | None


# Ways to answer of `hallucination_mitigations`, in the order of its plots.
MEMORY, REFUSALS, SEARCH = "memory alone", "refusals trained", "search"
TEXT_IN_QUESTION, TEXT_AS_RESULT = "text in the question", "text as a result"
WAYS = (MEMORY, REFUSALS, SEARCH, TEXT_IN_QUESTION, TEXT_AS_RESULT)


@dataclass(frozen=True)
class MitigationsJob:
    """Questions about facts, to be answered in all WAYS.

    ablation, sft: checkpoint folders. queries: what is searched for, for each question: its entity. expected: the
    answer of each question, empty for a fictitious entity. passages: see the recipe.
    """

    ablation: str
    sft: str
    device: str
    max_tokens: int
    passages: int
    questions: tuple[Question, ...]
    queries: tuple[str, ...]
    expected: tuple[str, ...]
    toolbox: ToolboxJob


# Figures of `over_optimisation`: proxy and gold of the best of n by root KL, and of RL by step.
BEST_PROXY, BEST_GOLD = "best_proxy", "best_gold"
RL_PROXY, RL_GOLD, ROOT_KL, STOP = "rl_proxy", "rl_gold", "root_kl", "stop"


def by_rankings(rankings: int) -> str:
    """The series of a reward model that was fitted to this many rankings."""
    return f"{rankings:,} rankings"


def divergence_of_best(answers: int) -> float:
    """The divergence, in nats, of the best of n answers from the policy that gave them: log n - (n - 1) / n.

    Gao, Schulman, Hilton, arXiv:2210.10760, section 2.
    """
    return math.log(answers) - (answers - 1) / answers


@dataclass(frozen=True)
class OverOptimisationJob:
    """Reward models of all `sizes`, each the measure by which answers are chosen and a policy is tuned.

    sft, policy: checkpoint folders that reward models and policies begin with. reward: plan of a reward model, whose
    steps the process counts. epochs, answers: see the recipe. plan: of the policy. rankings: question, preferred and
    other answer. train, monitor: prompts. gold, truth, unfinished_reward, patience, margin: as in `RlhfJob`.
    """

    seeds: int
    device: str
    sizes: tuple[int, ...]
    epochs: float
    answers: tuple[int, ...]
    sft: str
    policy: str
    reward: TrainingPlan
    plan: PolicyPlan
    rankings: tuple[tuple[str, str, str], ...]
    train: tuple[PromptRow, ...]
    monitor: tuple[PromptRow, ...]
    gold: str
    truth: GroundTruth | None
    unfinished_reward: float
    patience: int
    margin: float
