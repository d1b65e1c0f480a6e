"""The process of `tokens_to_think`: ``python -m llm_assets.demonstrations.tokens_to_think_process job.json``."""

from __future__ import annotations

import random
from collections import Counter
from pathlib import Path

from llm_assets.compute.process import Reporter, run_job, write_results
from llm_assets.dialogue.splits import TEST, TRAIN
from llm_assets.model.sampling import Engine
from llm_assets.training.processes import join_processes

from .chains import CONSTANT, DIRECT, DOTS, STEPS, SUMS, TASKS, Chain, draw_chain, draw_hops, series_name
from .experiment import (
    Exercises,
    Findings,
    Run,
    byte_encoding,
    completions_of,
    example,
    new_model,
    observation,
    run_all,
    small_plan,
    small_shape,
    train_small,
)
from .jobs import RIGHT, TokensToThinkJob

STYLES = (DIRECT, STEPS, DOTS)


def main(job: TokensToThinkJob, folder: Path, report: Reporter) -> None:
    """Train one model per task, style and seed, and ask each its held-out problems."""
    conditions = [f"{task}, {style}" for task in TASKS for style in STYLES]
    styles = {f"{task}, {style}": (task, style) for task in TASKS for style in STYLES}

    def measure(run: Run) -> Findings:
        return measure_run(job, run, *styles[run.condition])

    write_results(folder, run_all(folder, report, join_processes(job.device), conditions, job.seeds, measure))


def measure_run(job: TokensToThinkJob, run: Run, task: str, style: str) -> Findings:
    """Train a model on one task in one style; the answers that it has right, by number of hops."""
    encoding, training = byte_encoding(), job.sum_training if task == SUMS else job.training
    questions = {hops: test_chains(job, task, hops, run.seed) for hops in range(1, job.hops + 1)}
    longest = max(len(chain.prompt(style) + chain.completion(style)) for chain in questions[job.hops])
    shape = small_shape(training, encoding.size, longest + 2)

    def exercise(number: int) -> tuple[str, str]:
        rng = random.Random(f"{run.condition}-{run.seed}-{number}")
        chain = draw_chain(rng, task, draw_hops(rng, job.hops), job.letters, TRAIN)
        return chain.prompt(style), chain.completion(style)

    model = new_model(shape, run.seed, training.induction)
    data = Exercises(exercise, encoding, shape.context)
    engine = Engine(train_small(model, data, small_plan(training, run.seed), run), encoding)
    findings: Findings = {"observations": [], "examples": []}
    for hops, chains in questions.items():
        texts = completions_of(engine, [chain.prompt(style) for chain in chains], shape.context)
        right = [text[-1:] == chain.answer for text, chain in zip(texts, chains, strict=True)]
        findings["observations"].append(observation(RIGHT, series_name(task, style), hops, run.seed, right))
        if style == DIRECT:
            [(constant, _)] = Counter(chain.answer for chain in chains).most_common(1)
            same = [chain.answer == constant for chain in chains]
            findings["observations"].append(observation(RIGHT, series_name(task, CONSTANT), hops, run.seed, same))
        if run.seed == 1 and hops in (1, job.hops):
            shown = example(series_name(task, style), 1, chains[0].prompt(style), texts[0], chains[0].answer)
            findings["examples"].append(shown)
    return findings


def test_chains(job: TokensToThinkJob, task: str, hops: int, seed: int) -> list[Chain]:
    """The held-out problems of a task; all styles are asked the same ones."""
    rng = random.Random(f"test-{task}-{hops}-{seed}")
    return [draw_chain(rng, task, hops, job.letters, TEST) for _ in range(job.questions)]


if __name__ == "__main__":
    run_job(main, TokensToThinkJob)
