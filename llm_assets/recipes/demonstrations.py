"""The demonstrations: small experiments that show one phenomenon each. They are built on demand."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from llm_assets.artifacts.identity import EXECUTION_ONLY

from .frozen import Frozen


class SmallModel(Frozen):
    """A small transformer that is trained from scratch."""

    layers: int = Field(2, ge=1, description="transformer layers")
    width: int = Field(64, ge=16, description="features per token")
    heads: int = Field(4, ge=1, description="attention heads")
    batch_size: int = Field(32, ge=1, description="sequences per step")
    learning_rate: float = Field(3e-3, gt=0, description="AdamW's plateau rate; that of matrices is twice as high")
    induction: bool = Field(True, description="start with an induction head, as `model.induction`")


class SmallTraining(SmallModel):
    """A small transformer, and the length of its training."""

    steps: int = Field(400, ge=1, description="training steps")


class Demonstration(Frozen):
    """The settings that every demonstration has."""

    seeds: int = Field(3, ge=1, description="models that are trained per condition, with the seeds 1, 2, …")
    device: Annotated[Literal["auto", "cpu", "cuda"], EXECUTION_ONLY] = Field(
        "auto", description="`auto` uses a GPU if there is one"
    )


class TokensToThink(Demonstration):
    """Pointer chasing and running sums, asked at once and step by step."""

    hops: int = Field(8, ge=1, le=9, description="problems have 1 to this many hops or additions")
    letters: int = Field(12, ge=11, le=26, description="letters of a circle of pointers; more than hops + 1")
    questions: int = Field(100, ge=1, description="held-out problems per number of hops and seed")
    training: SmallTraining = Field(SmallTraining(steps=500), description="of models that chase pointers")
    sum_training: SmallTraining = Field(
        SmallTraining(steps=1_000), description="of models that add; the table of sums takes longer to learn"
    )


class InContextLearning(Demonstration):
    """Pages under a rule, and the in-context score of small base models."""

    examples: int = Field(16, ge=1, description="lines before the last one of a page")
    pages: int = Field(200, ge=1, description="held-out pages of each kind per seed")
    training: SmallTraining = Field(SmallTraining(), description="of models that read the pages")
    early_token: int = Field(24, ge=1, description="the score is the loss at `late_token` less that at this token")
    late_token: int = Field(240, ge=2, description="the later of the two tokens")
    window: int = Field(8, ge=1, description="tokens, up to each of the two, whose losses are averaged")
    evaluations: int = Field(8, ge=1, description="of the score over the training, besides that of the untrained model")
    corpus_training: SmallTraining = Field(
        SmallTraining(steps=240, batch_size=8), description="of models that read the corpus, whose score is followed"
    )


class Regurgitation(Demonstration):
    """Pages that are repeated on purpose in a small pretraining run."""

    repetitions: tuple[int, ...] = Field(
        (1, 2, 4, 8, 16, 32, 64), min_length=1, description="how often the pages of a group are trained on"
    )
    pages: int = Field(24, ge=1, description="pages of each group, and of its control group, which is never seen")
    page_tokens: int = Field(160, ge=2, description="tokens of a page, from its beginning; the rest is left out")
    prefix_tokens: int = Field(32, ge=1, description="tokens of a page that the model is given")
    recited_tokens: int = Field(32, ge=1, description="tokens that it must continue word for word")
    model: SmallModel = Field(
        SmallModel(width=128, batch_size=16),
        description="the model that is trained on the corpus with the repeated pages",
    )


class HallucinationMitigations(Frozen):
    """The assistant's questions about facts, answered in five ways by the pipeline's own checkpoints."""

    max_tokens: int = Field(96, ge=1, description="per answer, without the tokens of search results")
    passages: int = Field(50, ge=1, description="passages about an entity in which its answer is looked for")
    device: Annotated[Literal["auto", "cpu", "cuda"], EXECUTION_ONLY] = Field(
        "auto", description="`auto` uses a GPU if there is one"
    )


class LongerSolutions(Demonstration):
    """Reinforcement learning of a policy that works step by step a quarter of the time."""

    hops: int = Field(6, ge=2, le=9, description="pointers lead 1 to this many hops")
    letters: int = Field(12, ge=11, le=26, description="letters of a circle of pointers; more than hops + 1")
    steps_share: float = Field(0.25, gt=0, lt=1, description="share of training solutions that write the steps")
    questions: int = Field(50, ge=1, description="held-out problems per number of hops, seed and evaluation step")
    training: SmallTraining = Field(SmallTraining(), description="of the policy before reinforcement learning")
    rl_steps: int = Field(80, ge=1, description="steps of reinforcement learning")
    prompts: int = Field(16, ge=1, description="problems per step of reinforcement learning")
    samples: int = Field(8, ge=2, description="solutions per problem")
    rl_learning_rate: float = Field(1e-3, gt=0, description="AdamW's plateau rate; that of matrices is twice as high")
    evaluations: int = Field(8, ge=1, description="during reinforcement learning, besides that of the policy before it")


class OverOptimisation(Demonstration):
    """Reward models of few and of many rankings, and how far answers can be optimised by them."""

    rankings: tuple[int, ...] = Field(
        (200, 800, 3_000),
        min_length=1,
        description="rankings that a reward model is fitted to; at most all",
    )
    epochs: float = Field(2.0, gt=0, description="passes over the rankings")
    answers: tuple[int, ...] = Field((1, 2, 4, 8, 16), min_length=1, description="answers that the best is taken of")
    monitored_prompts: int = Field(40, ge=1, description="development prompts whose answers are scored")
    steps: int = Field(150, ge=1, description="steps of reinforcement learning without a penalty on divergence")
    prompts: int = Field(4, ge=1, description="prompts per step")
    samples: int = Field(8, ge=2, description="answers per prompt")
    evaluate_every: int = Field(15, ge=1, description="steps between evaluation steps")


class Demonstrations(Frozen):
    """One section for each asset of the group `demonstrations`."""

    tokens_to_think: TokensToThink = Field(TokensToThink(), description="settings of the asset `tokens_to_think`")
    longer_solutions: LongerSolutions = Field(LongerSolutions(), description="settings of the asset `longer_solutions`")
    in_context_learning: InContextLearning = Field(
        InContextLearning(), description="settings of the asset `in_context_learning`"
    )
    regurgitation: Regurgitation = Field(Regurgitation(), description="settings of the asset `regurgitation`")
    hallucination_mitigations: HallucinationMitigations = Field(
        HallucinationMitigations(), description="settings of the asset `hallucination_mitigations`"
    )
    over_optimisation: OverOptimisation = Field(
        OverOptimisation(), description="settings of the asset `over_optimisation`"
    )
