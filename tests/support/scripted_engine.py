"""A sampling engine whose tokens come from scripts, so that tests decide when a model calls a tool."""

import torch

from llm_assets.model.chat import encode_text
from llm_assets.model.decoding import Decoder
from llm_assets.model.sampling import Engine
from tests.support.tiny_models import ENCODING, random_model

SPECIAL = ENCODING.special
END = SPECIAL["<|assistant_end|>"]


def scripted_engine(shape, scripts, monkeypatch):
    """An engine that samples the tokens of `scripts`, one script per sequence, and then the end of the turn."""
    positions = dict.fromkeys(range(len(scripts)), 0)

    def choose(decoder):
        chosen = []
        for sequence in (row.sequence for row in decoder.rows):
            script, position = scripts[sequence], positions[sequence]
            positions[sequence] += 1
            chosen.append(script[position] if position < len(script) else END)
        return torch.tensor(chosen)

    monkeypatch.setattr(Decoder, "_choose", choose)
    return Engine(random_model(shape), ENCODING)


def call_tokens(tool, text, encoding=ENCODING):
    """A tool call, from its start token to its end token."""
    special = encoding.special
    return [special[f"<|{tool}_start|>"], *encode_text(encoding, text), special[f"<|{tool}_end|>"]]
