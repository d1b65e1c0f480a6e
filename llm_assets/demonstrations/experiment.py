"""How every demonstration runs a small experiment: one run per condition and seed, each with a small model.

A finished run is kept in a file, so that an interrupted step continues with the next run.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from llm_assets.compute.process import Reporter
from llm_assets.model import IGNORE
from llm_assets.model.checkpoint import STATE, steps_saved
from llm_assets.model.encoding import ENDS_TURN, GPT2_PATTERN, Encoding
from llm_assets.model.sampling import Completion, Engine, Sampling
from llm_assets.model.shape import ModelShape
from llm_assets.model.transformer import Transformer
from llm_assets.training.loop import Hooks, train
from llm_assets.training.plan import Optimisation, TrainingPlan
from llm_assets.training.processes import Devices, TrainingProcess
from llm_assets.training.sequences import SequenceSource, TrainingError

from .jobs import SmallTraining

HEAD_ROPE_THETA = 1_000_000.0  # leaves an induction head enough slow rotary pairs, as the laptop's recipe does


def byte_encoding() -> Encoding:
    """An encoding with one token per byte, and the special tokens."""
    return Encoding("bytes", GPT2_PATTERN, {bytes([byte]): byte for byte in range(256)})


def quiet(kind: str, **values: Any) -> None:
    """A Reporter for training within an experiment, whose curve nobody reads."""


def observation(figure: str, series: str, x: float, seed: int, values: ArrayLike) -> dict[str, Any]:
    """What was observed of a figure: one value per question, for the place `x` of a series and one seed.

    values: numbers, or whether something is so, of which the figure is the share.
    """
    return {"figure": figure, "series": series, "x": x, "seed": seed, "values": np.asarray(values).tolist()}


def example(series: str, seed: int, prompt: str, text: str, expected: str = "") -> dict[str, Any]:
    """A row of the table Examples."""
    return {"series": series, "seed": seed, "prompt": prompt, "text": text, "expected": expected}


@dataclass(frozen=True)
class Run:
    """One run of an experiment. folder: its own. devices: where its models are trained."""

    condition: str
    seed: int
    folder: Path
    devices: Devices


Findings = dict[str, list[dict[str, Any]]]  # observations and examples


def run_all(
    folder: Path,
    report: Reporter,
    devices: Devices,
    conditions: Sequence[str],
    seeds: int,
    measure: Callable[[Run], Findings],
) -> Findings:
    """The findings of all runs: `measure` for each condition with the seeds 1 to `seeds`, unless it is done already."""
    together: Findings = {"observations": [], "examples": []}
    runs = [(condition, seed) for condition in conditions for seed in range(1, seeds + 1)]
    for number, (condition, seed) in enumerate(runs):
        report("task", name=f"{condition}, seed {seed}", number=number, of=len(runs))
        place = folder / "runs" / f"{number:03d}"
        finished = place / "findings.json"
        if not finished.exists():
            place.mkdir(parents=True, exist_ok=True)
            findings = measure(Run(condition, seed, place, devices))
            temporary = place / ".findings.tmp"
            temporary.write_text(json.dumps(findings))
            os.replace(temporary, finished)
        for kind, rows in json.loads(finished.read_text()).items():
            together[kind] += rows
    return together


def small_shape(training: SmallTraining, vocabulary: int, context: int) -> ModelShape:
    """The shape of a small model. Raises ModelError for an impossible one."""
    return ModelShape.of_depth(
        training.layers,
        vocabulary,
        context,
        width=training.width,
        heads=training.heads,
        tied=True,
        rope_theta=HEAD_ROPE_THETA,
    )


def small_plan(training: SmallTraining, seed: int, **changes: Any) -> TrainingPlan:
    """The plan of a small training. changes: further fields of the plan."""
    rates = Optimisation(
        learning_rate=training.learning_rate, matrix_learning_rate=2 * training.learning_rate, weight_decay=0.0
    )
    fields = {"steps": training.steps, "batch_size": training.batch_size, "micro_batch_size": training.batch_size}
    return TrainingPlan(**fields, seed=seed, optimisation=rates, **changes)


def train_small(
    model: Transformer, data: SequenceSource, plan: TrainingPlan, run: Run, hooks: Hooks | None = None
) -> Transformer:
    """Train a model in the run's folder, or load it if it is trained already; returns it ready for evaluation."""
    train(model, data, plan, TrainingProcess(run.folder, run.devices, quiet), hooks)
    return model.eval()


def samples_of(run: Run) -> list[dict[str, Any]]:
    """What `Hooks.sample` returned during the run's training, each with its `step`."""
    _, last = steps_saved(run.folder)[-1]
    events = json.loads((last / STATE).read_text())["values"]["events"]
    return [event for event in events if event["kind"] == "sample"]


def new_model(shape: ModelShape, seed: int, induction: bool) -> Transformer:
    """A model with fresh weights."""
    model = Transformer(shape)
    model.initialise(seed, induction)
    return model


class Exercises:
    """Training sequences of prompts and completions, with a loss on the completion only; a SequenceSource.

    Each row is one exercise after BOS, padded to `context`; the token that ends an assistant's turn ends a completion.
    make(number): the number-th prompt and completion. Raises TrainingError if an exercise is longer than the context.
    """

    def __init__(self, make: Callable[[int], tuple[str, str]], encoding: Encoding, context: int):
        self.make, self.encoding, self.context = make, encoding, context

    def batch(self, first: int, count: int) -> tuple[np.ndarray, np.ndarray]:
        """Exercises [first, first + count): inputs and targets, both (count, context) int64."""
        inputs = np.full((count, self.context), self.encoding.special["<|pad|>"], np.int64)
        targets = np.full((count, self.context), IGNORE, np.int64)
        for row in range(count):
            prompt, completion = (self.encoding.encode(text) for text in self.make(first + row))
            tokens = [self.encoding.bos, *prompt, *completion, self.encoding.special[ENDS_TURN]]
            if len(tokens) - 1 > self.context:
                raise TrainingError(f"an exercise of {len(tokens) - 1} tokens exceeds the context of {self.context}")
            inputs[row, : len(tokens) - 1] = tokens[:-1]
            targets[row, len(prompt) : len(tokens) - 1] = tokens[1 + len(prompt) :]
        return inputs, targets


def sampled_completions(
    engine: Engine, prompts: Sequence[str], max_tokens: int, temperature: float = 0.0, seed: int = 0
) -> list[Completion]:
    """How a model of Exercises completes each prompt; greedy at temperature 0."""
    tokens = [engine.encoding.document(prompt) for prompt in prompts]
    stop = (engine.encoding.bos, engine.encoding.special[ENDS_TURN])
    sampling = Sampling(max_tokens=max_tokens, temperature=temperature, seed=seed, stop=stop)
    return engine.complete(tokens, sampling, batch=256)


def completions_of(engine: Engine, prompts: Sequence[str], max_tokens: int) -> list[str]:
    """What a model of Exercises completes each prompt with, greedily."""
    completions = sampled_completions(engine, prompts, max_tokens)
    return [engine.encoding.decode(completion.tokens) for completion in completions]
