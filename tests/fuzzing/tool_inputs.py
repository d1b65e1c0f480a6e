"""Fuzz targets of what a model writes for its tools: queries of the search, and programs."""

from __future__ import annotations

import tempfile
from functools import cache
from pathlib import Path

from llm_assets.tools import PythonLimits, PythonTool, SearchIndex, SearchTool
from llm_assets.tools.search import INDEX, split_passages, write_index

from .targets import Target

LIMITS = PythonLimits(seconds=0.2)
_RESULT_CHARACTERS = 2_000


@cache
def _search() -> SearchTool:
    path = Path(tempfile.mkdtemp(), INDEX)
    write_index(
        path, [("http://a.example/", "The river flows through the town."), ("http://b.example/", "日本語 text")]
    )
    return SearchTool(SearchIndex(path))


@cache
def _python() -> PythonTool:
    return PythonTool(LIMITS)


def search(data: bytes) -> None:
    """Any text is a query with a result, and a text of any kind is cut into passages without losing a word."""
    text = data.decode("utf-8", "replace")
    assert 0 < len(_search()(text)) <= _RESULT_CHARACTERS
    passages = list(split_passages(text, 20))
    assert "".join("".join(passages).split()) == "".join(text.split())
    assert all(0 < len(passage) <= 20 for passage in passages)


def run_program(data: bytes) -> None:
    """Any text is a program with a result of limited length."""
    result = _python()(data.decode("utf-8", "replace"))
    assert isinstance(result, str) and len(result) <= LIMITS.characters
    result.encode()


PROGRAMS = [
    b"print(7 * 6)\nx = [i for i in range(9)]\nx",
    b"while True: pass",
    b"def f(n): return f(n + 1)\nf(0)",
    b"'a' * 10 ** 9",
    b"10 ** 10 ** 6",
    b"import os\nos.environ",
    b"{'a': 1}['b']",
    b"print('\\ud83d')",
    b"'\\udfff'",
]

TARGETS = {
    "search": Target(
        search,
        lambda: [b"river town", b'"river" OR NEAR(a b) -x*', "日本語 ²½ x\0y".encode(), b"a\nb. c! d"],
        ("llm_assets.tools.search",),
        200,
    ),
    "programs": Target(run_program, lambda: PROGRAMS, ("llm_assets.tools.python",), 40),
}
