"""Preference tuning: answers to open prompts, rankings of them, a reward model, and a policy tuned to it."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from llm_assets.artifacts.identity import EXECUTION_ONLY

from .compute import Compute
from .finetuning import ConversationFile
from .frozen import Frozen
from .lora import Lora
from .reinforcement import PolicyTuning


class ResponsePairs(Frozen):
    """Open prompts, several answers to each, and pairs of answers to rank."""

    prompts: int = Field(
        1_000,
        ge=1,
        description="number of prompts, drawn by seed, on which the reward model and the policy are tuned",
    )
    development: int = Field(
        100,
        ge=1,
        description="number of prompts, about other subjects in other wordings, of the over-optimisation monitor",
    )
    test: int = Field(
        100, ge=1, description="number of prompts, about again other subjects in other wordings, that only reports use"
    )
    fictitious_share: float = Field(
        0.07,
        ge=0,
        lt=1,
        description="share of the prompts that are about fictitious entities, as far as there are names; the best "
        "answer to them is a refusal",
    )
    files: tuple[ConversationFile, ...] = Field(
        (), description="your own prompts: the first user message of each conversation"
    )
    samples: int = Field(4, ge=2, description="answers sampled per prompt")
    pairs: int = Field(3, ge=1, description="maximum pairs of different answers per prompt")
    temperature: float = Field(1.0, gt=0, description="sampling temperature of the answers")
    max_tokens: int = Field(256, ge=1, description="maximum tokens per answer")
    device: Annotated[Literal["auto", "cpu", "cuda"], EXECUTION_ONLY] = Field(
        "auto", description="auto is a GPU where there is one"
    )
    seed: int = Field(1, ge=0, description="seed of the selection of prompts, and of sampled answers")

    @model_validator(mode="after")
    def _unweighted(self) -> ResponsePairs:
        unused = [file.name for file in self.files if file.repeat is not None or file.share is not None]
        if unused:
            raise ValueError(f"files: {unused[0]} has repeat or share, which only files of the mixture have")
        return self


class RankingFile(Frozen):
    """A file of rankings: those of `llm-assets rank`, or preference data in one of the layouts in common use."""

    path: Annotated[str, EXECUTION_ONLY] = Field(
        description="JSONL (also .gz and .zst) or Parquet, with the columns question, first, second, preferred (first, "
        "second or tie) and labeller; chosen and rejected, with or without prompt (DPO, HH); or prompt, completion and "
        "label (KTO). The file's content is part of the identity"
    )
    name: str = Field(min_length=1, pattern=r"^[A-Za-z0-9_.-]+$", description="its name in the table of rankings")


class SimulatedLabeller(Frozen):
    """Stands in for people at laptop scale: the labelling rule (preference/labelling_rule.py), with noise.

    Its rankings are marked as simulated wherever they appear.
    """

    share: float = Field(
        0.4, gt=0, le=1, description="share of the pairs that it ranks, by hash, since people rank few"
    )
    again: float = Field(
        0.2,
        ge=0,
        le=1,
        description="share of the ranked pairs that a second labeller of the same rule ranks too, to measure agreement",
    )
    noise: float = Field(0.4, ge=0, description="scale of the logistic noise on a difference of scores")
    tie: float = Field(0.25, ge=0, description="difference of scores up to which two answers are a tie")
    seed: int = Field(1, ge=0, description="seed of the noise")


class HumanRankings(Frozen):
    """The sources of rankings. The subject of a ranking decides its split, as that of a prompt."""

    files: tuple[RankingFile, ...] = Field((), description="rankings by people, or published ones")
    # Not in the identity, which has the journals themselves, and so is as before for a data folder without votes.
    votes: Annotated[bool | None, EXECUTION_ONLY] = Field(
        None,
        description="whether the votes in the data folder count, of `llm-assets rank` and of the page: None counts "
        "them beside files or the simulated labeller, True also by themselves. The votes are part of the identity",
    )
    simulated: SimulatedLabeller | None = Field(None, description="None takes only rankings by people")
    gold: float = Field(
        0.25,
        gt=0,
        lt=1,
        description="share of the training subjects reserved for the over-optimisation monitor: a second reward model "
        "is fitted to their rankings, unless the labeller is simulated; the monitor then uses its rule, with the "
        "ground truth of the corpus if it has one",
    )

    @model_validator(mode="after")
    def _distinct(self) -> HumanRankings:
        if len({file.name for file in self.files}) != len(self.files):
            raise ValueError("human_rankings.files: two files have the same name")
        return self


class PairTraining(Frozen):
    """The settings that the reward model's training and DPO share."""

    epochs: float = Field(1.0, gt=0, le=100, description="passes over the pairs")
    pairs: int = Field(16, ge=1, description="pairs per step")
    learning_rate_scale: float = Field(
        0.1, gt=0, le=10, description="plateau learning rates as a multiple of pretraining's"
    )
    weight_decay: float = Field(0.0, ge=0, le=1, description="weight decay of matrices")
    warmup: float = Field(0.05, ge=0, le=0.5, description="share of the steps in which the learning rates rise")
    cooldown: float = Field(0.5, ge=0, le=1, description="share of the steps in which the learning rates fall")
    validation_runs: int = Field(4, ge=0, description="evaluations of the development pairs, evenly over the run")
    seed: int = Field(1, ge=0, description="seed of the order of pairs")
    compute: Annotated[Compute, EXECUTION_ONLY] = Field(
        Compute(),
        description="a sequence is one answer, so the micro-batch size is even: two answers per pair",
    )

    @model_validator(mode="after")
    def _whole_pairs(self) -> PairTraining:
        if self.compute.micro_batch_size % 2:
            raise ValueError(
                f"compute.micro_batch_size {self.compute.micro_batch_size}: must be even, as each pair has two answers"
            )
        return self


