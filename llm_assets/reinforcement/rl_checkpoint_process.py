"""The training process of `rl_checkpoint`: ``python -m llm_assets.reinforcement.rl_checkpoint_process job.json``.

Needs torch, numpy, safetensors and tiktoken; with tools, pydantic-monty.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from llm_assets.compute.process import Reporter, run_job
from llm_assets.dialogue.packing import replay_conversations
from llm_assets.dialogue.transcript import transcript
from llm_assets.evaluation.grading import refuses
from llm_assets.model.assistant import ended_turn, system_message, to_messages
from llm_assets.model.chat import Message, prompt
from llm_assets.model.checkpoint import load_checkpoint
from llm_assets.model.sampling import Completion, Engine, Sampling, Tools
from llm_assets.tools.toolbox import open_toolbox
from llm_assets.training.policy import EvaluationStep, PolicyEvaluation, PolicyTask, PolicyTrainer, Reward, drawn
from llm_assets.training.processes import TrainingProcess, join_processes

from .jobs import ProblemRow, RlJob
from .problems import Family, find_family


def grade_answer(families: Mapping[str, Family], problem: ProblemRow, answer: str) -> str:
    """Grade an answer to a problem: ``right`` by the checker of its family, else ``refused`` or ``wrong``."""
    if families[problem.family].check(answer, problem.answer, problem.distractors):
        return "right"
    return "refused" if refuses(answer) else "wrong"


class Solver:
    """Turns problems into prompts, and checks solutions."""

    def __init__(self, problems: Sequence[ProblemRow], families: dict[str, Family], engine: Engine):
        self.problems, self.families, self.engine = problems, families, engine
        self.prompts = [self.prompt_for(problem) for problem in problems]

    def prompt_for(self, problem: ProblemRow) -> list[int]:
        """The prompt of a problem: the available tools, and the question."""
        system = system_message([tool for tool in problem.tools.split(",") if tool])
        return prompt(self.engine.encoding, [*([system] if system else []), Message("user", problem.question)])

    def is_right(self, problem: ProblemRow, completion: Completion) -> bool:
        """Whether a solution ended its turn and gives the right answer."""
        return self.grade(problem, completion) == "right"

    def grade(self, problem: ProblemRow, completion: Completion) -> str:
        """``right``, ``refused`` or ``wrong``; a solution that did not end its turn is wrong."""
        if not ended_turn(self.engine.encoding, completion):
            return "wrong"
        return grade_answer(self.families, problem, to_messages(self.engine, completion)[-1].content)

    def is_well_formed(self, problem: ProblemRow, completion: Completion) -> bool:
        """Whether a solution ended its turn with an answer, and each call was closed, names an available tool, and
        succeeded.
        """
        special = self.engine.encoding.special
        own_tokens = [
            token for token, from_tool in zip(completion.tokens, completion.from_tool, strict=True) if not from_tool
        ]
        opened = sum(own_tokens.count(special[f"<|{name}_start|>"]) for name in ("search", "python"))
        closed = sum(own_tokens.count(special[f"<|{name}_end|>"]) for name in ("search", "python"))
        tools = problem.tools.split(",")
        called = all(call.tool in tools and "Error: " not in call.result for call in completion.calls)
        ended = ended_turn(self.engine.encoding, completion) and opened == closed == len(completion.calls)
        return ended and called and bool(to_messages(self.engine, completion)[-1].content)

    def transcript_of(self, problem: ProblemRow, completion: Completion) -> str:
        """The transcript of a solution."""
        return transcript([Message("user", problem.question), *to_messages(self.engine, completion)])


def solve(
    solver: Solver, tools: Tools | None, max_tokens: int, samples: int = 1, temperature: float = 0.0, seed: int = 0
) -> list[list[Completion]]:
    """`samples` solutions of each problem."""
    encoding = solver.engine.encoding
    sampling = Sampling(
        max_tokens=max_tokens,
        temperature=temperature,
        seed=seed,
        stop=(encoding.bos, encoding.special["<|assistant_end|>"]),
    )
    batch = solver.engine.fitting_batch(solver.prompts, max_tokens, tools is not None)
    completions = solver.engine.complete(solver.prompts, sampling, samples, batch, tools)
    return [completions[first : first + samples] for first in range(0, len(completions), samples)]


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
            return drawn(number, len(training.problems), plan.seed)

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
