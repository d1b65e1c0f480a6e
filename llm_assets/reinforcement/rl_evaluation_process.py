"""The process of `rl_evaluation`: ``python -m llm_assets.reinforcement.rl_evaluation_process job.json``.

Writes ``results.json`` beside the job. Needs torch, numpy, safetensors and tiktoken; with tools, pydantic-monty.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from llm_assets.compute.process import Reporter, run_job, write_results
from llm_assets.evaluation.answers import answers_with_tools
from llm_assets.evaluation.solving import ALL_TOOLS, assistant_attempts, base_attempts
from llm_assets.model.checkpoint import load_checkpoint
from llm_assets.model.devices import pick_device
from llm_assets.model.sampling import Engine
from llm_assets.tools.toolbox import open_toolbox

from .jobs import RlEvaluationJob


def main(job: RlEvaluationJob, folder: Path, report: Reporter) -> None:
    results: dict[str, Any] = {"attempts": {}}
    runs = len(job.models) + 1
    with open_toolbox(job.toolbox) as choose_tools:
        for number, (name, path) in enumerate(job.models.items()):
            report("task", name=name, number=number, of=runs)
            engine = Engine(*load_checkpoint(Path(path), pick_device(job.device)))
            if name == "base":
                attempts = base_attempts(engine, job.problems, job.base)
            else:
                attempts = assistant_attempts(engine, choose_tools(ALL_TOOLS), job.problems)
            results["attempts"][name] = attempts
        # The last model is the one after RL. It answers the assistant's own evaluation again.
        report("task", name="questions", number=len(job.models), of=runs)
        results["answers"] = answers_with_tools(engine, job.questions, choose_tools, job.answer_tokens)
    write_results(folder, results)
    report("task", name="done", number=runs, of=runs)


if __name__ == "__main__":
    run_job(main, RlEvaluationJob)
