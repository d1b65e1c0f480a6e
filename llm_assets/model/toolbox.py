"""The tools of a process that lets a model call them, as its job describes them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from llm_assets.tools import PythonLimits, PythonTool, SearchIndex, SearchTool

from .sampling import Tools


@contextmanager
def open_toolbox(job: Mapping[str, Any]) -> Iterator[Callable[[str], Tools | None]]:
    """From names with commas between them to the tools, none of no name. job: what `finetuning.search_index.toolbox_job` makes."""
    with PythonTool(PythonLimits(**job["python"])) as python:
        available = {"search": SearchTool(SearchIndex(Path(job["index"])), job["results"], job["match"]), "python": python}

        def choose(names: str) -> Tools | None:
            return Tools({name: available[name] for name in names.split(",")}, job["calls"], job["result_tokens"]) if names else None

        yield choose
