"""Schemas of the tables of preference tuning."""

from __future__ import annotations

import pandera.polars as pa
import polars as pl

from llm_assets.dialogue.splits import SPLITS
from llm_assets.training.schemas import TrainingCurve


class Prompts(pa.DataFrameModel):
    """An open prompt."""

    prompt: pl.Int64 = pa.Field(ge=0, unique=True)
    split: str = pa.Field(
        isin=list(SPLITS),
        description="train (the policy is tuned on it), development (the over-optimisation monitor uses it) or test "
        "(only reports use it)",
    )
    question: str
    subject: str = pa.Field(description="what it is about; empty if unknown")
    subject_exists: bool = pa.Field(description="false if the subject is a fictitious entity")
    source: str


class Responses(pa.DataFrameModel):
    """An answer of the policy to a prompt."""

    prompt: pl.Int64 = pa.Field(ge=0)
    response: pl.Int64 = pa.Field(ge=0)
    text: str
    tokens: pl.Int64 = pa.Field(ge=0)
    finished: bool = pa.Field(description="whether the model ended the answer within the token limit")


class Pairs(pa.DataFrameModel):
    """Two different answers to a prompt, to be ranked."""

    pair: str = pa.Field(unique=True, description="digest of the question and the answers")
    prompt: pl.Int64 = pa.Field(ge=0)
    question: str
    subject: str
    subject_exists: bool
    first: str
    second: str


class PromptRejects(pa.DataFrameModel):
    """A row of a file that is not a valid prompt."""

    file: str
    line: pl.Int64 = pa.Field(ge=0)
    reason: str


class Rankings(pa.DataFrameModel):
    """A labeller's ranking of a pair."""

    pair: str
    question: str
    subject: str
    first: str
    second: str
    preferred: str = pa.Field(isin=["first", "second", "tie"])
    labeller: str
    simulated: bool = pa.Field(description="by the labelling rule, not by a person")
    source: str
    split: str = pa.Field(
        isin=[*SPLITS, "gold"], description="split of the subject; `gold` is reserved for a second reward model"
    )


class RankingRejects(pa.DataFrameModel):
    """A line of a file that is not a valid ranking."""

    file: str
    line: pl.Int64 = pa.Field(ge=0)
    reason: str


class Votes(pa.DataFrameModel):
    """A person's vote on two answers, which is a ranking unless the same labeller voted on the pair again later."""

    pair: str
    labeller: str
    vote: str = pa.Field(isin=["first", "second", "tie", "both_bad"], description="both_bad counts as a tie")
    at: str = pa.Field(description="when it was stored: UTC, ISO 8601; empty if unknown")
    first_model: str = pa.Field(description="model that gave the first answer; empty if unknown")
    first_identity: str = pa.Field(description="identity of its artifact, or digest of its weights")
    second_model: str
    second_identity: str
    journal: str = pa.Field(description="file of the vote: votes/<labeller>, or arena/<labeller> if it was blind")
    line: pl.Int64 = pa.Field(ge=1)


class ArenaRatings(pa.DataFrameModel):
    """A model's rating by the blind votes of the arena: the Bradley-Terry model on Elo's scale."""

    model: str
    identity: str
    rating: float
    low: float = pa.Field(description="lower end of the 95 % interval")
    high: float
    battles: pl.Int64 = pa.Field(ge=1, description="votes on an answer of this model")
    wins: pl.Int64 = pa.Field(ge=0)
    losses: pl.Int64 = pa.Field(ge=0)
    ties: pl.Int64 = pa.Field(ge=0)


class RewardEvaluations(pa.DataFrameModel):
    """Metrics of the reward model on development pairs before a training step."""

    step: pl.Int64 = pa.Field(ge=0, unique=True)
    loss: float = pa.Field(ge=0, description="Bradley-Terry loss in nats per pair")
    accuracy: float = pa.Field(ge=0, le=1, description="share of pairs ordered as the labeller did")


class RankedPairs(pa.DataFrameModel):
    """A pair of the test that was ranked, without ties."""

    pair: str
    question: str
    subject: str
    preferred: str
    other: str
    labeller: str


class RewardScores(RankedPairs):
    """A test pair with the reward model's margin."""

    margin: float = pa.Field(
        description="score of the preferred answer minus that of the other; above 0 agrees with the labeller"
    )


class DpoCurve(TrainingCurve):
    """One row per step of DPO: as of any training run, and means over the step's pairs.

    The log-probabilities of both answers often fall while the margin grows: only their difference is trained.
    """

    margin: float = pa.Field(description="beta times the difference of the log-ratios to the initial policy")
    accuracy: float = pa.Field(ge=0, le=1, description="share of pairs with a positive margin; one of 0 counts half")
    chosen: float = pa.Field(le=0, description="log-probability of the chosen answer in nats")
    rejected: float = pa.Field(le=0, description="log-probability of the rejected answer in nats")


class DpoEvaluations(pa.DataFrameModel):
    """The same means over the development pairs, before a training step."""

    step: pl.Int64 = pa.Field(ge=0, unique=True)
    loss: float = pa.Field(ge=0)
    margin: float
    accuracy: float = pa.Field(ge=0, le=1)
    chosen: float = pa.Field(le=0)
    rejected: float = pa.Field(le=0)


class ReferenceLogProbabilities(pa.DataFrameModel):
    """A ranking that DPO trains on or is measured by, with the initial policy's log-probabilities of its answers."""

    pair: str
    labeller: str
    split: str = pa.Field(isin=list(SPLITS))
    chosen: float = pa.Field(le=0, description="in nats, summed over the answer's tokens")
    rejected: float = pa.Field(le=0)


class DpoScores(RankedPairs):
    """A test pair with the policy's margin."""

    margin: float = pa.Field(
        description="beta times the difference of the log-ratios to the initial policy; above 0 agrees with the "
        "labeller"
    )


class Adversarial(pa.DataFrameModel):
    """An answer that scores high with the reward model but low with the gold signal.

    The other answer of the pair is from the first evaluation step and scores higher with gold. The columns are those of
    pairs, so that people can rank them for the next round.
    """

    pair: str
    step: pl.Int64 = pa.Field(ge=0)
    question: str
    subject: str
    first: str
    second: str
    proxy: float
    gold: float


class Answers(pa.DataFrameModel):
    """A model's answer to a prompt of the evaluation's split."""

    model: str
    prompt: pl.Int64 = pa.Field(ge=0)
    question: str
    text: str
    tokens: pl.Int64 = pa.Field(ge=0)
    finished: bool
    proxy: float = pa.Field(description="the reward model's score, in standard deviations")
    gold: float = pa.Field(description="the gold signal's score")
    true: pl.Int64 = pa.Field(
        ge=0, nullable=True, description="true statements; empty if the corpus has no ground truth"
    )
    false: pl.Int64 = pa.Field(ge=0, nullable=True, description="false statements, likewise")
    uncheckable: pl.Int64 = pa.Field(ge=0, nullable=True, description="sentences that the truth says nothing about")
