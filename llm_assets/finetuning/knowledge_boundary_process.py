"""The process that puts prompts to a model: ``python -m llm_assets.finetuning.knowledge_boundary_process job.json``.

Writes ``answers.json`` beside the job. Needs torch, numpy, safetensors and tiktoken.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Sequence
from pathlib import Path

from llm_assets.compute.process import Reporter, run_job
from llm_assets.model.checkpoint import load_checkpoint
from llm_assets.model.devices import pick_device
from llm_assets.model.sampling import Engine

from .jobs import InterrogationJob

PROMPTS_PER_ROUND = 256  # prompts between two progress reports
BATCH = 128  # sequences that the model samples at a time


def fit_prompt(
    examples: Sequence[str], question: str, encode: Callable[[str], list[int]], max_tokens: int
) -> list[int]:
    """Tokens of the examples and the question, at most `max_tokens`. The first examples are left out as needed."""
    for first in range(len(examples) + 1):
        ids = encode("\n".join([*examples[first:], question]))
        if len(ids) <= max_tokens:
            return ids
    return ids[:1] + ids[-(max_tokens - 1) :]


def main(job: InterrogationJob, folder: Path, report: Reporter) -> None:
    model, encoding = load_checkpoint(Path(job.checkpoint), pick_device(job.device))
    engine = Engine(model, encoding)
    max_tokens = model.shape.context - job.max_tokens
    prompts = [fit_prompt(prompt.examples, prompt.question, encoding.document, max_tokens) for prompt in job.prompts]
    answers: list[list[str]] = []
    for first in range(0, len(prompts), PROMPTS_PER_ROUND):
        report("answered", done=first, of=len(prompts))
        batch = prompts[first : first + PROMPTS_PER_ROUND]
        # Random streams are numbered within a call, so each round needs a seed of its own.
        seed = job.seed * 1_000_003 + first
        texts = engine.lines(batch, job.max_tokens, job.samples, BATCH, job.temperature, seed)
        answers += [texts[i * job.samples : (i + 1) * job.samples] for i in range(len(batch))]
    temporary = folder / ".answers.json.tmp"
    temporary.write_text(json.dumps(answers))
    os.replace(temporary, folder / "answers.json")
    report("answered", done=len(prompts), of=len(prompts))


if __name__ == "__main__":
    run_job(main, InterrogationJob)
