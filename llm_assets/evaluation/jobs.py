"""Fields that the jobs of several evaluations share.

They are plain values, so that the process which writes a job does not need the packages of the process which runs it.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Question:
    """A question to an assistant. tools: names of the tools that may be called, separated by commas."""

    number: int
    question: str
    tools: str = ""


@dataclass(frozen=True)
class BasePrompting:
    """How a base model is prompted: an instruction, then example pairs of question and answer.

    max_tokens: limit of each answer.
    """

    max_tokens: int
    instruction: str
    examples: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class ProblemRow:
    """A row of the table Problems. tools: names of the tools that the solver may use, separated by commas."""

    problem: int
    family: str
    level: int
    question: str
    answer: str
    distractors: tuple[str, ...]
    tools: str


@dataclass(frozen=True)
class ProblemsJob:
    """The practice problems that a model attempts, each greedily and in `samples` samples.

    families: whose checkers decide which answers are right. max_tokens: of a solution.
    """

    families: tuple[str, ...]
    problems: tuple[ProblemRow, ...]
    samples: int
    temperature: float
    max_tokens: int
    seed: int
