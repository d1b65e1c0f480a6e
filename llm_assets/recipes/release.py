"""What leaves the house."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from .frozen import Frozen


class ModelExport(Frozen):
    """The assistant in the formats of others."""

    gguf: Literal["f32", "f16"] | None = Field("f16", description="precision of the GGUF file; None writes none")


class Scorecard(Frozen):
    """The page that tells the whole road."""

    prompts: int = Field(
        6, ge=0, description="prompts of each kind whose answers by base, SFT, RL and RLHF stand side by side"
    )
    watts: float = Field(
        0.0,
        ge=0,
        description="power of one device while it trains, for the estimate of energy; 0 takes the GPU's rating, and 15 W a core of a CPU",
    )
