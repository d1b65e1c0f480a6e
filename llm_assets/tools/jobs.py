"""What a process that lets a model call tools is given. Plain values: neither side needs the other's packages."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from .python import PythonLimits


@dataclass(frozen=True)
class ToolboxJob:
    """The tools of a process (`tools.toolbox.open_toolbox`).

    index: file of the search index. results: passages that a search gives back. match: whether a passage must hold all
    words of the query. calls: in one answer. result_tokens: of a result; what is longer is cut.
    """

    index: str
    results: int
    match: Literal["all", "any"]
    calls: int
    result_tokens: int
    python: PythonLimits
