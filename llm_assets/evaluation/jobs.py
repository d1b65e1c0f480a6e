"""What the jobs of several evaluations have in common. Plain values: neither side needs the other's packages."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Question:
    """A question to an assistant. tools: names of the tools that may be called, with commas between them."""

    number: int
    question: str
    tools: str = ""


@dataclass(frozen=True)
class BasePrompting:
    """How a base model is asked: an instruction, and examples of questions and answers. max_tokens: of an answer."""

    max_tokens: int
    instruction: str
    examples: tuple[tuple[str, str], ...]
