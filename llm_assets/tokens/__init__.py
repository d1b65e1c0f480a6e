"""Tokens: the byte-level BPE tokenizer, token shards, and the loader that training reads them with."""