class RewardTraining(PairTraining):
    """Training of the reward model: the SFT model with a scalar head, fitted with the Bradley-Terry loss."""

    epochs: float = Field(
        1.0,
        gt=0,
        le=100,
        description="passes over the pairs (InstructGPT takes one, since more overfit; arXiv:2203.02155, appendix C.2)",
    )


class Dpo(PairTraining):
    """Direct preference optimisation (Rafailov et al., arXiv:2305.18290): the policy is trained on the rankings
    themselves, without a reward model and without sampling.
    """

    loss: Literal["dpo", "dpo_norm", "ipo"] = Field(
        "dpo",
        description="dpo compares log-probabilities of whole answers; dpo_norm their means over tokens, so that length "
        "alone earns nothing (Tülu 3, arXiv:2411.15124); ipo gives those means a target margin, so that pairs that all "
        "labellers rank alike are not overfitted (Azar et al., arXiv:2310.12036)",
    )
    beta: float = Field(
        0.1,
        gt=0,
        description="weight of the divergence from the initial policy: the smaller, the further the policy may move. "
        "Tülu 3 uses 5 with dpo_norm; for ipo it is the paper's tau, and the target margin is 1 / (2 beta) nats per "
        "token",
    )
    learning_rate_scale: float = Field(
        0.05, gt=0, le=10, description="plateau learning rates as a multiple of pretraining's"
    )
    lora: Lora | None = Field(
        None, description="train low-rank adapters in place of all weights; None trains all weights"
    )


class Rlhf(PolicyTuning):
    """Optimisation of the policy against the reward model."""

    length: Literal["sequence", "tokens", "constant"] = Field(
        "tokens", description="weight of a token's loss, as `reinforcement.length`"
    )
    kl: float = Field(0.05, ge=0, description="weight of the divergence from the initial policy")
    cooldown: float = Field(0.0, ge=0, le=1, description="share of the steps in which the learning rates fall")
    unfinished_reward: float = Field(
        -2.0,
        le=0,
        description="maximum reward of an unfinished answer, in standard deviations of the reward model's scores",
    )
    evaluate_every: int = Field(10, ge=1, description="steps between evaluation steps of the over-optimisation monitor")
    monitor_prompts: int = Field(100, ge=1, description="development prompts per evaluation step of the monitor")
    monitor_patience: int = Field(
        2,
        ge=1,
        description="stop after this many consecutive evaluation steps at which gold is more than the margin below its "
        "peak while the reward is above its value at that peak",
    )
    monitor_margin: float = Field(0.1, ge=0, description="in standard deviations of the gold signal at the start")
    adversarial: int = Field(
        8,
        ge=0,
        description="answers to training prompts stored per evaluation step that score high with the reward model but "
        "low with gold, to be ranked for the next round",
    )


class RlhfEvaluation(Frozen):
    """Evaluation of the SFT, RL and RLHF models on test prompts."""

    samples: int = Field(2, ge=1, description="answers sampled per prompt")
    temperature: float = Field(1.0, gt=0, description="sampling temperature of the answers")
    max_tokens: int = Field(256, ge=1, description="maximum tokens per answer")
    transcripts: int = Field(8, ge=0, description="prompts whose answers the report shows side by side")
    device: Annotated[Literal["auto", "cpu", "cuda"], EXECUTION_ONLY] = Field(
        "auto", description="`auto` uses a GPU if there is one"
    )
    seed: int = Field(1, ge=0, description="seed of sampled answers")
