"""The process of `in_context_learning`, which trains models on pages under rules and on the corpus.

Run as ``python -m llm_assets.demonstrations.in_context_learning_process job.json``.
"""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import numpy as np
import torch

from llm_assets.compute.process import Reporter, run_job, write_results
from llm_assets.model import IGNORE
from llm_assets.model.encoding import Encoding
from llm_assets.model.transformer import Transformer
from llm_assets.training.loop import Hooks
from llm_assets.training.plan import every
from llm_assets.training.processes import join_processes

from .excerpts import RepeatedPages, read_excerpts
from .experiment import (
    Findings,
    Run,
    byte_encoding,
    example,
    new_model,
    observation,
    run_all,
    samples_of,
    small_plan,
    small_shape,
    train_small,
)
from .jobs import LOSS, RIGHT, SCORE, WITH_START, WITHOUT_START, InContextJob
from .rule_pages import BASELINES, KINDS, TRAINED, Line, make_page, page_text

PAGES = "pages under a rule"
LINE = 3  # tokens of a line: symbol, label, line break


def main(job: InContextJob, folder: Path, report: Reporter) -> None:
    """Train models on pages under rules, and models on the corpus with and without the induction start."""

    def measure(run: Run) -> Findings:
        return measure_pages(job, run) if run.condition == PAGES else measure_corpus(job, run)

    conditions = (PAGES, WITH_START, WITHOUT_START)
    write_results(folder, run_all(folder, report, join_processes(job.device), conditions, job.seeds, measure))


class RulePages:
    """Pages of the kind TRAINED, with a loss on their labels only; a SequenceSource. Pages have 9 to `lines` lines."""

    def __init__(self, encoding: Encoding, lines: int, seed: int):
        self.encoding, self.lines, self.seed = encoding, lines, seed

    def batch(self, first: int, count: int) -> tuple[np.ndarray, np.ndarray]:
        """Pages [first, first + count): inputs and targets, both (count, 3 x lines) int64."""
        inputs = np.full((count, LINE * self.lines), self.encoding.special["<|pad|>"], np.int64)
        targets = np.full(inputs.shape, IGNORE, np.int64)
        for row in range(count):
            rng = random.Random(f"page-{self.seed}-{first + row}")
            page = make_page(rng, TRAINED, rng.randint(min(9, self.lines), self.lines))
            tokens = self.encoding.document(page_text(page))
            inputs[row, : len(tokens) - 1] = tokens[:-1]
            targets[row, 1 : len(tokens) - 1 : LINE] = tokens[2::LINE]
        return inputs, targets


def measure_pages(job: InContextJob, run: Run) -> Findings:
    """Accuracy and loss of labels by the number of examples before them, on all kinds of pages."""
    encoding, lines = byte_encoding(), job.examples + 1
    shape = small_shape(job.training, encoding.size, LINE * lines)
    model = new_model(shape, run.seed, job.training.induction)
    model = train_small(model, RulePages(encoding, lines, run.seed), small_plan(job.training, run.seed), run)
    findings: Findings = {"observations": [], "examples": []}
    for kind in KINDS:
        rng = random.Random(f"test-{kind}-{run.seed}")
        pages = [make_page(rng, kind, lines) for _ in range(job.pages)]
        right, nats = label_predictions(model, encoding, pages)
        for shots in range(lines):
            findings["observations"] += [
                observation(RIGHT, kind, shots, run.seed, right[:, shots]),
                observation(LOSS, kind, shots, run.seed, nats[:, shots]),
            ]
        if run.seed == 1:
            marks = ["" if right[0, shots] else "x" for shots in range(lines)]
            text = " ".join(symbol + label + mark for (symbol, label), mark in zip(pages[0], marks, strict=True))
            findings["examples"].append(example(kind, 1, " ".join(map("".join, pages[0])), text))
        if kind == TRAINED:
            for name, guess in BASELINES.items():
                for shots in range(lines):
                    hits = [guess(page[: shots + 1]) == page[shots][1] for page in pages]
                    findings["observations"].append(observation(RIGHT, name, shots, run.seed, hits))
    return findings


def label_predictions(model: Transformer, encoding: Encoding, pages: list[list[Line]]) -> tuple[np.ndarray, np.ndarray]:
    """Whether each label is the most probable token, and its loss in nats; both (pages, lines)."""
    tokens = torch.tensor([encoding.document(page_text(page)) for page in pages], device=model.device)
    with torch.no_grad():
        scores = model(tokens[:, :-1])[:, 1::LINE].log_softmax(-1)
    labels = tokens[:, 2::LINE]
    nats = -scores.gather(-1, labels[..., None]).squeeze(-1)
    return (scores.argmax(-1) == labels).cpu().numpy(), nats.cpu().numpy()


def measure_corpus(job: InContextJob, run: Run) -> Findings:
    """The in-context score while a small base model is trained, with or without the induction start."""
    encoding = Encoding.load(Path(job.tokenizer))
    length = job.late_token + 1
    # From anywhere on a page: beginnings are more alike than what follows, whatever a model learns from the context.
    training, held_out = (
        read_excerpts(job.shards, job.kept_documents, split, length, 1, run.seed) for split in ("train", "validation")
    )
    shape = small_shape(job.corpus_training, encoding.size, length)
    pages = torch.from_numpy(held_out.astype(np.int64)).to(run.devices.device)

    def sample(model: Transformer) -> list[dict[str, Any]]:
        losses = model(pages[:, :-1], pages[:, 1:])
        early, late = (window_mean(losses, token, job.window) for token in (job.early_token, job.late_token))
        return [{"scores": (late - early).tolist()}]

    steps = job.corpus_training.steps
    plan = small_plan(job.corpus_training, run.seed, sample_every=every(steps, job.evaluations))
    model = new_model(shape, run.seed, run.condition == WITH_START)
    data = RepeatedPages(training, np.ones(len(training), np.int64), run.seed)
    train_small(model, data, plan, run, Hooks(sample=sample))
    observations = [observation(SCORE, run.condition, row["step"], run.seed, row["scores"]) for row in samples_of(run)]
    return {"observations": observations, "examples": []}


def window_mean(losses: torch.Tensor, token: int, window: int) -> torch.Tensor:
    """The mean loss, (B,), of the `window` tokens up to token number `token`, counted from 0; losses: (B, T)."""
    return losses[:, token - window : token].mean(1)


if __name__ == "__main__":
    run_job(main, InContextJob)
