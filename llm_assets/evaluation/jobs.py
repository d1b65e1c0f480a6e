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
