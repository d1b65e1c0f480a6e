"""Solutions of practice problems, and their grades: by an assistant with its tools, and by a prompted base model.

Imports only torch, numpy and tiktoken.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from llm_assets.dialogue.transcript import transcript
from llm_assets.model.assistant import ended_turn, system_message, to_messages
from llm_assets.model.chat import CALL_ENDS, CALL_STARTS, Message, prompt
from llm_assets.model.sampling import Completion, Engine, Sampling, Tools
from llm_assets.tools.jobs import ToolboxJob
from llm_assets.tools.toolbox import open_toolbox

from .answers import answers_with_tools, base_model_prompts
from .jobs import BasePrompting, ProblemRow, ProblemsJob, Question
from .problems import Family, find_family
from .statements import refuses


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
        opened = sum(own_tokens.count(special[name]) for name in CALL_STARTS)
        closed = sum(own_tokens.count(special[name]) for name in CALL_ENDS)
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


def base_attempts(engine: Engine, job: ProblemsJob, base: BasePrompting) -> list[dict[str, Any]]:
    """A base model's attempts at every problem. Examples of questions and answers prompt it to answer in one line."""
    encoding, families = engine.encoding, {name: find_family(name) for name in job.families}
    prompts = base_model_prompts(engine, [problem.question for problem in job.problems], base)
    batch = engine.fitting_batch(prompts, base.max_tokens)
    lines_by_problem = []
    for samples, temperature in ((1, 0.0), (job.samples, job.temperature)):
        lines = engine.lines(prompts, base.max_tokens, samples, batch, temperature, job.seed)
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


def assistant_attempts(engine: Engine, tools: Tools | None, job: ProblemsJob) -> list[dict[str, Any]]:
    """An assistant's attempts at every problem: one greedy solution and several sampled ones."""
    if not job.problems:
        return []
    solver = Solver(job.problems, {name: find_family(name) for name in job.families}, engine)
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


def problems_and_questions(
    engine: Engine, problems: ProblemsJob, questions: Sequence[Question], answer_tokens: int, toolbox: ToolboxJob
) -> dict[str, list[dict[str, Any]]]:
    """An assistant's `attempts` at the problems and `answers` to the questions that it is asked after a training stage.

    answer_tokens: most tokens of an answer to a question.
    """
    with open_toolbox(toolbox) as choose_tools:
        return {
            "attempts": assistant_attempts(engine, choose_tools(ALL_TOOLS), problems),
            "answers": answers_with_tools(engine, questions, choose_tools, answer_tokens),
        }
