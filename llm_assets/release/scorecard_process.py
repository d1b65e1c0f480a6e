"""The process of `scorecard`: ``python -m llm_assets.release.scorecard_process job.json``; the same prompts to every model.

Writes ``results.json`` beside the job. Needs torch, numpy, safetensors and tiktoken; with tools, pydantic-monty.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from llm_assets.compute.process import Reporter, run_job, write_results
from llm_assets.evaluation.asking import ask_all, ask_base
from llm_assets.model.checkpoint import load_checkpoint
from llm_assets.model.devices import pick_device
from llm_assets.model.sampling import Engine
from llm_assets.tools.toolbox import open_toolbox

from .jobs import AskJob


def main(job: AskJob, folder: Path, report: Reporter) -> None:
    results: dict[str, Any] = {}
    with open_toolbox(job.toolbox) as choose:
        for number, (name, path) in enumerate(job.models.items()):
            report("task", name=name, number=number, of=len(job.models))
            engine = Engine(*load_checkpoint(Path(path), pick_device(job.device)))
            if name == "base":
                answers = ask_base(engine, job.prompts, job.base)
                results[name] = [
                    {"number": prompt.number, **answer} for prompt, answer in zip(job.prompts, answers, strict=True)
                ]
            else:
                answers = ask_all(engine, job.prompts, choose, job.max_tokens)
                results[name] = sorted(answers, key=lambda answer: answer["number"])
    write_results(folder, results)
    report("task", name="done", number=len(job.models), of=len(job.models))


if __name__ == "__main__":
    run_job(main, AskJob)
