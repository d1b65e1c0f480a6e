"""The process of `regurgitation`: ``python -m llm_assets.demonstrations.regurgitation_process job.json``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from llm_assets.compute.process import Reporter, run_job, write_results
from llm_assets.model.encoding import Encoding
from llm_assets.model.sampling import Engine
from llm_assets.pretraining.evaluation import recitations
from llm_assets.training.processes import join_processes

from .excerpts import Excerpts, RepeatedPages, read_excerpts
from .experiment import (
    Findings,
    Run,
    example,
    new_model,
    observation,
    run_all,
    small_plan,
    small_shape,
    train_small,
)
from .jobs import MATCHED, RECITED, SEEN, UNSEEN, RegurgitationJob, how_often


def assign(count: int, repetitions: Sequence[int], pages: int, seed: int) -> tuple[np.ndarray, list[np.ndarray]]:
    """Return how often each of `count` pages is trained on, and the page numbers of each group and its control,
    alternating.

    Chance decides which pages are repeated, which are left out, and which are trained on once like all others.
    """
    drawn = np.random.Generator(np.random.Philox(key=[seed, 1])).permutation(count)
    groups = list(drawn[: 2 * len(repetitions) * pages].reshape(-1, pages))
    times = np.ones(count, np.int64)
    for repeated, group, control in zip(repetitions, groups[::2], groups[1::2], strict=True):
        times[group], times[control] = repeated, 0
    return times, groups


def main(job: RegurgitationJob, folder: Path, report: Reporter) -> None:
    """Train one model per seed, each with other pages repeated, and ask it to continue them."""
    encoding, needed = Encoding.load(Path(job.tokenizer)), 2 * len(job.repetitions) * job.pages
    excerpts = read_excerpts(job.shards, job.kept_documents, "train", job.page_tokens, needed)

    def measure(run: Run) -> Findings:
        return measure_run(job, run, encoding, excerpts)

    write_results(folder, run_all(folder, report, join_processes(job.device), ["pages"], job.seeds, measure))


def measure_run(job: RegurgitationJob, run: Run, encoding: Encoding, excerpts: np.ndarray) -> Findings:
    """Train on the pages, some of them repeated, and measure what is recited of each group and its control."""
    times, groups = assign(len(excerpts), job.repetitions, job.pages, run.seed)
    steps = -(-int(times.sum()) // job.training.batch_size)
    training = replace(job.training, steps=steps)
    shape = small_shape(training, encoding.size, job.page_tokens)
    model = new_model(shape, run.seed, training.induction)
    data = RepeatedPages(excerpts, times, run.seed)
    engine = Engine(train_small(model, data, small_plan(training, run.seed), run), encoding)
    findings: Findings = {"observations": [], "examples": []}
    for number, group in enumerate(groups):
        repeated, series = job.repetitions[number // 2], UNSEEN if number % 2 else SEEN
        stream = Excerpts(excerpts[group])
        rows = recitations(engine, stream, range(len(group)), job.prefix_tokens, job.recited_tokens, run.seed)
        recited = [row["matched"] >= job.recited_tokens for row in rows]
        findings["observations"] += [
            observation(RECITED, series, repeated, run.seed, recited),
            observation(MATCHED, series, repeated, run.seed, [row["matched"] for row in rows]),
        ]
        if run.seed == 1 and repeated in (job.repetitions[0], job.repetitions[-1]):
            shown = (
                f"{series}, {how_often(repeated)}" if series == SEEN else f"{series} (control of {how_often(repeated)})"
            )
            row = max(rows, key=lambda row: row["matched"])
            page = stream.tokens(int(stream.starts[row["document"]]) + row["start"] + job.prefix_tokens, 10**9)
            expected = encoding.decode(page[: job.recited_tokens].tolist())
            findings["examples"].append(example(shown, 1, row["prefix"], row["continuation"], expected))
    return findings


if __name__ == "__main__":
    run_job(main, RegurgitationJob)
