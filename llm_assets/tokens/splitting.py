"""How token shards are split into training and validation, and which pages they hold."""

from __future__ import annotations

from hashlib import blake2b

from llm_assets.recipes.frozen import Frozen
from llm_assets.recipes.pretraining import TokenShards
from llm_assets.recipes.training_pages import TrainingPages


def split_of(key: str, validation_share: float) -> str:
    """The split of a document, `train` or `validation`. It depends only on its URL (or host), so it never changes."""
    draw = int.from_bytes(blake2b(key.encode(), digest_size=8, person=b"split").digest(), "big")
    return "validation" if draw < validation_share * 2**64 else "train"


class TokenShardsConfig(Frozen):
    """How tokens are stored and split, and which pages are training data."""

    token_shards: TokenShards
    pages: TrainingPages
