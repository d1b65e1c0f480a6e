"""Jobs for other processes: frozen dataclasses, written as JSON and read back as the same type.

A job's fields are plain values: None, bool, int, float, str, tuples, lists, mappings with string keys, and dataclasses
of these. Paths are strings. This module needs only the standard library, because processes that read jobs may have
nothing else.
"""

from __future__ import annotations

import dataclasses
import functools
import json
import types
import typing
from collections.abc import Mapping
from typing import Any, TypeVar

Job = TypeVar("Job")
_hints = functools.cache(typing.get_type_hints)  # a job may hold thousands of instances of one dataclass


class JobError(ValueError):
    """A job does not match its type; the message names the field."""


def dump_job(job: Any, parent: int | None = None) -> str:
    """The JSON text of a job. Raises JobError.

    job: an instance of a dataclass. parent: id of the process that waits for the job's process.
    """
    if not dataclasses.is_dataclass(job) or isinstance(job, type):
        raise JobError(f"a job must be a dataclass instance, not {type(job).__name__}")
    return json.dumps({"parent": parent, "job": _plain(job, type(job).__name__)}, indent=1)


def load_job(text: str, kind: type[Job]) -> tuple[Job, int | None]:
    """Read a job of the type `kind`, and the id of its parent process. Raises JobError."""
    content = json.loads(text)
    return _typed(content["job"], kind, kind.__name__), content["parent"]


def _plain(value: Any, where: str) -> Any:
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {
            field.name: _plain(getattr(value, field.name), f"{where}.{field.name}")
            for field in dataclasses.fields(value)
        }
    if isinstance(value, Mapping):
        for name in value:
            if not isinstance(name, str):
                raise JobError(f"{where}: key {name!r} is not a string")
        return {name: _plain(item, f"{where}.{name}") for name, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item, f"{where}[{index}]") for index, item in enumerate(value)]
    raise JobError(f"{where}: a job may hold plain values and dataclasses, not {type(value).__name__}")


def _typed(value: Any, kind: Any, where: str) -> Any:
    """Convert a JSON value to the type `kind`."""
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if kind is Any:
        return value
    if dataclasses.is_dataclass(kind):
        return _dataclass(value, kind, where)
    if origin in (typing.Union, types.UnionType):
        return _union(value, arguments, where)
    if origin is typing.Literal:
        if value not in arguments:
            raise JobError(f"{where}: {value!r} is not one of {', '.join(map(repr, arguments))}")
        return value
    if origin in (list, tuple):
        return _sequence(value, origin, arguments, where)
    if origin is dict:
        if not isinstance(value, dict):
            raise JobError(f"{where}: {value!r} is not a mapping")
        return {name: _typed(item, arguments[1], f"{where}.{name}") for name, item in value.items()}
    if kind is float and type(value) is int:
        return float(value)
    if kind in (bool, int, float, str, type(None), dict, list) and type(value) is kind:
        return value
    raise JobError(f"{where}: {value!r} is not of type {getattr(kind, '__name__', kind)}")


def _dataclass(value: Any, kind: Any, where: str) -> Any:
    if not isinstance(value, dict):
        raise JobError(f"{where}: {value!r} is not of type {kind.__name__}")
    names = [field.name for field in dataclasses.fields(kind)]
    unknown, missing = sorted(value.keys() - set(names)), [name for name in names if name not in value]
    if unknown or missing:
        problems = [f"unknown {', '.join(unknown)}"] if unknown else []
        problems += [f"missing {', '.join(missing)}"] if missing else []
        raise JobError(f"{where}: fields {'; '.join(problems)}")
    hints = _hints(kind)
    return kind(**{name: _typed(value[name], hints[name], f"{where}.{name}") for name in names})


def _union(value: Any, kinds: tuple[Any, ...], where: str) -> Any:
    if value is None and type(None) in kinds:
        return None
    problems = []
    for kind in kinds:
        try:
            return _typed(value, kind, where)
        except JobError as error:
            problems.append(str(error))
    raise JobError("; ".join(problems))


def _sequence(value: Any, origin: type, arguments: tuple[Any, ...], where: str) -> Any:
    if not isinstance(value, list):
        raise JobError(f"{where}: {value!r} is not a list")
    if origin is list or arguments[-1] is Ellipsis:
        kinds = [arguments[0]] * len(value)
    else:
        kinds = list(arguments)
        if len(kinds) != len(value):
            raise JobError(f"{where}: {len(value)} values, expected {len(kinds)}")
    return origin(
        _typed(item, kind, f"{where}[{index}]") for index, (item, kind) in enumerate(zip(value, kinds, strict=True))
    )
