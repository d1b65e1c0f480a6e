"""The process of `sft_evaluation`: ``python -m llm_assets.finetuning.sft_evaluation_process job.json``.

Writes ``results.json`` beside the job. Needs torch, numpy, safetensors and tiktoken; with tools, pydantic-monty.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from llm_assets.compute.process import Reporter, run_job, write_results
from llm_assets.evaluation.asking import ask_base, ask_chat
from llm_assets.model.checkpoint import load_checkpoint
from llm_assets.model.devices import pick_device
from llm_assets.model.sampling import Engine
from llm_assets.tools.toolbox import open_toolbox

from .jobs import SftEvaluationJob


def main(job: SftEvaluationJob, folder: Path, report: Reporter) -> None:
    results: dict[str, list[dict[str, Any]]] = {}
    with_tools = sorted({question.tools for question in job.questions})
    work = [(model, tools) for model in job.models for tools in (with_tools if model == "sft" else [""])]
    with open_toolbox(job.toolbox) as choose:
        for done, (model, names) in enumerate(work):
            report("task", name=f"{model}{f' with {names}' if names else ''}", number=done, of=len(work))
            loaded, encoding = load_checkpoint(Path(job.models[model]), pick_device(job.device))
            engine = Engine(loaded, encoding)
            questions = [question for question in job.questions if question.tools == names]
            if model == "base":
                answers = ask_base(engine, questions, job.base)
            else:
                answers = ask_chat(engine, questions, choose(names), job.max_tokens)
            results.setdefault(model, []).extend(
                {"number": question.number, **answer} for question, answer in zip(questions, answers, strict=True)
            )
    write_results(folder, results)
    report("task", name="done", number=len(work), of=len(work))


if __name__ == "__main__":
    run_job(main, SftEvaluationJob)
