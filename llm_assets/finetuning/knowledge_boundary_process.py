"""The process that puts prompts to a model: ``python -m llm_assets.finetuning.knowledge_boundary_process job.json``.

Writes ``answers.json`` beside the job. Needs torch, numpy, safetensors and tiktoken.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from llm_assets.compute.process import Reporter, run_job
from llm_assets.model.checkpoint import load_checkpoint
from llm_assets.model.devices import pick_device
from llm_assets.model.sampling import Engine

from .jobs import InterrogationJob

ROUND = 256  # prompts between two reports


def within(examples: Sequence[str], question: str, encode: Any, room: int) -> list[int]:
    """Tokens of examples and question, of as many of the examples (the last ones) as fit into `room`."""
    for first in range(len(examples) + 1):
        ids = encode("\n".join([*examples[first:], question]))
        if len(ids) <= room:
            return ids
    return ids[:1] + ids[-(room - 1) :]


def main(job: InterrogationJob, folder: Path, report: Reporter) -> None:
    model, encoding = load_checkpoint(Path(job.checkpoint), pick_device(job.device))
    engine = Engine(model, encoding)
    room = model.shape.context - job.max_tokens
    prompts = [within(one.examples, one.question, encoding.document, room) for one in job.prompts]
    answers: list[list[str]] = []
    for first in range(0, len(prompts), ROUND):
        report("asked", done=first, of=len(prompts))
        batch = prompts[first : first + ROUND]
        # Random streams are numbered within a call: another seed for each round keeps them apart.
        seed = job.seed * 1_000_003 + first
        texts = engine.lines(batch, job.max_tokens, job.samples, 128, job.temperature, seed)
        answers += [texts[i * job.samples : (i + 1) * job.samples] for i in range(len(batch))]
    temporary = folder / ".answers.json.tmp"
    temporary.write_text(json.dumps(answers))
    os.replace(temporary, folder / "answers.json")
    report("asked", done=len(prompts), of=len(prompts))


if __name__ == "__main__":
    run_job(main, InterrogationJob)
