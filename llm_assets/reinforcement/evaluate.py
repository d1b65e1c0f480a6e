"""The process of `rl_evaluation`: ``python -m llm_assets.reinforcement.evaluate job.json``; writes ``results.json`` beside it.

Needs torch, numpy, safetensors and tiktoken; with tools, pydantic-monty.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from llm_assets.compute.process import Reporter, run_job, write_results
from llm_assets.dialogue.transcript import transcript
from llm_assets.evaluation.asking import ask_all, base_prompts
from llm_assets.model.chat import Message
from llm_assets.model.checkpoint import load_checkpoint
from llm_assets.model.devices import pick_device
from llm_assets.model.sampling import Completion, Engine, Tools
from llm_assets.tools.toolbox import open_toolbox

from .problems import Family, find_family
from .train import EVALUATION_BATCH, Solver, solve


def of_base(engine: Engine, problems: list[dict[str, Any]], families: dict[str, Family], job: dict[str, Any]) -> list[dict[str, Any]]:
    """A base model's attempts: it is made to answer by examples of questions and answers, and says one line."""
    encoding = engine.encoding
    prompts = base_prompts(engine, [one["question"] for one in problems], job["base"])
    attempts = []
    for samples, temperature in ((1, 0.0), (job["samples"], job["temperature"])):
        lines = engine.lines(prompts, job["base"]["max_tokens"], samples, EVALUATION_BATCH, temperature, job["seed"])
        attempts.append([lines[first : first + samples] for first in range(0, len(lines), samples)])
    return [
        {
            "problem": problem["problem"], "greedy": families[problem["family"]].check(greedy[0], problem["answer"], problem["rivals"]), "right": sum(families[problem["family"]].check(line, problem["answer"], problem["rivals"]) for line in sampled),
            "samples": len(sampled), "tokens": len(encoding.encode(greedy[0])), "calls": 0,
            "transcript": transcript([Message("user", problem["question"]), Message("assistant", greedy[0])], "verbatim"),
        }
        for problem, greedy, sampled in zip(problems, *attempts, strict=True)
    ]  # fmt: skip


def of_assistant(solver: Solver, tools: Tools | None, job: dict[str, Any]) -> list[dict[str, Any]]:
    """An assistant's attempts: greedy, and sampled."""
    greedy = [one[0] for one in solve(solver, tools, job["max_tokens"])]
    sampled = solve(solver, tools, job["max_tokens"], job["samples"], job["temperature"], job["seed"])

    def length(completion: Completion) -> int:
        return len(completion.tokens) - sum(completion.forced)

    return [
        {
            "problem": problem["problem"], "greedy": solver.is_right(problem, best), "right": sum(solver.is_right(problem, one) for one in others), "samples": len(others), "tokens": length(best), "calls": len(best.calls),
            "transcript": solver.told(problem, best),
        }
        for problem, best, others in zip(solver.problems, greedy, sampled, strict=True)
    ]  # fmt: skip


def main(job: dict[str, Any], folder: Path, report: Reporter) -> None:
    families = {name: find_family(name) for name in job["families"]}
    results: dict[str, Any] = {"attempts": {}}
    with open_toolbox(job["toolbox"]) as choose:
        for number, (name, path) in enumerate(job["models"].items()):
            report("part", name=name, number=number, of=len(job["models"]) + 1)
            model, encoding = load_checkpoint(Path(path), pick_device(job["device"]))
            engine = Engine(model, encoding)
            if name == "base":
                results["attempts"][name] = of_base(engine, job["problems"], families, job)
            else:
                results["attempts"][name] = of_assistant(Solver(job["problems"], families, engine), choose("python,search"), job)
        # The last model is the one that practised: what it was able to before is asked again.
        report("part", name="abilities", number=len(job["models"]), of=len(job["models"]) + 1)
        results["answers"] = ask_all(engine, job["questions"], choose, job["answer_tokens"])
    write_results(folder, results)
    report("part", name="done", number=len(job["models"]) + 1, of=len(job["models"]) + 1)


if __name__ == "__main__":
    run_job(main)
