"""The stages of tokens, upstream first."""

from .token_shards import TOKEN_SHARDS
from .tokenizer import TOKENIZER

STAGES = (TOKENIZER, TOKEN_SHARDS)
