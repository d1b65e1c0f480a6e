"""Tokens: the byte-level BPE tokenizer, and the token shards that training reads."""
