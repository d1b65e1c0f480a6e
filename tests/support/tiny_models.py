"""A small tokenizer, and models of every kind with random weights."""

import random

import torch

from llm_assets.model.shape import ModelShape
from llm_assets.model.transformer import Transformer
from llm_assets.sample_web import prose, world
from llm_assets.tokens.tokenizer import train

PEOPLE = world.make_world(1).people
TEXTS = [prose.portrait(random.Random(number), PEOPLE[number]) for number in range(60)]
ENCODING = train(TEXTS, 500)
SHAPES = {
    "plain": ModelShape.of_depth(3, 500, 64, width=64),
    "grouped and tied": ModelShape.of_depth(2, 500, 64, width=96, heads=6, kv_heads=2, head_dim=32, tied=True),
    "gpt2": ModelShape.of_depth(3, 500, 64, "gpt2", width=64, heads=4),
}


def initialised_model(shape, seed=1):
    """A model as training starts with it."""
    model = Transformer(shape)
    model.initialise(seed)
    return model


def random_model(shape, seed=1):
    """A model whose weights are all random, including norms and biases."""
    model = initialised_model(shape, seed)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=torch.Generator().manual_seed(seed)) * 0.1)
    return model.eval()
