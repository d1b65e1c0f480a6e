"""The scorecard and the exported model."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from .frozen import Frozen


class ModelExport(Frozen):
    """The final model in formats that other tools read."""

    gguf: Literal["f32", "f16"] | None = Field("f16", description="precision of the GGUF file; None writes none")
    license: str | None = Field(
        None, description="license of the model as Hugging Face names it (apache-2.0, cc-by-4.0, …); None is unknown"
    )


class Scorecard(Frozen):
    """The HTML page that summarises the whole pipeline."""

    prompts: int = Field(
        6, ge=0, description="prompts of each kind that the base, SFT, RL and RLHF models answer side by side"
    )
    watts: float = Field(
        0.0,
        ge=0,
        description="power of one device during training, for the energy estimate; 0 uses the GPU's rated power, or "
        "15 W per CPU core",
    )
