"""What the process of the scorecard is given. Plain values, so that neither side needs the other's packages."""

from __future__ import annotations

from dataclasses import dataclass

from llm_assets.evaluation.jobs import BasePrompting, Question
from llm_assets.tools.jobs import ToolboxJob


@dataclass(frozen=True, kw_only=True)
class Prompt(Question):
    """One prompt, put to every model. expected: what a right answer holds."""

    kind: str
    expected: str = ""


@dataclass(frozen=True)
class AskJob:
    """The same prompts to every model (`release.scorecard_process`). models: checkpoints' folders, by name; `base` is asked as a base
    model.
    """

    models: dict[str, str]
    prompts: tuple[Prompt, ...]
    max_tokens: int
    device: str
    base: BasePrompting
    toolbox: ToolboxJob
