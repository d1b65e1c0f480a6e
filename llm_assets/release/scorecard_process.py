"""The process of `scorecard`: every model answers the same prompts.

Run as ``python -m llm_assets.release.scorecard_process job.json``; it writes ``results.json`` beside the job. It needs
torch, numpy, safetensors and tiktoken, and pydantic-monty for the Python tool.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from llm_assets.compute.process import Reporter, run_job, write_results
from llm_assets.evaluation.answers import answers_with_tools, base_model_answers
from llm_assets.model.checkpoint import load_checkpoint
from llm_assets.model.devices import pick_device
from llm_assets.model.sampling import Engine
from llm_assets.tools.toolbox import open_toolbox

from .jobs import AnswerJob


def main(job: AnswerJob, folder: Path, report: Reporter) -> None:
    """Write the answers of each model, in the order of the prompts' numbers."""
    results: dict[str, Any] = {}
    with open_toolbox(job.toolbox) as choose:
        for number, (name, path) in enumerate(job.models.items()):
            report("task", name=name, number=number, of=len(job.models))
            engine = Engine(*load_checkpoint(Path(path), pick_device(job.device)))
            if name == "base":
                answers = base_model_answers(engine, job.prompts, job.base)
                results[name] = [
                    {"number": prompt.number, **answer} for prompt, answer in zip(job.prompts, answers, strict=True)
                ]
            else:
                answers = answers_with_tools(engine, job.prompts, choose, job.max_tokens)
                results[name] = sorted(answers, key=lambda answer: answer["number"])
    write_results(folder, results)
    report("task", name="done", number=len(job.models), of=len(job.models))


if __name__ == "__main__":
    run_job(main, AnswerJob)
