"""The demonstrations: small experiments that show one phenomenon each. They are built on demand."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from llm_assets.artifacts.identity import EXECUTION_ONLY

from .frozen import Frozen


class SmallTraining(Frozen):
    """A small transformer that is trained from scratch, and how."""

    layers: int = Field(2, ge=1)
    width: int = Field(64, ge=16)
    heads: int = Field(4, ge=1)
    steps: int = Field(400, ge=1)
    batch_size: int = Field(32, ge=1, description="sequences per step")
    learning_rate: float = Field(3e-3, gt=0, description="AdamW's plateau rate; that of matrices is twice as high")
    induction: bool = Field(True, description="start with an induction head, as `model.induction`")


class Demonstration(Frozen):
    """The settings that every demonstration has."""

    seeds: int = Field(3, ge=1, description="models that are trained per condition, with the seeds 1, 2, …")
    device: Annotated[Literal["auto", "cpu", "cuda"], EXECUTION_ONLY] = Field("auto")


class TokensToThink(Demonstration):
    """Pointer chasing and running sums, asked at once and step by step."""

    hops: int = Field(8, ge=1, le=9, description="problems have 1 to this many hops or additions")
    letters: int = Field(16, ge=11, le=26, description="letters of a circle of pointers; more than hops + 1")
    questions: int = Field(100, ge=1, description="held-out problems per number of hops and seed")
    training: SmallTraining = SmallTraining()


class Demonstrations(Frozen):
    """One section for each asset of the group `demonstrations`."""

    tokens_to_think: TokensToThink = TokensToThink()
