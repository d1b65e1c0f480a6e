"""Practice on problems with checkable answers: which problems, and how the policy learns from them."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from llm_assets.artifacts.identity import EXECUTION_ONLY

from .compute import Compute
from .finetuning import ConversationFile
from .frozen import Frozen


class PracticeProblems(Frozen):
    """Problems to practise on, and others to be measured by."""

    families: dict[str, float] = Field(
        {"arithmetic": 2.0, "letters": 1.0, "letters_at_once": 0.5, "spelling": 1.0, "two_hops": 1.0},
        min_length=1,
        description="how often a problem is of each family; one of your own as package.module:object (see reinforcement/problems.py)",
    )
    levels: dict[str, tuple[int, ...]] = Field(
        {},
        description="levels that are practised on, counted from 0, by family; all of a family that is not named. Held out are problems of every level",
    )
    count: int = Field(4_000, ge=1, description="problems to practise on")
    held_out: int = Field(40, ge=1, description="problems of each family and level that are never practised on")
    stories: ConversationFile | None = Field(
        None,
        description="word problems in GSM8K's format (question, and an answer that ends with #### and the number); adds the family stories",
    )
    seed: int = Field(1, ge=0)

    @model_validator(mode="after")
    def _weights(self) -> PracticeProblems:
        if any(weight < 0 for weight in self.families.values()) or not sum(self.families.values()) > 0:
            raise ValueError("practice_problems.families: weights are 0 or above, and not all 0")
        return self


class PolicyTuning(Frozen):
    """What practice and RLHF have in common; the fields are those of `model.policy.PolicyPlan`."""

    steps: int = Field(200, ge=1)
    prompts: int = Field(16, ge=1, description="prompts of a step")
    samples: int = Field(8, ge=2, description="answers sampled of each: the group that an answer is compared with")
    max_tokens: int = Field(256, ge=1, description="of an answer; what tools say is not counted")
    temperature: float = Field(1.0, gt=0)
    updates: int = Field(1, ge=1, description="updates from the answers of one step")
    normalise: bool = Field(
        True, description="divide advantages by the group's deviation; False is Dr. GRPO (arXiv:2503.20783)"
    )
    length: Literal["sequence", "tokens", "constant"] = Field(
        "sequence",
        description="what a token counts: by its sequence's length (GRPO), all alike (DAPO, arXiv:2503.14476), or by a constant (Dr. GRPO)",
    )
    clip_low: float = Field(0.2, gt=0, lt=1)
    clip_high: float = Field(0.2, gt=0, description="DAPO's clip-higher has 0.28")
    kl: float = Field(0.02, ge=0, description="weight of the divergence from the model that it sets out from")
    replay_weight: float = Field(
        0.0,
        ge=0,
        description="weight of the loss on conversations of the fine-tuning, so that what is not practised is not forgotten (InstructGPT's PPO-ptx)",
    )
    replay_sequences: int = Field(8, ge=1, description="rows of these in a step, each as long as the context")
    learning_rate_scale: float = Field(
        0.1, gt=0, le=10, description="plateau learning rates as a multiple of pretraining's"
    )
    weight_decay: float = Field(0.0, ge=0, le=1)
    warmup: float = Field(0.05, ge=0, le=0.5)
    cooldown: float = Field(0.3, ge=0, le=1)
    compute: Annotated[Compute, EXECUTION_ONLY] = Compute(micro_batch_size=64, compile=False)
    seed: int = Field(1, ge=0)


class Reinforcement(PolicyTuning):
    """GRPO (DeepSeekMath, arXiv:2402.03300) with its common variants."""

    accuracy_reward: float = Field(1.0, ge=0, description="of a right answer")
    format_reward: float = Field(
        0.1, ge=0, description="of a solution that ends by itself, with no malformed or failed call"
    )
    evaluate_every: int = Field(
        20, ge=0, description="steps between measurements on held-out problems; 0 never measures"
    )
    evaluation_problems: int = Field(200, ge=1, description="held-out problems of a measurement")
    patience: int = Field(
        3,
        ge=0,
        description="measurements in a row below the best by more than `margin` after which it stops as collapsed; the best is kept",
    )
    margin: float = Field(0.1, ge=0, le=1)
    transcripts: int = Field(4, ge=0, description="held-out solutions kept of each measurement")


class RlEvaluation(Frozen):
    """Base, SFT and RL models on held-out problems."""

    problems: int = Field(40, ge=1, description="of each family and level")
    samples: int = Field(8, ge=1, description="solutions of each problem, for pass@k")
    temperature: float = Field(1.0, gt=0)
    max_tokens: int = Field(256, ge=1)
    transcripts: int = Field(4, ge=0)
    device: Annotated[Literal["auto", "cpu", "cuda"], EXECUTION_ONLY] = Field("auto")
    seed: int = Field(1, ge=0)
