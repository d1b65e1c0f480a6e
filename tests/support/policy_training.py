"""A policy that trains in seconds on a reward that is easy to learn: tokens of the vocabulary's first fifth."""

import json

import torch

from llm_assets.model.sampling import Engine
from llm_assets.model.shape import ModelShape
from llm_assets.model.transformer import Transformer
from llm_assets.training.loop import Devices
from llm_assets.training.plan import Optimisation, PolicyPlan
from llm_assets.training.policy import PolicyTrainer, Reward, drawn
from tests.support.small_models import ENCODING

CPU = Devices(torch.device("cpu"))
SHAPE = ModelShape.of_depth(2, ENCODING.size, 32, width=32)
STOP = ENCODING.special["<|assistant_end|>"]
LOW = ENCODING.size // 5


def likes_low(numbers, completions):
    """A reward for every token of the vocabulary's first fifth."""
    rewards = []
    for completion in completions:
        starts_low = bool(completion.tokens) and completion.tokens[0] < LOW
        rewards.append(Reward(sum(token < LOW for token in completion.tokens) / 6, {"low": float(starts_low)}))
    return rewards


def plan(**changes):
    """A plan of 12 steps, with these fields changed."""
    return PolicyPlan(
        **{
            "steps": 12,
            "prompts": 4,
            "samples": 8,
            "max_tokens": 6,
            "micro_batch_size": 16,
            "kl": 0.0,
            "optimisation": Optimisation(
                learning_rate=1e-2, matrix_learning_rate=1e-2, weight_decay=0.0, warmup=0.0, cooldown=0.0
            ),
            "seed": 1,
            **changes,
        }
    )


def trainer(folder, model=None, reward=likes_low, report=lambda kind, **values: None, **changes):
    """A trainer of `model`, or of a new one, on five prompts. changes: fields of its plan, or the trainer's options."""
    if model is None:
        model = Transformer(SHAPE)
        model.initialise(1)
    evaluation, judge, replay = (changes.pop(name, None) for name in ("evaluation", "judge", "replay"))
    folder.mkdir(exist_ok=True)
    prompts = [ENCODING.document(text) for text in ("one", "two", "three", "four", "five")]
    return PolicyTrainer(
        model,
        Engine(model, ENCODING),
        plan(**changes),
        folder,
        CPU,
        report,
        lambda number: prompts[drawn(number, 5, 1)],
        reward,
        evaluation,
        stop=STOP,
        judge=judge,
        replay=replay,
    )


def curve(folder):
    """The recorded steps of a training."""
    return [json.loads(line) for line in (folder / "curve.jsonl").read_text().splitlines()]
