"""What the process of the scorecard is given. Plain values, so that neither side needs the other's packages."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Prompt:
    """One prompt, put to every model. tools: names of the tools that may be called, with commas between them."""

    number: int
    kind: str
    question: str
    tools: str = ""
    expected: str = ""


@dataclass(frozen=True)
class BasePrompting:
    """How a base model is asked: an instruction, and examples of questions and answers. max_tokens: of an answer."""

    max_tokens: int
    instruction: str
    examples: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class AskJob:
    """The same prompts to every model (`release.ask`). models: checkpoints' folders, by name; `base` is asked as a base
    model. toolbox: what `tools.toolbox.toolbox_job` gives.
    """

    models: dict[str, str]
    prompts: tuple[Prompt, ...]
    max_tokens: int
    device: str
    base: BasePrompting
    toolbox: dict[str, Any]
