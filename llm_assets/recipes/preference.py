"""Taste: answers to open prompts, what people prefer of them, a reward model of that, and a policy tuned to it."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from llm_assets.artifacts.identity import EXECUTION_ONLY

from .compute import Compute
from .finetuning import ConversationFile
from .frozen import Frozen
from .reinforcement import PolicyTuning


class ResponsePairs(Frozen):
    """Open prompts with several answers each, of which pairs are to be ranked."""

    prompts: int = Field(
        1_000, ge=1, description="prompts whose answers are compared and on which the policy is tuned, drawn by seed"
    )
    unseen: int = Field(
        100, ge=1, description="prompts, in other words and about other things, that only rlhf_evaluation asks"
    )
    monitor_share: float = Field(
        0.1,
        gt=0,
        lt=1,
        description="share of the prompts, by hash, that only the monitor asks while the policy is tuned",
    )
    fictitious_share: float = Field(
        0.07,
        ge=0,
        lt=1,
        description="share of the prompts that are about what does not exist, as far as names were made up: there a refusal is the best answer",
    )
    files: tuple[ConversationFile, ...] = Field(
        (), description="prompts of one's own: the first user message of each conversation"
    )
    samples: int = Field(4, ge=2, description="answers sampled of each prompt")
    pairs: int = Field(3, ge=1, description="pairs of different answers of each prompt, at most")
    temperature: float = Field(1.0, gt=0)
    max_tokens: int = Field(256, ge=1)
    device: Annotated[Literal["auto", "cpu", "cuda"], EXECUTION_ONLY] = Field(
        "auto", description="auto is a GPU where there is one"
    )
    seed: int = Field(1, ge=0)


class RankingFile(Frozen):
    """Rankings that people gave, as `llm-assets rank` writes them."""

    path: Annotated[str, EXECUTION_ONLY] = Field(
        description="JSONL: question, first, second, preferred (first, second, tie), labeller (its content is part of the identity)"
    )
    name: str = Field(min_length=1, pattern=r"^[A-Za-z0-9_.-]+$")


class SimulatedLabeller(Frozen):
    """Stands in for people at laptop scale: the written rule of taste (preference/taste.py), with noise. Marked wherever it shows."""

    share: float = Field(0.4, gt=0, le=1, description="share of the pairs that it ranks, by hash: people rank few")
    again: float = Field(
        0.2,
        ge=0,
        le=1,
        description="share of these that a second labeller of the same taste ranks too, so that agreement is seen",
    )
    noise: float = Field(0.4, ge=0, description="scale of the logistic noise on a difference of taste")
    tie: float = Field(0.25, ge=0, description="difference up to which two answers are alike to it")
    seed: int = Field(1, ge=0)


class HumanRankings(Frozen):
    """Who ranked what. Questions are split by hash, so that no question stands on two sides."""

    files: tuple[RankingFile, ...] = ()
    simulated: SimulatedLabeller | None = Field(None, description="None: only people")
    held_out: float = Field(0.15, gt=0, lt=1, description="share of questions on which the reward model is measured")
    gold: float = Field(
        0.25,
        gt=0,
        lt=1,
        description="share of questions kept apart for the monitor: a second reward model is fitted to them, unless the labeller is simulated, whose rule is asked",
    )

    @model_validator(mode="after")
    def _some_left(self) -> HumanRankings:
        if self.held_out + self.gold >= 1:
            raise ValueError(f"human_rankings: held_out {self.held_out} and gold {self.gold} leave nothing to train on")
        if len({file.name for file in self.files}) != len(self.files):
            raise ValueError("human_rankings.files: two have the same name")
        return self


class RewardTraining(Frozen):
    """The reward model: the SFT model with a head, fitted by the Bradley-Terry loss."""

    epochs: float = Field(
        1.0,
        gt=0,
        le=100,
        description="times that each pair is seen (InstructGPT: one, or it overfits; arXiv:2203.02155, appendix C.2)",
    )
    pairs: int = Field(16, ge=1, description="pairs of a step")
    learning_rate_scale: float = Field(
        0.1, gt=0, le=10, description="plateau learning rates as a multiple of pretraining's"
    )
    weight_decay: float = Field(0.0, ge=0, le=1)
    warmup: float = Field(0.05, ge=0, le=0.5)
    cooldown: float = Field(0.5, ge=0, le=1)
    validation_runs: int = Field(4, ge=0)
    seed: int = Field(1, ge=0)
    compute: Annotated[Compute, EXECUTION_ONLY] = Field(
        Compute(micro_batch_size=32, compile=False),
        description="a sequence is one answer, so the micro-batch size is even: two answers per pair",
    )

    @model_validator(mode="after")
    def _whole_pairs(self) -> RewardTraining:
        if self.compute.micro_batch_size % 2:
            raise ValueError(
                f"compute.micro_batch_size {self.compute.micro_batch_size}: must be even, as each pair has two answers"
            )
        return self


class Rlhf(PolicyTuning):
    """Policy optimisation against the reward model."""

    length: Literal["sequence", "tokens", "constant"] = "tokens"
    kl: float = Field(0.05, ge=0, description="weight of the divergence from the policy that it sets out from")
    cooldown: float = Field(0.0, ge=0, le=1)
    unfinished_reward: float = Field(
        -2.0, le=0, description="of an answer that did not end by itself, in deviations of the reward model's scores"
    )
    evaluate_every: int = Field(10, ge=1, description="steps between looks of the monitor")
    monitor_prompts: int = Field(100, ge=1, description="prompts of a look")
    monitor_patience: int = Field(
        2,
        ge=1,
        description="looks after gold's best, each below it by more than the margin while the reward is above what it was then, after which the run stops",
    )
    monitor_margin: float = Field(0.1, ge=0, description="in deviations of the gold signal at the start")
    adversarial: int = Field(
        8, ge=0, description="answers kept of each look that the reward model loves and the gold signal does not"
    )


class RlhfEvaluation(Frozen):
    """SFT, RL and RLHF models on prompts that none of them was tuned on."""

    samples: int = Field(2, ge=1, description="answers sampled of each prompt")
    temperature: float = Field(1.0, gt=0)
    max_tokens: int = Field(256, ge=1)
    transcripts: int = Field(8, ge=0)
    device: Annotated[Literal["auto", "cpu", "cuda"], EXECUTION_ONLY] = Field("auto")
    seed: int = Field(1, ge=0)
