"""The training process of `rl_checkpoint`: ``python -m llm_assets.reinforcement.rl_checkpoint_process job.json``.

Needs torch, numpy, safetensors and tiktoken; with tools, pydantic-monty.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from llm_assets.compute.process import Reporter, run_job
from llm_assets.dialogue.packing import replay_conversations
from llm_assets.evaluation.problems import find_family
from llm_assets.evaluation.solving import Solver, solve
from llm_assets.model.checkpoint import load_checkpoint
from llm_assets.model.sampling import Completion, Engine
from llm_assets.tools.toolbox import open_toolbox
from llm_assets.training.policy import EvaluationStep, PolicyEvaluation, PolicyTask, PolicyTrainer, Reward, prompt_place
from llm_assets.training.processes import TrainingProcess, join_processes

from .jobs import RlJob


def main(job: RlJob, folder: Path, report: Reporter) -> None:
    """Train the policy in `folder`."""
    devices, plan = join_processes(job.device), job.plan
    model, encoding = load_checkpoint(Path(job.checkpoint))
    engine = Engine(model, encoding)
    families = {name: find_family(name) for name in job.families}
    training, held_out = Solver(job.train, families, engine), Solver(job.held_out, families, engine)
    with open_toolbox(job.toolbox) as choose:
        tools = choose("python,search")

        def place(number: int) -> int:
            return prompt_place(number, len(training.problems), plan.seed)

        def reward(numbers: Sequence[int], completions: Sequence[Completion]) -> list[Reward]:
            rewards = []
            for number, completion in zip(numbers, completions, strict=True):
                problem = training.problems[place(number)]
                right, formed = training.is_right(problem, completion), training.is_well_formed(problem, completion)
                parts = {"right": float(right), "well_formed": float(formed), "calls": float(len(completion.calls))}
                value = job.accuracy_reward * right + job.format_reward * formed
                rewards.append(Reward(0.0 if job.rewards == "none" else value, parts))
            return shuffled(numbers, rewards, plan.seed) if job.rewards == "shuffled" else rewards

        def evaluation(engine: Engine, step: int) -> EvaluationStep:
            solutions = [completions[0] for completions in solve(held_out, tools, plan.max_tokens)]
            return measured(held_out, solutions, job.transcripts)

        replay = replay_conversations(job.conversations, model.shape.context, plan.seed, encoding.special["<|pad|>"])
        task = PolicyTask(lambda number: training.prompts[place(number)], reward, tools, replay)
        process = TrainingProcess(folder, devices, report)
        PolicyTrainer(engine, plan, process, task, PolicyEvaluation(evaluation)).run()


def shuffled(numbers: Sequence[int], rewards: Sequence[Reward], seed: int) -> list[Reward]:
    """The rewards, with their values shuffled among the solutions of the same prompt. numbers: of the prompts."""
    places: dict[int, list[int]] = {}
    for place, number in enumerate(numbers):
        places.setdefault(number, []).append(place)
    result = list(rewards)
    for number, of_prompt in places.items():
        order = random.Random(f"shuffled-{seed}-{number}").sample(of_prompt, len(of_prompt))
        for place, other in zip(of_prompt, order, strict=True):
            result[place] = replace(rewards[place], value=rewards[other].value)
    return result


def measured(solver: Solver, solutions: Sequence[Completion], transcripts: int) -> EvaluationStep:
    """The share of right solutions, overall and by family, and the transcripts of some solutions."""
    marks = [solver.is_right(problem, solution) for problem, solution in zip(solver.problems, solutions, strict=True)]
    by_family: dict[str, list[bool]] = {}
    for problem, mark in zip(solver.problems, marks, strict=True):
        by_family.setdefault(problem.family, []).append(mark)
    numbers = {f"right.{name}": sum(family_marks) / len(family_marks) for name, family_marks in by_family.items()}
    numbers["held_out_length"] = sum(solution.own_length for solution in solutions) / len(solutions)
    # Spread over the problems, so that all families occur.
    every = max(1, len(solutions) // max(1, transcripts))
    chosen = list(zip(solver.problems, solutions, marks, strict=True))[::every][:transcripts]
    rows = [
        {
            "problem": problem.problem,
            "family": problem.family,
            "right": mark,
            "transcript": solver.transcript_of(problem, solution),
        }
        for problem, solution, mark in chosen
    ]
    return EvaluationStep(sum(marks) / len(marks), numbers, rows)


if __name__ == "__main__":
    run_job(main, RlJob)
