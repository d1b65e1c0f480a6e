"""The source code behind a function: its module and the modules of the project that it imports, by digest.

A record keeps these digests, so that a change of code without a new `code_version` (drift) can be told.
"""

from __future__ import annotations

import ast
import hashlib
import importlib.util
import re
from collections.abc import Callable, Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

PROJECT = "llm_assets"
# What every stage stands on, and what decides no bytes of any: a change there would be told of everything.
FRAMEWORK = tuple(f"{PROJECT}.{name}" for name in ("artifacts", "recipes", "compute", "report", "settings", "sql"))
_MODULE_NAME = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)+")


@lru_cache
def module_file(name: str) -> Path | None:
    """The source file of a module, or None where there is no such module. Nothing is executed but its packages."""
    try:
        spec = importlib.util.find_spec(name)
    except (ImportError, ValueError):
        return None
    return Path(spec.origin) if spec is not None and spec.origin and spec.origin.endswith(".py") else None


@lru_cache
def imported_modules(name: str) -> frozenset[str]:
    """Modules that a module's source imports or names in a string (how a process of its own is started)."""
    path = module_file(name)
    if path is None:
        return frozenset()
    package = name if path.name == "__init__.py" else name.rpartition(".")[0]
    return frozenset(found for found in _named(ast.parse(path.read_text(encoding="utf-8")), package) if found != name)


def _named(tree: ast.AST, package: str) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            parts = package.split(".")
            base = ".".join([*parts[: len(parts) - node.level + 1], *([node.module] if node.module else [])])
            place = base if node.level else node.module or ""
            yield place
            yield from (f"{place}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and _MODULE_NAME.fullmatch(node.value):
            yield node.value


@lru_cache
def modules_behind(name: str) -> tuple[str, ...]:
    """A module and all of the same top-level package that it imports, directly or not, less the framework."""
    top = name.partition(".")[0]
    seen: set[str] = set()
    front = [name]
    while front:
        module = front.pop()
        if module in seen or module_file(module) is None:
            continue
        seen.add(module)
        front += [
            found
            for found in imported_modules(module)
            if found.partition(".")[0] == top and not found.startswith(FRAMEWORK) and found not in seen
        ]
    return tuple(sorted(seen))


@lru_cache
def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()[:16]


def source_digests(function: Callable[..., Any]) -> dict[str, str]:
    """SHA-256 (16 hex digits) of the source of every module behind a function, by module name."""
    digests = {}
    for name in modules_behind(function.__module__):
        path = module_file(name)
        if path is not None:
            digests[name] = _digest(path)
    return digests


def drift(function: Callable[..., Any], then: dict[str, str]) -> list[str]:
    """Modules behind a function whose source is not what it was `then`."""
    now = source_digests(function)
    return sorted(name for name in now.keys() | then.keys() if now.get(name) != then.get(name))
