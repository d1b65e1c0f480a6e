"""A sampling engine whose tokens are scripted, so that tool calls happen where a test wants them."""

import torch

from llm_assets.model.chat import encode_text
from llm_assets.model.sampling import Engine
from tests.support.small_models import ENCODING, model

SPECIAL = ENCODING.special
END = SPECIAL["<|assistant_end|>"]


def scripted(shape, scripts, monkeypatch):
    """An engine that samples the tokens of the scripts, by sequence and step, and then the end of the turn."""
    import llm_assets.model.sampling as sampling

    engine = Engine(model(shape), ENCODING)
    counts = {}

    def choose(logits, settings, draws):
        rows = engine.rows
        chosen = []
        for sequence in rows:
            place = counts.get(sequence, 0)
            counts[sequence] = place + 1
            script = scripts[sequence]
            chosen.append(script[place] if place < len(script) else END)
        return torch.tensor(chosen)

    monkeypatch.setattr(sampling, "choose", choose)
    engine.rows = list(range(len(scripts)))
    return engine


def call(tool, text):
    """The tokens of a tool call."""
    return [SPECIAL[f"<|{tool}_start|>"], *encode_text(ENCODING, text), SPECIAL[f"<|{tool}_end|>"]]
