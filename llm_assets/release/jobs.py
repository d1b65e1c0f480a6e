"""The job of the scorecard's process.

It holds plain values, so that the process which writes it does not need the packages of the process which runs it.
"""

from __future__ import annotations

from dataclasses import dataclass

from llm_assets.evaluation.jobs import BasePrompting, Question
from llm_assets.tools.jobs import ToolboxJob


@dataclass(frozen=True, kw_only=True)
class Prompt(Question):
    """A prompt that every model answers. expected: what a right answer contains; empty if there is none."""

    kind: str
    expected: str = ""


@dataclass(frozen=True)
class AnswerJob:
    """The same prompts for several models (`release.scorecard_process`).

    models: folders of the checkpoints, by name; the one named `base` is prompted as a base model.
    max_tokens: limit of each answer.
    """

    models: dict[str, str]
    prompts: tuple[Prompt, ...]
    max_tokens: int
    device: str
    base: BasePrompting
    toolbox: ToolboxJob
