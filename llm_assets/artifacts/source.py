"""Digests of the source code that a function uses: its module, the project modules it imports, and their SQL files.

A record stores these digests, so that a change of code without a new `code_version` (drift) is noticed.
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
# Packages that every stage uses and that decide no artifact's bytes. A change there would be reported for every stage.
FRAMEWORK = tuple(f"{PROJECT}.{name}" for name in ("artifacts", "recipes", "compute", "report", "settings", "sql"))
# Below the framework packages, but this module decides which pages reach the data.
NOT_FRAMEWORK = (f"{PROJECT}.recipes.training_pages",)
STATEMENTS = "sql"  # the package of the statements that llm_assets.sql.statement reads
# Endings of the files that are installed: modules, and the package data of pyproject.toml.
_PACKAGED = {".py", ".sql", ".txt", ".json", ".j2", ".md", ".html", ".css", ".js", ".svg"}
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
    """The source file of a module, or None if there is no such module. Executes nothing."""
    top, _, rest = name.partition(".")
    folder = _top_folder(top)
    if folder is None:
        return None
    base = folder.joinpath(*rest.split(".")) if rest else folder
    for path in (base / "__init__.py", base.with_suffix(".py")):
        if path.is_file():
            return path
    return None


@lru_cache
def _text(name: str) -> str:
    """The source of a module; empty if there is no such module."""
    path = module_file(name)
    return "" if path is None else path.read_text(encoding="utf-8")


@lru_cache
def imported_modules(name: str) -> frozenset[str]:
    """Dotted names that a module's source may import, including names in strings (separate processes start that way).

    Regular expressions find them, because parsing 150 modules took 1.3 s of a run with nothing to build. Names that
    are no modules (imported functions) do no harm.
    """
    path = module_file(name)
    if path is None:
        return frozenset()
    text = _text(name)
    package = name.split(".") if path.name == "__init__.py" else name.split(".")[:-1]
    imported = set(_IN_STRING.findall(text))
    for origin, names in _FROM.findall(text):
        dots = len(origin) - len(origin.lstrip("."))
        base = [*package[: len(package) - dots + 1], origin[dots:]] if dots else [origin]
        module = ".".join(segment for segment in base if segment)
        imported.add(module)
        imported |= {f"{module}.{item.split()[0]}" for item in names.strip("()").split(",") if item.split()}
    for names in _IMPORT.findall(text):
        imported |= {item.split()[0] for item in names.split(",")}
    return frozenset(imported - {name})


@lru_cache
def statement_files(name: str) -> tuple[Path, ...]:
    """The SQL files that a module refers to. A formatted name refers to every file that it could produce."""
    folder = _top_folder(STATEMENTS)
    if folder is None:
        return ()
    patterns = {re.sub(r"{[^{}]*}", "*", statement) for statement in _STATEMENT.findall(_text(name))}
    return tuple(path for pattern in sorted(patterns) for path in sorted(folder.glob(f"{pattern}.sql")))


def _is_framework(name: str) -> bool:
    return name.startswith(FRAMEWORK) and name not in NOT_FRAMEWORK


@lru_cache
def modules_used_by(name: str) -> tuple[str, ...]:
    """A module and the modules of its package that it imports, directly or indirectly, without the framework."""
    top = name.partition(".")[0]
    seen: set[str] = set()
    front = [name]
    while front:
        module = front.pop()
        if module in seen or module_file(module) is None:
            continue
        seen.add(module)
        front += [
            imported
            for imported in imported_modules(module)
            if imported.partition(".")[0] == top and not _is_framework(imported) and imported not in seen
        ]
    return tuple(sorted(seen))


@lru_cache
def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()[:16]


@lru_cache
def package_digest() -> str:
    """SHA-256 (16 hex digits) of the package's modules and data files, and of the SQL statements."""
    digest = hashlib.sha256()
    for top in (PROJECT, STATEMENTS):
        folder = _top_folder(top)
        for path in sorted(folder.rglob("*")) if folder else ():
            if path.suffix in _PACKAGED and "__pycache__" not in path.parts:
                digest.update(f"{top}/{path.relative_to(folder)} {_digest(path)}\n".encode())
    return digest.hexdigest()[:16]


def source_digests(*functions: Callable[..., Any]) -> dict[str, str]:
    """SHA-256 (16 hex digits) of every module that the functions or classes use, and of every ``sql/<name>.sql``."""
    digests = {}
    for name in sorted({name for function in functions for name in modules_used_by(function.__module__)}):
        path = module_file(name)
        if path is not None:
            digests[name] = _digest(path)
        digests.update({f"{STATEMENTS}/{file.name}": _digest(file) for file in statement_files(name)})
    return digests


def drift(function: Callable[..., Any], then: dict[str, str]) -> list[str]:
    """Modules and SQL files of a function whose source differs from the digests `then`."""
    return changed(source_digests(function), then)


def changed(now: dict[str, str], then: dict[str, str]) -> list[str]:
    """Names whose digests differ, or that only one of the two mappings has."""
    return sorted(name for name in now.keys() | then.keys() if now.get(name) != then.get(name))
