"""Reinforcement learning on problems with checkable answers: the problems, the training and the evaluation."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from llm_assets.artifacts.identity import EXECUTION_ONLY, OMITTED_IF_NONE

from .compute import Compute
from .finetuning import ConversationFile
from .frozen import Frozen
from .lora import Lora
from .rollout_server import RolloutServer


class PracticeProblems(Frozen):
    """Problems to train on, problems of development by which checkpoints are chosen, and problems of the test."""

    families: dict[str, float] = Field(
        {"arithmetic": 2.0, "letters": 1.0, "letters_at_once": 0.5, "spelling": 1.0, "two_hops": 1.0},
        min_length=1,
        description="relative frequencies of the families; name a family of your own as package.module:object "
        "(see evaluation/problems.py)",
    )
    levels: dict[str, tuple[int, ...]] = Field(
        {},
        description="levels to train on by family, counted from 0; all levels of a family that is not named. "
        "Development and the test have problems of every level",
    )
    count: int = Field(4_000, ge=1, description="problems to train on")
    held_out: int = Field(
        40, ge=1, description="problems of each family and level, of development and of the test each"
    )
    word_problems: ConversationFile | None = Field(
        None,
        description="word problems in GSM8K's format (a question, and an answer that ends with #### and the number); "
        "adds the family word_problems",
    )
    seed: int = Field(1, ge=0, description="seed of the generated problems")

    @model_validator(mode="after")
    def _weights(self) -> PracticeProblems:
        if any(weight < 0 for weight in self.families.values()) or not sum(self.families.values()) > 0:
            raise ValueError("practice_problems.families: weights must be at least 0, and not all of them 0")
        return self


class PolicyTuning(Frozen):
    """The settings that RL and RLHF share; the fields are those of `training.plan.PolicyPlan`."""

    steps: int = Field(200, ge=1, description="training steps")
    prompts: int = Field(16, ge=1, description="prompts per step")
    samples: int = Field(8, ge=2, description="answers sampled per prompt: the group that each is compared with")
    max_tokens: int = Field(256, ge=1, description="maximum tokens per answer, without tool-output tokens")
    temperature: float = Field(1.0, gt=0, description="sampling temperature of the answers")
    updates: int = Field(1, ge=1, description="updates per step, from the same answers")
    normalise: bool = Field(
        True, description="divide advantages by the group's standard deviation; False is Dr. GRPO (arXiv:2503.20783)"
    )
    length: Literal["sequence", "tokens", "constant"] = Field(
        "sequence",
        description="weight of a token's loss: one over the length of its sequence (GRPO), equal for all tokens (DAPO, "
        "arXiv:2503.14476), or one over a constant (Dr. GRPO)",
    )
    clip_low: float = Field(
        0.2,
        gt=0,
        lt=1,
        description="how far the ratio of a token's probabilities, new policy to old, may fall below 1 (PPO's clip)",
    )
    clip_high: float = Field(0.2, gt=0, description="how far it may rise above 1; DAPO's clip-higher uses 0.28")
    kl: float = Field(0.02, ge=0, description="weight of the divergence from the initial model")
    replay_weight: float = Field(
        0.0,
        ge=0,
        description="weight of the loss on replayed fine-tuning conversations, which keeps the model from forgetting "
        "other abilities (PPO-ptx of InstructGPT)",
    )
    replay_sequences: int = Field(8, ge=1, description="replayed sequences per step, each as long as the context")
    learning_rate_scale: float = Field(
        0.1, gt=0, le=10, description="plateau learning rates as a multiple of pretraining's"
    )
    weight_decay: float = Field(0.0, ge=0, le=1, description="weight decay of matrices")
    warmup: float = Field(0.05, ge=0, le=0.5, description="share of the steps in which the learning rates rise")
    cooldown: float = Field(0.3, ge=0, le=1, description="share of the steps in which the learning rates fall")
    compute: Annotated[Compute, EXECUTION_ONLY] = Field(Compute(), description="devices, memory and checkpoints")
    seed: int = Field(1, ge=0, description="seed of the order of prompts, and of sampled answers")
    lora: Annotated[Lora | None, OMITTED_IF_NONE] = Field(
        None, description="train low-rank adapters in place of all weights; None trains all weights"
    )
    redraws: Annotated[int | None, OMITTED_IF_NONE] = Field(
        None,
        ge=1,
        le=100,
        description="dynamic sampling (DAPO, arXiv:2503.14476): how many times per step the prompts whose answers all "
        "earned the same, which teach nothing, are replaced by the next ones; None replaces none",
    )
    minibatches: Annotated[int | None, OMITTED_IF_NONE] = Field(
        None,
        ge=2,
        description="parts of a step's prompts, each of which is an update; must divide `prompts`. None takes all "
        "prompts at once. `updates` repeats all parts",
    )
    server: Annotated[RolloutServer | None, OMITTED_IF_NONE] = Field(
        None, description="server that samples the answers; None samples them in the training process"
    )

    @model_validator(mode="after")
    def _divides(self) -> PolicyTuning:
        if self.prompts % (self.minibatches or 1):
            raise ValueError(f"minibatches: {self.prompts} prompts cannot be divided into {self.minibatches}")
        if self.redraws and getattr(self, "rewards", "earned") == "none":
            raise ValueError('redraws: with rewards="none" all answers earn the same, so that every prompt is redrawn')
        return self


class Reinforcement(PolicyTuning):
    """GRPO (DeepSeekMath, arXiv:2402.03300) with its common variants."""

    accuracy_reward: float = Field(1.0, ge=0, description="reward of a right answer")
    format_reward: float = Field(
        0.1, ge=0, description="reward of a solution that ends by itself, without malformed or failed tool calls"
    )
    rewards: Literal["earned", "shuffled", "none"] = Field(
        "earned",
        description="controls that show what the rewards add: shuffled gives the rewards of a problem's solutions to "
        "its solutions in random order; none rewards nothing, so that only the replayed conversations train",
    )
    evaluate_every: int = Field(
        20, ge=0, description="steps between evaluation steps on development problems; 0 never evaluates"
    )
    evaluation_problems: int = Field(200, ge=1, description="development problems per evaluation step")
    patience: int = Field(
        3,
        ge=0,
        description="consecutive evaluation steps more than `margin` below the best after which the training stops as "
        "collapsed; the best weights are kept",
    )
    margin: float = Field(
        0.1,
        ge=0,
        le=1,
        description="how far below the best an evaluation step must be to count for `patience`, as a share of problems",
    )
    transcripts: int = Field(4, ge=0, description="solutions of development problems stored per evaluation step")


class RlEvaluation(Frozen):
    """Evaluation of the base, SFT and RL models on test problems."""

    problems: int = Field(40, ge=1, description="test problems of each family and level")
    samples: int = Field(8, ge=1, description="solutions sampled per problem, for pass@k")
    temperature: float = Field(1.0, gt=0, description="sampling temperature of the solutions")
    max_tokens: int = Field(256, ge=1, description="maximum tokens per solution, without tool-output tokens")
    transcripts: int = Field(4, ge=0, description="problems per family and level whose solutions the report shows")
    device: Annotated[Literal["auto", "cpu", "cuda"], EXECUTION_ONLY] = Field(
        "auto", description="`auto` uses a GPU if there is one"
    )
    seed: int = Field(1, ge=0, description="seed of sampled solutions")
