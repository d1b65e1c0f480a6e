"""The policy that preference tuning starts from, and the two ways to tune it."""

from __future__ import annotations

from typing import Any

from llm_assets.artifacts import Artifact, Inputs

POLICY = "rl_checkpoint"
SUBSTITUTES = {POLICY: "sft_checkpoint"}  # the policy of a recipe without reinforcement learning


def policy_of(inputs: Inputs) -> Artifact:
    """The policy whose answers are ranked, and which is tuned: the RL model, or else the SFT model."""
    return inputs.artifact(POLICY if POLICY in inputs else SUBSTITUTES[POLICY])


def without_rlhf(recipe: Any) -> str | None:
    """Why a recipe is built without RLHF; None if it tunes the policy by it."""
    return "the recipe tunes by DPO (preference_tuning)" if recipe.preference_tuning == "dpo" else None
