"""Steps of supervised fine-tuning and of DPO on a model of a published shape: speed, and memory beside the estimate.

    python benchmarks/tuning.py --depth 4 --width 128 --context 256 --vocabulary 2048 --tied --json FILE
    python benchmarks/tuning.py --published qwen3-0.6b --device cuda --json FILE

Weights are random. All weights are trained, or adapters (LoRA) on all matrices; with activation checkpointing and
without. A step of fine-tuning has --sequences packed sequences, of whose tokens half have a loss, and Muon, as the
recipes have it; it is compiled by layers on a GPU. A step of DPO has --pairs pairs of answers, each of an eighth to
three eighths of the context after a prompt of an eighth, and is compiled only where its name says so. Micro-batches
are what should fit, by the estimate that the memory is compared with. MFU counts 6 FLOPs per token and weight, and 4
for a weight that is frozen. Contestants run one after the other, as long as --seconds have not passed. With --save,
fine-tuning of all weights also writes a checkpoint: seconds that the training waits for it, and until it is whole.
"""

from __future__ import annotations

import argparse
import gc
import platform
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from model_shape import add_shape, finish, random_tokens, read_shape

from llm_assets.model import IGNORE
from llm_assets.model.checkpoint import TrainingState
from llm_assets.model.devices import find_device, measured_peak
from llm_assets.model.shape import Adapters, ModelShape
from llm_assets.model.training_memory import MemorySavings, TrainingKind, fitting_micro_batch, training_memory
from llm_assets.model.transformer import Transformer
from llm_assets.training.learner import Execution, Learner, sequence_loss
from llm_assets.training.losses import TargetLosses, token_losses
from llm_assets.training.plan import Optimisation
from llm_assets.training.preference_pairs import AnswerPair, PreferenceLosses, PreferencePairs
from llm_assets.training.processes import Devices
from llm_assets.training.sequences import SequenceSource

USUAL_ANSWERS = 32  # of a micro-batch of `dpo_checkpoint`, at most


@dataclass(frozen=True)
class Contestant:
    """One way to train. checkpointed: with activation checkpointing. compiled: by layers."""

    task: Literal["sft", "dpo"]
    lora: bool
    checkpointed: bool
    compiled: bool

    @property
    def name(self) -> str:
        words = [self.task, "LoRA" if self.lora else "all weights"]
        words += ["activation checkpointing"] if self.checkpointed else []
        return ", ".join(words + (["compiled"] if self.compiled and self.task == "dpo" else []))

    @property
    def is_plain(self) -> bool:
        return self.task == "sft" and not self.lora and not self.checkpointed

    def kind(self, rank: int, half: bool) -> TrainingKind:
        return TrainingKind(
            savings=MemorySavings(self.checkpointed, chunked_logits=True),
            adapters=Adapters(rank, 2.0 * rank) if self.lora else None,
            compiled=self.compiled,
            precision_bytes=2 if half else 4,
        )


