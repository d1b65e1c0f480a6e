"""The tools that a process offers to a model: how its job describes them, and how the process opens them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from .jobs import ToolboxJob
from .python import PythonLimits, PythonTool
from .search import SearchIndex, SearchTool, index_path

if TYPE_CHECKING:
    from llm_assets.artifacts.store import Artifact
    from llm_assets.model.sampling import Tools
    from llm_assets.recipes import finetuning


def toolbox_job(index: Artifact, tools: finetuning.Tools) -> ToolboxJob:
    """The settings that a process needs to open a model's tools with `open_toolbox`."""
    return ToolboxJob(
        index=str(index_path(index)),
        results=tools.results,
        match=tools.match,
        calls=tools.calls,
        result_tokens=tools.result_tokens,
        python=PythonLimits(
            seconds=tools.python_seconds, memory=tools.python_memory, characters=tools.python_characters
        ),
    )


@contextmanager
def open_toolbox(job: ToolboxJob) -> Iterator[Callable[[str], Tools | None]]:
    """Open the tools; yields a function from comma-separated tool names to the tools, None for no name."""
    from llm_assets.model.sampling import Tools  # torch

    with PythonTool(job.python) as python:
        search = SearchTool(SearchIndex(Path(job.index)), job.results, job.match)
        available = {"search": search, "python": python}

        def choose(names: str) -> Tools | None:
            if not names:
                return None
            return Tools({name: available[name] for name in names.split(",")}, job.calls, job.result_tokens)

        yield choose
