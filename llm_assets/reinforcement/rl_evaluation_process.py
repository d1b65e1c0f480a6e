"""The process of `rl_evaluation`: ``python -m llm_assets.reinforcement.rl_evaluation_process job.json``.

Writes ``results.json`` beside the job. Needs torch, numpy, safetensors and tiktoken; with tools, pydantic-monty.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from llm_assets.compute.process import Reporter, run_job, write_results
from llm_assets.dialogue.transcript import transcript
from llm_assets.evaluation.asking import ask_all, base_prompts
from llm_assets.model.chat import Message
from llm_assets.model.checkpoint import load_checkpoint
from llm_assets.model.devices import pick_device
from llm_assets.model.sampling import Engine, Tools
from llm_assets.tools.toolbox import open_toolbox

from .jobs import ProblemRow, RlEvaluationJob
from .problems import Family, find_family
from .rl_checkpoint_process import EVALUATION_BATCH, Solver, solve


def of_base(engine: Engine, families: Mapping[str, Family], job: RlEvaluationJob) -> list[dict[str, Any]]:
    """A base model's attempts: it is made to answer by examples of questions and answers, and says one line."""
    encoding = engine.encoding
    prompts = base_prompts(engine, [problem.question for problem in job.problems], job.base)
    attempts = []
    for samples, temperature in ((1, 0.0), (job.samples, job.temperature)):
        lines = engine.lines(prompts, job.base.max_tokens, samples, EVALUATION_BATCH, temperature, job.seed)
        attempts.append([lines[first : first + samples] for first in range(0, len(lines), samples)])

    def is_right(problem: ProblemRow, line: str) -> bool:
        return families[problem.family].check(line, problem.answer, problem.distractors)

    return [
        {
            "problem": problem.problem,
            "greedy": is_right(problem, greedy[0]),
            "right": sum(is_right(problem, line) for line in sampled),
            "samples": len(sampled),
            "tokens": len(encoding.encode(greedy[0])),
            "calls": 0,
            "transcript": transcript([Message("user", problem.question), Message("assistant", greedy[0])], "verbatim"),
        }
        for problem, greedy, sampled in zip(job.problems, *attempts, strict=True)
    ]


def of_assistant(solver: Solver, tools: Tools | None, job: RlEvaluationJob) -> list[dict[str, Any]]:
    """An assistant's attempts: greedy, and sampled."""
    greedy = [one[0] for one in solve(solver, tools, job.max_tokens)]
    sampled = solve(solver, tools, job.max_tokens, job.samples, job.temperature, job.seed)
    return [
        {
            "problem": problem.problem,
            "greedy": solver.is_right(problem, best),
            "right": sum(solver.is_right(problem, one) for one in others),
            "samples": len(others),
            "tokens": best.own_length,
            "calls": len(best.calls),
            "transcript": solver.told(problem, best),
        }
        for problem, best, others in zip(solver.problems, greedy, sampled, strict=True)
    ]


def main(job: RlEvaluationJob, folder: Path, report: Reporter) -> None:
    families = {name: find_family(name) for name in job.families}
    results: dict[str, Any] = {"attempts": {}}
    parts = len(job.models) + 1
    with open_toolbox(job.toolbox) as choose:
        for number, (name, path) in enumerate(job.models.items()):
            report("task", name=name, number=number, of=parts)
            model, encoding = load_checkpoint(Path(path), pick_device(job.device))
            engine = Engine(model, encoding)
            if name == "base":
                attempts = of_base(engine, families, job)
            else:
                attempts = of_assistant(Solver(job.problems, families, engine), choose("python,search"), job)
            results["attempts"][name] = attempts
        # The last model is the one that practised: what it was able to before is asked again.
        report("task", name="abilities", number=len(job.models), of=parts)
        results["answers"] = ask_all(engine, job.questions, choose, job.answer_tokens)
    write_results(folder, results)
    report("task", name="done", number=parts, of=parts)


if __name__ == "__main__":
    run_job(main, RlEvaluationJob)
