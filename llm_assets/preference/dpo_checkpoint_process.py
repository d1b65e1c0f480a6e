"""The training process of `dpo_checkpoint`: ``python -m llm_assets.preference.dpo_checkpoint_process job.json``.

At the end it writes ``results.json`` next to the job. Needs torch, numpy, safetensors and tiktoken.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from llm_assets.compute.process import Reporter, run_job, write_results
from llm_assets.model.chat import Message, prompt
from llm_assets.model.checkpoint import load_checkpoint
from llm_assets.model.encoding import Encoding
from llm_assets.model.transformer import Transformer
from llm_assets.training.loop import Hooks, train
from llm_assets.training.preference_pairs import (
    AnswerPair,
    PreferenceLosses,
    PreferencePairs,
    measure,
    measured_numbers,
    pair_margins,
)
from llm_assets.training.processes import Devices, TrainingProcess, join_processes

from .jobs import DpoJob
from .reward_checkpoint_process import to_pairs

REFERENCE = "reference.json"  # log-probabilities by the policy as it was, by split


def answer_pairs(encoding: Encoding, rows: Sequence[Sequence[str]], context: int) -> tuple[list[int], list[AnswerPair]]:
    """Rows of question, preferred and other answer: the numbers of those that fit into the context, and their pairs."""
    numbers, pairs = to_pairs(encoding, rows, context)
    prompts = [len(prompt(encoding, [Message("user", rows[number][0])])) for number in numbers]
    return numbers, [AnswerPair(*pair, length) for pair, length in zip(pairs, prompts, strict=True)]


def reference_log_probabilities(
    folder: Path, compute: Callable[[str], np.ndarray], splits: Sequence[str], devices: Devices
) -> dict[str, np.ndarray]:
    """The log-probabilities of each split, (pairs, 2): those that an earlier run kept in the folder, or computed once.

    A resumed run reads them, because its weights are no longer those of the reference. All processes call this.
    """
    path = folder / REFERENCE
    if devices.broadcast("kept" if path.exists() else ""):
        saved = json.loads(path.read_text())
        return {split: np.array(saved[split], np.float32).reshape(-1, 2) for split in splits}
    computed = {split: compute(split) for split in splits}
    if devices.rank == 0:
        temporary = path.with_name(f".{REFERENCE}.tmp")
        temporary.write_text(json.dumps({split: values.tolist() for split, values in computed.items()}))
        os.replace(temporary, path)
    return computed


def main(job: DpoJob, folder: Path, report: Reporter) -> None:
    """Train the policy in `folder`, and measure the test pairs."""
    devices = join_processes(job.device)
    model, encoding = load_checkpoint(Path(job.checkpoint))
    model.to(devices.device)
    plan, context = job.plan.on(devices.cuda, None), model.shape.context
    rows = {"train": job.train, "development": job.development, "test": job.test}
    fitting: dict[str, list[int]] = {}
    pairs: dict[str, list[AnswerPair]] = {}
    for split in rows:
        fitting[split], pairs[split] = answer_pairs(encoding, rows[split], context)

    def log_probabilities(split: str) -> np.ndarray:
        return measure(model, pairs[split], plan.micro_batch_size, devices)

    reference = reference_log_probabilities(folder, log_probabilities, list(rows), devices)
    losses = PreferenceLosses(job.loss, job.beta)

    def validate(_: Transformer) -> dict[str, float]:
        split = "development"
        return measured_numbers(pairs[split], log_probabilities(split), reference[split], job.loss, job.beta)

    data = PreferencePairs(pairs["train"], reference["train"], context, plan.seed, pairs_per_step=plan.batch_size // 2)
    hooks = Hooks(validate if pairs["development"] else None, step_numbers=lambda: losses.numbers(devices))
    train(model, data, plan, TrainingProcess(folder, devices, report), hooks, losses)
    model.eval()
    margins = job.beta * pair_margins(pairs["test"], log_probabilities("test"), reference["test"], job.loss)
    if devices.rank == 0:
        results = {
            "fitting": fitting,
            "reference": {split: values.tolist() for split, values in reference.items()},
            "margins": [round(margin, 6) for margin in margins.tolist()],
        }
        write_results(folder, results)


if __name__ == "__main__":
    run_job(main, DpoJob)
