"""The process of `rlhf_evaluation`: ``python -m llm_assets.preference.rlhf_evaluation_process job.json``.

Writes ``results.json`` beside the job. Needs torch, numpy, safetensors and tiktoken; with tools, pydantic-monty.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from llm_assets.compute.process import Reporter, run_job, write_results
from llm_assets.evaluation.answers import answers_with_tools
from llm_assets.model.checkpoint import load_checkpoint
from llm_assets.model.devices import pick_device
from llm_assets.model.sampling import Engine
from llm_assets.tools.toolbox import open_toolbox

from .jobs import RlhfEvaluationJob
from .response_pairs_process import answer_row, sample_answers
from .rlhf_checkpoint_process import by_model, gold_scorer


def main(job: RlhfEvaluationJob, folder: Path, report: Reporter) -> None:
    device = pick_device(job.device)
    results: dict[str, Any] = {"responses": {}}
    runs = len(job.models) + 1
    questions = [prompt.question for prompt in job.prompts]
    prompts = [prompt for prompt in job.prompts for _ in range(job.samples)]
    for number, (name, path) in enumerate(job.models.items()):
        report("task", name=name, number=number, of=runs)
        model, encoding = load_checkpoint(Path(path), device)
        engine = Engine(model, encoding)
        completions = sample_answers(engine, questions, job.samples, job.temperature, job.max_tokens, job.seed)
        answers = [answer_row(engine, completion) for of_prompt in completions for completion in of_prompt]
        proxy = by_model(Path(job.reward), encoding, device)(prompts, answers)
        gold = gold_scorer(job.gold, job.truth, encoding, device)(prompts, answers)
        results["responses"][name] = [
            {"prompt": prompt.prompt, **answer, "proxy": round(proxy_score, 6), "gold": round(gold_score, 6)}
            for prompt, answer, proxy_score, gold_score in zip(prompts, answers, proxy, gold, strict=True)
        ]
    # The last model is the tuned policy. It answers the assistant's own evaluation again.
    report("task", name="abilities", number=len(job.models), of=runs)
    with open_toolbox(job.toolbox) as choose_tools:
        results["answers"] = answers_with_tools(engine, job.questions, choose_tools, job.answer_tokens)
    write_results(folder, results)
    report("task", name="done", number=runs, of=runs)


if __name__ == "__main__":
    run_job(main, RlhfEvaluationJob)
