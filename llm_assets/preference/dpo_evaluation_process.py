"""The process of `dpo_evaluation`: ``python -m llm_assets.preference.dpo_evaluation_process job.json``.

Writes ``results.json`` beside the job. Needs torch, numpy, safetensors and tiktoken; with tools, pydantic-monty.
"""

from __future__ import annotations

from pathlib import Path

from llm_assets.compute.process import Reporter, run_job, write_results
from llm_assets.evaluation.solving import problems_and_questions
from llm_assets.model.checkpoint import load_checkpoint
from llm_assets.model.devices import pick_device
from llm_assets.model.sampling import Engine

from .jobs import DpoEvaluationJob


def main(job: DpoEvaluationJob, folder: Path, report: Reporter) -> None:
    report("task", name="problems and questions", number=0, of=1)
    engine = Engine(*load_checkpoint(Path(job.checkpoint), pick_device(job.device)))
    write_results(folder, problems_and_questions(engine, job.problems, job.questions, job.answer_tokens, job.toolbox))
    report("task", name="done", number=1, of=1)


if __name__ == "__main__":
    run_job(main, DpoEvaluationJob)
