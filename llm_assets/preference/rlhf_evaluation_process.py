"""The process of `rlhf_evaluation`: ``python -m llm_assets.preference.rlhf_evaluation_process job.json``.

Writes ``results.json`` beside the job. Needs torch, numpy, safetensors and tiktoken; with tools, pydantic-monty.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from llm_assets.compute.process import Reporter, run_job, write_results
from llm_assets.evaluation.answers import base_model_prompts
from llm_assets.evaluation.solving import problems_and_questions
from llm_assets.model.checkpoint import load_checkpoint
from llm_assets.model.devices import pick_device
from llm_assets.model.sampling import Engine

from .jobs import RlhfEvaluationJob
from .response_pairs_process import BATCH, answer_row, sample_answers
from .rlhf_checkpoint_process import by_model, gold_scorer


def main(job: RlhfEvaluationJob, folder: Path, report: Reporter) -> None:
    device = pick_device(job.device)
    results: dict[str, Any] = {"responses": {}}
    runs = len(job.models) + 1
    prompts = [prompt for prompt in job.prompts for _ in range(job.samples)]
    for number, (name, path) in enumerate(job.models.items()):
        report("task", name=name, number=number, of=runs)
        engine = Engine(*load_checkpoint(Path(path), device))
        answers = base_responses(engine, job) if name == "base" else responses(engine, job)
        proxy = by_model(Path(job.reward), engine.encoding, device)(prompts, answers)
        gold = gold_scorer(job.gold, job.truth, engine.encoding, device)(prompts, answers)
        results["responses"][name] = [
            {"prompt": prompt.prompt, **answer, "proxy": round(proxy_score, 6), "gold": round(gold_score, 6)}
            for prompt, answer, proxy_score, gold_score in zip(prompts, answers, proxy, gold, strict=True)
        ]
    # The last model is the tuned policy, which no other evaluation asks.
    report("task", name="problems and questions", number=len(job.models), of=runs)
    results |= problems_and_questions(engine, job.problems, job.questions, job.answer_tokens, job.toolbox)
    write_results(folder, results)
    report("task", name="done", number=runs, of=runs)


def responses(engine: Engine, job: RlhfEvaluationJob) -> list[dict[str, Any]]:
    """An assistant's answers, `job.samples` of each prompt."""
    questions = [prompt.question for prompt in job.prompts]
    completions = sample_answers(engine, questions, job.samples, job.temperature, job.max_tokens, job.seed)
    return [answer_row(engine, completion) for of_prompt in completions for completion in of_prompt]


def base_responses(engine: Engine, job: RlhfEvaluationJob) -> list[dict[str, Any]]:
    """A base model's answers: the rest of the line after each prompt. The longest lines count as unfinished."""
    prompts = base_model_prompts(engine, [prompt.question for prompt in job.prompts], job.base)
    lines = engine.lines(prompts, job.base.max_tokens, job.samples, BATCH, job.temperature, job.seed)
    lengths = [len(engine.encoding.encode(line)) for line in lines]
    return [
        {"text": line, "tokens": length, "finished": length < job.base.max_tokens}
        for line, length in zip(lines, lengths, strict=True)
    ]


if __name__ == "__main__":
    run_job(main, RlhfEvaluationJob)
