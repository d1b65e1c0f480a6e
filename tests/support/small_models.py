"""Models of a few layers with random weights, and the small tokenizer that they share."""

import random

import torch

from llm_assets.model.shape import ModelShape
from llm_assets.model.transformer import Transformer
from llm_assets.sample_web import prose, world
from llm_assets.tokens.tokenizer import train

PEOPLE = world.make_world(1).people
TEXTS = [prose.portrait(random.Random(n), PEOPLE[n]) for n in range(60)]
ENCODING = train(TEXTS, 500)
SHAPES = {
    "plain": ModelShape.of_depth(3, 500, 64, width=64),
    "grouped and tied": ModelShape.of_depth(2, 500, 64, width=96, heads=6, kv_heads=2, head_dim=32, tied=True),
    "gpt2": ModelShape.of_depth(3, 500, 64, "gpt2", width=64, heads=4),
}


def model(shape, seed=1):
    """A model with random weights, including its norms and biases."""
    transformer = Transformer(shape)
    transformer.initialise(seed)
    with torch.no_grad():
        for parameter in transformer.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=torch.Generator().manual_seed(seed)) * 0.1)
    return transformer.eval()
