"""Seconds and memory of a step of reinforcement learning: sampling the completions, and learning from them.

    python benchmarks/policy_step.py --depth 4 --width 128 --context 256 --vocabulary 2048 --tied --json FILE
    python benchmarks/policy_step.py --depth 12 --device cuda --prompts 64 --samples 16 --json FILE

The policy has random weights, so that it hardly ever ends a completion: every step samples and learns from about
prompts x samples x tokens tokens, whatever the state of the code. With --mean-length, so many ids end a completion that
lengths are distributed geometrically, as those of problems of different difficulty are. The reward is the share of even
ids. Updates are those of `rl_checkpoint`: GRPO with a reference model, without replay.
"""

from __future__ import annotations

import argparse
import platform
import statistics
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from model_shape import add_shape, finish, read_shape

from llm_assets.model.encoding import SPECIAL_TOKENS, Encoding
from llm_assets.model.sampling import Completion, Engine
from llm_assets.model.shape import ModelShape
from llm_assets.model.transformer import Transformer
from llm_assets.training.plan import PolicyPlan
from llm_assets.training.policy import PolicyTask, PolicyTrainer, Reward
from llm_assets.training.processes import Devices, TrainingProcess
from llm_assets.training.rollouts import EngineSampler, Rollout


def stand_in_encoding(vocabulary: int) -> Encoding:
    """An encoding with that many ids; its tokens are never read."""
    return Encoding("none", ".", {number.to_bytes(4): number for number in range(vocabulary - len(SPECIAL_TOKENS))})


def reward_even_ids(numbers: Sequence[int], completions: Sequence[Completion]) -> list[Reward]:
    """The share of even ids in each completion."""
    return [Reward(sum(token % 2 == 0 for token in c.tokens) / max(1, len(c.tokens))) for c in completions]


class TimedTrainer(PolicyTrainer):
    """Measures what sampling takes of a step. rollouts: seconds, tokens and peak memory of each."""

    def __init__(self, *values: Any):
        super().__init__(*values)
        self.rollouts: list[tuple[float, int, int]] = []

    def rollout(self, step: int) -> Rollout:
        if self.devices.cuda:
            torch.cuda.reset_peak_memory_stats()
        began = self.now()
        rollout = super().rollout(step)
        tokens = sum(completion.own_length for completion in rollout.completions)
        self.rollouts.append((self.now() - began, tokens, self.devices.peak_memory()))
        if self.devices.cuda:
            torch.cuda.reset_peak_memory_stats()
        return rollout

    def now(self) -> float:
        """The time once the device has done all its work."""
        if self.devices.cuda:
            torch.cuda.synchronize()
        return time.perf_counter()


def make_trainer(shape: ModelShape, options: argparse.Namespace, folder: Path) -> TimedTrainer:
    """A trainer of a policy with random weights, as `rl_checkpoint` makes one: the engine comes before the device."""
    model = Transformer(shape)
    model.initialise(1)
    engine = Engine(model, stand_in_encoding(shape.vocabulary))
    prompts = torch.randint(0, 256, (options.prompts, options.prompt), generator=torch.Generator().manual_seed(1))
    plan = PolicyPlan(
        options.rounds + 1, options.prompts, options.samples, options.tokens, micro_batch_size=options.micro_batch_size
    )
    process = TrainingProcess(folder, Devices(torch.device(options.device)), lambda kind, **values: None)
    task = PolicyTask(lambda number: prompts[number % options.prompts].tolist(), reward_even_ids)
    trainer = TimedTrainer(engine, plan, process, task)
    if options.mean_length:
        stops = tuple(range(shape.vocabulary // options.mean_length))
        trainer.sampler = EngineSampler(engine, plan, stops, task.tools)
    return trainer


def measure(trainer: TimedTrainer, rounds: int) -> dict[str, Any]:
    """Medians over the steps after the first."""
    steps, memory = [], []
    for step in range(rounds + 1):
        began = trainer.now()
        trainer.update(step)
        steps.append(trainer.now() - began)
        memory.append(trainer.devices.peak_memory())
    rollouts = trainer.rollouts[1:]
    seconds = statistics.median(seconds for seconds, _, _ in rollouts)
    return {
        "step_seconds": round(statistics.median(steps[1:]), 3),
        "rollout_seconds": round(seconds, 3),
        "update_seconds": round(statistics.median(steps[1:]) - seconds, 3),
        "sampled_tokens_per_second": round(statistics.median(tokens / time for time, tokens, _ in rollouts), 1),
        "rollout_memory": max(memory for _, _, memory in rollouts) if trainer.devices.cuda else None,
        "update_memory": max(memory[1:]) if trainer.devices.cuda else None,
        "tokens": statistics.median(tokens for _, tokens, _ in rollouts),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--prompts", type=int, default=16, help="prompts of a step")
    parser.add_argument("--samples", type=int, default=8, help="completions of each prompt")
    parser.add_argument("--prompt", type=int, default=64, help="tokens of each prompt")
    parser.add_argument("--tokens", type=int, default=128, help="tokens of each completion, at most")
    parser.add_argument("--mean-length", type=int, help="of completions without a limit, in tokens; default: no end")
    parser.add_argument("--micro-batch-size", type=int, default=64, help="completions of each backward pass")
    add_shape(parser)
    parser.add_argument("--json", type=Path, help="write the result to this file")
    options = parser.parse_args()
    shape, cuda = read_shape(options), options.device == "cuda"
    if cuda:
        torch.set_float32_matmul_precision("high")
    with tempfile.TemporaryDirectory() as folder:
        measured = measure(make_trainer(shape, options, Path(folder)), options.rounds)
    settings = ("prompts", "samples", "prompt", "micro_batch_size", "rounds")
    result = {
        "device": torch.cuda.get_device_name() if cuda else platform.processor() or platform.machine(),
        "versions": {"torch": torch.__version__, "python": platform.python_version()},
        "shape": shape.__dict__,
        "parameters": shape.parameters,
        **{name: getattr(options, name) for name in settings},
        "max_tokens": options.tokens,
        "mean_length": options.mean_length,
        **measured,
    }
    finish(result, options.json)


if __name__ == "__main__":
    main()