class PackedSequences:
    """Random tokens; on average every 600th begins a conversation (id 0), and half of them have a loss."""

    def __init__(self, shape: ModelShape):
        self.shape = shape

    def batch(self, first: int, count: int) -> tuple[np.ndarray, np.ndarray]:
        tokens = random_tokens(self.shape, first, count)
        targets = tokens[:, 1:].copy()
        targets[:, np.arange(self.shape.context) // 32 % 2 == 0] = IGNORE
        return tokens[:, :-1].copy(), targets


def random_pairs(shape: ModelShape, count: int) -> list[AnswerPair]:
    """Pairs of random answers to random prompts."""
    draw, eighth = np.random.default_rng(1), shape.context // 8

    def tokens(length: int) -> list[int]:
        return draw.integers(1, shape.vocabulary, length).tolist()  # type: ignore[no-any-return]

    pairs = []
    for _ in range(count):
        prompt = tokens(eighth)
        answers = [prompt + tokens(int(draw.integers(eighth, 3 * eighth))) for _ in range(2)]
        pairs.append(AnswerPair(*answers, prompt=eighth))
    return pairs


def random_model(shape: ModelShape, device: str) -> Transformer:
    """A model with random weights, made on the device, where drawing them takes no time."""
    with torch.device(device):
        model = Transformer(shape)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim == 2:
                parameter.normal_(0.0, 0.02)
    return model.train()


@dataclass(frozen=True)
class Work:
    """What a contestant trains on. tokens: of a step, without padding. shape: with the longest sequence as context."""

    data: SequenceSource
    losses: TargetLosses
    batch_size: int
    tokens: float
    shape: ModelShape


def work_of(contestant: Contestant, shape: ModelShape, options: argparse.Namespace) -> Work:
    if contestant.task == "sft":
        losses = token_losses(boundary=0)
        return Work(PackedSequences(shape), losses, options.sequences, options.sequences * shape.context, shape)
    pairs = random_pairs(shape, options.pairs)
    reference = np.zeros((len(pairs), 2), np.float32)
    data = PreferencePairs(pairs, reference, shape.context, 1, pairs_per_step=options.pairs)
    lengths = [len(side) for pair in pairs for side in (pair.chosen, pair.rejected)]
    losses = PreferenceLosses("dpo", 0.1)
    return Work(data, losses, 2 * options.pairs, sum(lengths), replace(shape, context=max(lengths)))


def measure(contestant: Contestant, shape: ModelShape, options: argparse.Namespace) -> dict[str, Any]:
    """Medians over the steps after the first two; memory of all."""
    cuda, work = options.device == "cuda", work_of(contestant, shape, options)
    kind = contestant.kind(options.rank, half=cuda)
    memory = torch.cuda.get_device_properties(0).total_memory if cuda else 8 * 10**9
    limit = work.batch_size if contestant.task == "sft" else min(work.batch_size, USUAL_ANSWERS)
    micro_batch_size = options.micro_batch_size or fitting_micro_batch(work.shape, memory, limit, kind)
    if cuda:
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
    held = torch.cuda.memory_allocated() if cuda else 0
    devices = Devices(torch.device(options.device))
    compiled = "layers" if contestant.compiled else False
    learner = Learner(
        random_model(shape, options.device),
        Optimisation(adapters=kind.adapters),
        1_000,
        devices,
        Execution(compiled, kind.savings),
    )
    seconds = []
    for number in range(2 + options.rounds):
        began = now(cuda)
        loss = sequence_loss(work.data, number, work.batch_size, micro_batch_size, devices, work.losses)
        learner.step(number, [loss])
        seconds.append(now(cuda) - began)
    saving = {"saving": save(learner, cuda)} if options.save and contestant.is_plain else {}
    estimate = training_memory(work.shape, micro_batch_size, kind)
    step = statistics.median(seconds[2:])
    return {
        "micro_batch_size": micro_batch_size,
        "step_seconds": round(step, 3),
        "tokens_per_second": round(work.tokens / step, 1),
        "flops_per_second": work.tokens / step * flops_per_token(work.shape, contestant.lora),
        "first_two_steps_seconds": round(sum(seconds[:2]), 1),
        "memory": torch.cuda.max_memory_allocated() - held if cuda else None,
        "estimated_memory": estimate.total,
        "estimated_parts": asdict(estimate),
        **saving,
    }


def save(learner: Learner, cuda: bool) -> dict[str, float]:
    """Write a checkpoint of the training."""
    with tempfile.TemporaryDirectory() as folder:
        began = now(cuda)
        learner.save(Path(folder), TrainingState(1, {}), 1)
        waited = now(cuda) - began
        learner.finish_saving()
        return {
            "training_waits_seconds": round(waited, 3),
            "seconds": round(now(cuda) - began, 3),
            "bytes": sum(path.stat().st_size for path in Path(folder).rglob("*.*")),
        }


def flops_per_token(shape: ModelShape, lora: bool) -> int:
    """As `ModelShape.flops_per_token`; a frozen weight has no gradient, so that it takes 4 FLOPs and not 6."""
    return shape.flops_per_token - (2 * shape.matrix_parameters if lora else 0)


def now(cuda: bool) -> float:
    """The time once the device has done all its work."""
    if cuda:
        torch.cuda.synchronize()
    return time.perf_counter()


def contestants(tasks: list[str], cuda: bool) -> Iterator[Contestant]:
    """What is measured, the most usual first."""
    for checkpointed in (False, True):
        for task in tasks:
            for lora in (False, True):
                yield Contestant(task, lora, checkpointed, compiled=cuda and task == "sft")  # type: ignore[arg-type]
    if cuda and "dpo" in tasks:
        yield Contestant("dpo", lora=False, checkpointed=False, compiled=True)


def run_each(
    chosen: Iterator[Contestant], run: Callable[[Contestant], dict[str, Any]], seconds: float
) -> dict[str, Any]:
    """The figures of each contestant by name; of one that fails, the error; of those without time, nothing."""
    began, results = time.perf_counter(), {}
    for contestant in chosen:
        if time.perf_counter() - began > seconds:
            break
        try:
            results[contestant.name] = run(contestant)
        except RuntimeError as error:  # out of memory, or no compiler for what is compiled
            results[contestant.name] = {"error": f"{type(error).__name__}: {str(error).splitlines()[0]}"}
        gc.collect()
        print(contestant.name, results[contestant.name], flush=True)
    return results


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sequences", type=int, default=32, help="of a step of fine-tuning")
    parser.add_argument("--pairs", type=int, default=16, help="of a step of DPO")
    parser.add_argument("--rank", type=int, default=16, help="of the adapters")
    parser.add_argument("--micro-batch-size", type=int, help="sequences or answers; default: as many as should fit")
    parser.add_argument("--tasks", nargs="+", choices=["sft", "dpo"], default=["sft", "dpo"])
    parser.add_argument("--save", action="store_true", help="write a checkpoint too")
    parser.add_argument("--seconds", type=float, default=600.0, help="after which no contestant begins")
    add_shape(parser)
    parser.add_argument("--json", type=Path, help="write the result to this file")
    options = parser.parse_args()
    shape, cuda = read_shape(options), options.device == "cuda"
    if cuda:
        torch.set_float32_matmul_precision("high")
    name = torch.cuda.get_device_name() if cuda else platform.processor() or platform.machine()
    known = find_device(name)
    peak = known.peak if known else measured_peak()
    results = run_each(
        contestants(options.tasks, cuda), lambda contestant: measure(contestant, shape, options), options.seconds
    )
    for result in results.values():
        if "flops_per_second" in result:
            result["mfu"] = round(result.pop("flops_per_second") / peak, 4)
    settings = ("sequences", "pairs", "rank", "rounds")
    described = {
        "device": name,
        "versions": {"torch": torch.__version__, "python": platform.python_version()},
        "shape": shape.__dict__,
        "parameters": shape.parameters,
        "peak_flops": peak,
        **{setting: getattr(options, setting) for setting in settings},
    }
    finish({**described, "contestants": results}, options.json)


if __name__ == "__main__":
    main()
