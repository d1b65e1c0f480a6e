"""The process of `rl_evaluation`: ``python -m llm_assets.reinforcement.rl_evaluation_process job.json``.

Writes ``results.json`` beside the job. Needs torch, numpy, safetensors and tiktoken; with tools, pydantic-monty.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from llm_assets.compute.process import Reporter, run_job, write_results
from llm_assets.dialogue.transcript import transcript
from llm_assets.evaluation.answers import answers_with_tools, base_model_prompts
from llm_assets.model.chat import Message
from llm_assets.model.checkpoint import load_checkpoint
from llm_assets.model.devices import pick_device
from llm_assets.model.sampling import Engine, Tools
from llm_assets.tools.toolbox import open_toolbox

from .jobs import RlEvaluationJob
from .problems import Family, find_family
from .rl_checkpoint_process import Solver, grade_answer, solve

ALL_TOOLS = "python,search"


def grade_counts(greedy: str, sampled: Sequence[str]) -> dict[str, Any]:
    """Columns of Attempts from the grades of the greedy solution and of the sampled ones."""
    return {
        "greedy": greedy == "right",
        "grade": greedy,
        "right": sampled.count("right"),
        "refused": sampled.count("refused"),
        "samples": len(sampled),
    }


def base_attempts(engine: Engine, families: Mapping[str, Family], job: RlEvaluationJob) -> list[dict[str, Any]]:
    """A base model's attempts at every problem. Examples of questions and answers prompt it to answer in one line."""
    encoding = engine.encoding
    prompts = base_model_prompts(engine, [problem.question for problem in job.problems], job.base)
    batch = engine.fitting_batch(prompts, job.base.max_tokens)
    lines_by_problem = []
    for samples, temperature in ((1, 0.0), (job.samples, job.temperature)):
        lines = engine.lines(prompts, job.base.max_tokens, samples, batch, temperature, job.seed)
        lines_by_problem.append([lines[first : first + samples] for first in range(0, len(lines), samples)])

    return [
        {
            "problem": problem.problem,
            **grade_counts(
                grade_answer(families, problem, greedy[0]),
                [grade_answer(families, problem, line) for line in sampled],
            ),
            "tokens": len(encoding.encode(greedy[0])),
            "calls": 0,
            "transcript": transcript([Message("user", problem.question), Message("assistant", greedy[0])], "verbatim"),
        }
        for problem, greedy, sampled in zip(job.problems, *lines_by_problem, strict=True)
    ]


def assistant_attempts(solver: Solver, tools: Tools | None, job: RlEvaluationJob) -> list[dict[str, Any]]:
    """An assistant's attempts at every problem: one greedy solution and several sampled ones."""
    greedy_solutions = [solutions[0] for solutions in solve(solver, tools, job.max_tokens)]
    sampled_solutions = solve(solver, tools, job.max_tokens, job.samples, job.temperature, job.seed)
    return [
        {
            "problem": problem.problem,
            **grade_counts(solver.grade(problem, greedy), [solver.grade(problem, solution) for solution in sampled]),
            "tokens": greedy.own_length,
            "calls": len(greedy.calls),
            "transcript": solver.transcript_of(problem, greedy),
        }
        for problem, greedy, sampled in zip(solver.problems, greedy_solutions, sampled_solutions, strict=True)
    ]


def main(job: RlEvaluationJob, folder: Path, report: Reporter) -> None:
    families = {name: find_family(name) for name in job.families}
    results: dict[str, Any] = {"attempts": {}}
    runs = len(job.models) + 1
    with open_toolbox(job.toolbox) as choose_tools:
        for number, (name, path) in enumerate(job.models.items()):
            report("task", name=name, number=number, of=runs)
            model, encoding = load_checkpoint(Path(path), pick_device(job.device))
            engine = Engine(model, encoding)
            if name == "base":
                attempts = base_attempts(engine, families, job)
            else:
                attempts = assistant_attempts(Solver(job.problems, families, engine), choose_tools(ALL_TOOLS), job)
            results["attempts"][name] = attempts
        # The last model is the one after RL. It answers the assistant's own evaluation again.
        report("task", name="abilities", number=len(job.models), of=runs)
        results["answers"] = answers_with_tools(engine, job.questions, choose_tools, job.answer_tokens)
    write_results(folder, results)
    report("task", name="done", number=runs, of=runs)


if __name__ == "__main__":
    run_job(main, RlEvaluationJob)
