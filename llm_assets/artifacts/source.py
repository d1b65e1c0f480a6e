"""The source code behind a function, by digest: its module, the project's modules it imports, their SQL statements.

A record keeps these digests, so that a change of code without a new `code_version` (drift) can be told.
"""

from __future__ import annotations

import hashlib
import importlib.util
import re
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Any

PROJECT = "llm_assets"
# What every stage stands on, and what decides no bytes of any: a change there would be told of everything.
FRAMEWORK = tuple(f"{PROJECT}.{name}" for name in ("artifacts", "recipes", "compute", "report", "settings", "sql"))
# Below the framework, but its code decides which pages reach the data.
NOT_FRAMEWORK = (f"{PROJECT}.recipes.training_pages",)
STATEMENTS = "sql"  # the package of the statements that llm_assets.sql.statement reads
_FROM = re.compile(r"^[ \t]*from[ \t]+([.\w]+)[ \t]+import[ \t]+(\([^)]*\)|[^\n#]*)", re.MULTILINE)
_IMPORT = re.compile(r"^[ \t]*import[ \t]+([\w.]+(?:[ \t]+as[ \t]+\w+)?(?:[ \t]*,[ \t]*[\w.]+)*)", re.MULTILINE)
_IN_STRING = re.compile(r"[\"'](" + PROJECT + r"(?:\.\w+)+)[\"']")
_STATEMENT = re.compile(r"\bstatement\(\s*f?[\"']([\w{}.]+)[\"']")


@lru_cache
def _top_folder(top: str) -> Path | None:
    spec = importlib.util.find_spec(top)
    return Path(next(iter(spec.submodule_search_locations))) if spec and spec.submodule_search_locations else None


@lru_cache
def module_file(name: str) -> Path | None:
    """The source file of a module of a package, or None where there is no such module. Nothing is executed."""
    top, _, rest = name.partition(".")
    folder = _top_folder(top)
    if folder is None:
        return None
    place = folder.joinpath(*rest.split(".")) if rest else folder
    for path in (place / "__init__.py", place.with_suffix(".py")):
        if path.is_file():
            return path
    return None


@lru_cache
def _text(name: str) -> str:
    """The source of a module; empty where there is no such module."""
    path = module_file(name)
    return "" if path is None else path.read_text(encoding="utf-8")


@lru_cache
def imported_modules(name: str) -> frozenset[str]:
    """What a module's source may import, as dotted names, those in strings too (how a process of its own is started).

    Found by regular expressions: parsing 150 modules took 1.3 s of a run that has nothing to do. A name that is no
    module (a function that is imported) does no harm.
    """
    path = module_file(name)
    if path is None:
        return frozenset()
    text = _text(name)
    package = name.split(".") if path.name == "__init__.py" else name.split(".")[:-1]
    found = set(_IN_STRING.findall(text))
    for place, names in _FROM.findall(text):
        dots = len(place) - len(place.lstrip("."))
        base = [*package[: len(package) - dots + 1], place[dots:]] if dots else [place]
        module = ".".join(part for part in base if part)
        found |= {module, *(f"{module}.{part.split()[0]}" for part in names.strip("()").split(",") if part.split())}
    for names in _IMPORT.findall(text):
        found |= {part.split()[0] for part in names.split(",")}
    return frozenset(found - {name})


@lru_cache
def statement_files(name: str) -> tuple[Path, ...]:
    """The files of the SQL statements that a module names; of a formatted name, all that it may stand for."""
    folder = _top_folder(STATEMENTS)
    patterns = {re.sub(r"{[^{}]*}", "*", statement) for statement in _STATEMENT.findall(_text(name))}
    return tuple(path for pattern in sorted(patterns) if folder for path in sorted(folder.glob(f"{pattern}.sql")))


def _is_framework(name: str) -> bool:
    return name.startswith(FRAMEWORK) and name not in NOT_FRAMEWORK


@lru_cache
def modules_used_by(name: str) -> tuple[str, ...]:
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
            if found.partition(".")[0] == top and not _is_framework(found) and found not in seen
        ]
    return tuple(sorted(seen))


@lru_cache
def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()[:16]


def source_digests(*functions: Callable[..., Any]) -> dict[str, str]:
    """SHA-256 (16 hex digits) of every module behind functions or classes, and of every ``sql/<name>.sql`` it uses."""
    digests = {}
    for name in sorted({name for function in functions for name in modules_used_by(function.__module__)}):
        path = module_file(name)
        if path is not None:
            digests[name] = _digest(path)
        digests.update({f"{STATEMENTS}/{file.name}": _digest(file) for file in statement_files(name)})
    return digests


def drift(function: Callable[..., Any], then: dict[str, str]) -> list[str]:
    """Modules and SQL files behind a function whose source is not what it was `then`."""
    return changed(source_digests(function), then)


def changed(now: dict[str, str], then: dict[str, str]) -> list[str]:
    """Names whose digests differ, or that only one of the two has."""
    return sorted(name for name in now.keys() | then.keys() if now.get(name) != then.get(name))
