"""The process of `sft_evaluation`: ``python -m llm_assets.finetuning.sft_evaluation_process job.json``.

Writes ``results.json`` beside the job. Needs torch, numpy, safetensors and tiktoken; with tools, pydantic-monty.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from llm_assets.compute.process import Reporter, run_job, write_results
from llm_assets.evaluation.answers import base_model_answers, chat_answers
from llm_assets.evaluation.jobs import Question
from llm_assets.model.chat import Message, encode_text, prompt
from llm_assets.model.checkpoint import load_checkpoint
from llm_assets.model.devices import pick_device
from llm_assets.model.sampling import Engine
from llm_assets.tools.toolbox import open_toolbox

from .jobs import SftEvaluationJob

OPENING = 2  # tokens of a refusal: enough to tell it from the name with which other answers begin


def refusal_probabilities(engine: Engine, questions: Sequence[Question], refusals: Sequence[str]) -> dict[int, float]:
    """By question number, the probability that the answer begins like one of the refusals: with its first tokens."""
    beginnings = sorted({tuple(encode_text(engine.encoding, text)[:OPENING]) for text in refusals})
    prompts = [prompt(engine.encoding, [Message("user", question.question)]) for question in questions]
    probabilities = dict.fromkeys((question.number for question in questions), 0.0)
    for beginning in beginnings:
        scores = engine.log_likelihoods(prompts, [beginning] * len(prompts))
        for question, score in zip(questions, scores, strict=True):
            probabilities[question.number] += math.exp(score)
    return {number: round(min(value, 1.0), 6) for number, value in probabilities.items()}


def main(job: SftEvaluationJob, folder: Path, report: Reporter) -> None:
    results: dict[str, list[dict[str, Any]]] = {}
    tool_sets = sorted({question.tools for question in job.questions})
    runs = [(model, tools) for model in job.models for tools in ([""] if model == "base" else tool_sets)]
    with open_toolbox(job.toolbox) as choose_tools:
        for number, (name, tools) in enumerate(runs):
            report("task", name=f"{name} with {tools}" if tools else name, number=number, of=len(runs))
            if not number or runs[number - 1][0] != name:
                engine = Engine(*load_checkpoint(Path(job.models[name]), pick_device(job.device)))
            if name == "base":
                results[name] = base_answers(engine, job)
                continue
            questions = [question for question in job.questions if question.tools == tools]
            answers = chat_answers(engine, questions, choose_tools(tools), job.max_tokens)
            refusable = [question for question in questions if question.number in job.refusable]
            refusals = refusal_probabilities(engine, refusable, job.refusals) if refusable else {}
            results.setdefault(name, []).extend(
                {"number": question.number, **answer, "refusal": refusals.get(question.number)}
                for question, answer in zip(questions, answers, strict=True)
            )
    write_results(folder, results)
    report("task", name="done", number=len(runs), of=len(runs))


def base_answers(engine: Engine, job: SftEvaluationJob) -> list[dict[str, Any]]:
    """The base model's answers to all questions. It has no tools, so equal questions have one answer."""
    different = list({question.question: question for question in job.questions}.values())
    answers = base_model_answers(engine, different, job.base)
    by_text = {question.question: answer for question, answer in zip(different, answers, strict=True)}
    return [{"number": question.number, **by_text[question.question]} for question in job.questions]


if __name__ == "__main__":
    run_job(main, SftEvaluationJob)
