"""LoRA: training that changes low-rank adapters in place of the weights (Hu et al., arXiv:2106.09685)."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from .frozen import Frozen

# Layers of the architectures that models are built in or imported from: Qwen3's and Llama's, and GPT-2's.
Layer = Literal["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj", "c_attn", "c_proj", "c_fc"]


class Lora(Frozen):
    """Adapters that are trained, by AdamW, while all weights are frozen. They need no gradient, no optimiser state and
    no copy of the reference for the weights; the checkpoint has the merged weights, and the adapters in peft's format.
    """

    rank: int = Field(16, ge=1, description="rank of each adapter, the product of two thin matrices")
    alpha: float = Field(32.0, gt=0, description="the product is scaled by alpha / rank")
    targets: tuple[Layer, ...] | None = Field(
        None,
        description="layers with adapters; None is all matrices of attention and feed-forward (Dettmers et al., "
        "arXiv:2305.14314, section 4, find that needed to match full fine-tuning)",
    )

    @model_validator(mode="after")
    def _some_target(self) -> Lora:
        if self.targets == ():
            raise ValueError("targets: name at least one layer, or None for all")
        return self
