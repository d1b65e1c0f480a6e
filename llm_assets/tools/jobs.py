"""The tool settings that a process receives: plain values, so that neither side needs the other's packages."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from .python import PythonLimits


@dataclass(frozen=True)
class ToolboxJob:
    """The tools of a process (`tools.toolbox.open_toolbox`).

    index: path of the search index. results: passages that a search returns. match: whether a passage must contain all
    words of the query or any. calls: tool calls allowed in one answer. result_tokens: length at which a tool's result
    is cut.
    """

    index: str
    results: int
    match: Literal["all", "any"]
    calls: int
    result_tokens: int
    python: PythonLimits
