"""Training runs of a tiny policy in this process, with a reward that it learns in a few steps."""

import json

import torch

from llm_assets.model.sampling import Engine
from llm_assets.model.shape import ModelShape
from llm_assets.training.plan import Optimisation, PolicyPlan
from llm_assets.training.policy import PolicyEvaluation, PolicyTask, PolicyTrainer, Reward, prompt_place
from llm_assets.training.processes import Devices, TrainingProcess
from tests.support.tiny_models import ENCODING, initialised_model

CPU = Devices(torch.device("cpu"))
SHAPE = ModelShape.of_depth(2, ENCODING.size, 32, width=32)
STOP = ENCODING.special["<|assistant_end|>"]
LOW = ENCODING.size // 5


def ignore_reports(kind, **values):
    pass


def reward_low_tokens(numbers, completions):
    """A reward for every token of the vocabulary's first fifth."""
    rewards = []
    for completion in completions:
        first_is_low = bool(completion.tokens) and completion.tokens[0] < LOW
        low = sum(token < LOW for token in completion.tokens)
        rewards.append(Reward(low / 6, {"low": float(first_is_low)}))
    return rewards


def policy_plan(**changes):
    """Twelve steps of four prompts with eight completions each."""
    optimisation = Optimisation(
        learning_rate=1e-2, matrix_learning_rate=1e-2, weight_decay=0.0, warmup=0.0, cooldown=0.0
    )
    usual = {
        "steps": 12,
        "prompts": 4,
        "samples": 8,
        "max_tokens": 6,
        "micro_batch_size": 16,
        "kl": 0.0,
        "optimisation": optimisation,
        "seed": 1,
    }
    return PolicyPlan(**{**usual, **changes})


def policy_trainer(
    folder, reward=reward_low_tokens, report=ignore_reports, evaluate=None, why_stop=None, replay=None, **changes
):
    """A trainer in `folder`. evaluate, why_stop: of a PolicyEvaluation. changes: of the plan."""
    folder.mkdir(exist_ok=True)
    prompts = [ENCODING.document(text) for text in ("one", "two", "three", "four", "five")]
    evaluation = None
    if evaluate is not None:
        evaluation = PolicyEvaluation(evaluate, why_stop) if why_stop else PolicyEvaluation(evaluate)
    return PolicyTrainer(
        Engine(initialised_model(SHAPE), ENCODING),
        policy_plan(**changes),
        TrainingProcess(folder, CPU, report),
        PolicyTask(lambda number: prompts[prompt_place(number, 5, 1)], reward, replay=replay),
        evaluation,
    )


def read_curve(folder):
    return [json.loads(line) for line in (folder / "curve.jsonl").read_text().splitlines()]
