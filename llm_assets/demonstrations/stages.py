"""The demonstrations. None reads another."""

from .tokens_to_think import TOKENS_TO_THINK

STAGES = (TOKENS_TO_THINK,)
