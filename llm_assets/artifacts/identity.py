"""What an artifact *is*: the hash of its asset, partition, config slice, code version and inputs.

Paths, hardware, worker counts and dates are never part of it. Anything whose bytes could differ between
two machines or two processes raises `UnstableValue` rather than being hashed by its `repr`.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from enum import Enum
from functools import cached_property
from typing import Any

from .errors import UnstableValue

SHORT_ID_DIGITS = 16  # hex digits of the identity used in folder names: 64 bits


class ExecutionOnly:
    """Marks a recipe field (``Annotated[str, EXECUTION_ONLY]``) that never bears identity: a path, a worker count."""


EXECUTION_ONLY = ExecutionOnly()


def canonical(value: Any, where: str = "value") -> Any:
    """Reduce `value` to JSON types with exactly one encoding.

    Accepts None, bool, int, finite float, str, list, tuple, set of strings or ints, str-keyed mappings, enums,
    dates and pydantic models (less their execution-only fields). Raises `UnstableValue` on everything else,
    naming the place.
    """
    if value is None or isinstance(value, (bool, str)):
        return value.value if isinstance(value, Enum) else value
    if isinstance(value, Enum):
        return canonical(value.value, where)
    if isinstance(value, int):
        return value
    if isinstance(value, float):
        if not math.isfinite(value):
            raise UnstableValue(f"{where}: {value!r} has no JSON encoding")
        return value
    if isinstance(value, datetime):
        if value.tzinfo is None:
            raise UnstableValue(
                f"{where}: a date-time without a time zone means different instants on different machines"
            )
        return value.isoformat()
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, Mapping):
        for key in value:
            if not isinstance(key, str):
                raise UnstableValue(f"{where}: key {key!r} is not a string")
        return {key: canonical(item, f"{where}.{key}") for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [canonical(item, f"{where}[{i}]") for i, item in enumerate(value)]
    if isinstance(value, (set, frozenset)):
        if not (all(isinstance(item, str) for item in value) or all(type(item) is int for item in value)):
            raise UnstableValue(f"{where}: only sets of strings or of integers have one order")
        return sorted(value)
    fields = getattr(type(value), "model_fields", None)
    if fields is not None:
        return {
            name: canonical(getattr(value, name), f"{where}.{name}")
            for name, info in fields.items()
            if not any(isinstance(mark, ExecutionOnly) for mark in info.metadata)
        }
    raise UnstableValue(
        f"{where}: {type(value).__name__} has no stable bytes; use plain values, or mark the field EXECUTION_ONLY"
    )


def stable_bytes(value: Any) -> bytes:
    """The one encoding of `value`: UTF-8 JSON with sorted keys and no spaces."""
    return json.dumps(canonical(value), sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode(
        "utf-8", "surrogatepass"
    )


def fingerprint(value: Any) -> str:
    """SHA-256 of `stable_bytes(value)`, in hex."""
    return hashlib.sha256(stable_bytes(value)).hexdigest()


@dataclass(frozen=True)
class Identity:
    """The fields that decide whether a stored artifact can stand in for a new build.

    config: the part of the recipe that the build sees, less its execution-only fields.
    inputs maps ``asset`` or ``asset/partition`` (or the name of an external input) to its data version.
    """

    asset: str
    partition: str | None
    code_version: str
    config: Any = field(default_factory=dict)
    inputs: dict[str, str] = field(default_factory=dict)

    def fields(self) -> dict[str, Any]:
        return canonical(
            {
                "asset": self.asset,
                "partition": self.partition,
                "code_version": self.code_version,
                "config": self.config,
                "inputs": self.inputs,
            },
            self.asset,
        )

    @cached_property
    def digest(self) -> str:
        return fingerprint(self.fields())

    @property
    def short_id(self) -> str:
        return self.digest[:SHORT_ID_DIGITS]

    @property
    def key(self) -> str:
        """``asset`` or ``asset/partition``: how inputs and people refer to it."""
        return artifact_key(self.asset, self.partition)


def artifact_key(asset: str, partition: str | None) -> str:
    return f"{asset}/{partition}" if partition is not None else asset


def flatten(value: Any, prefix: str = "") -> dict[str, Any]:
    """Nested mappings as dotted paths, for field-by-field comparison."""
    if isinstance(value, Mapping) and value:
        out: dict[str, Any] = {}
        for key, item in value.items():
            out.update(flatten(item, f"{prefix}.{key}" if prefix else str(key)))
        return out
    return {prefix: value}


def differences(old: Any, new: Any, path: str = "") -> list[tuple[str, Any, Any]]:
    """(path, old, new) of everything that differs between two identities' fields; None where it is absent.

    Lists are compared item by item where the items can be told apart: by their ``name``, or by their place in lists of
    one length. So a changed threshold is one line, whatever list of rules it is in.
    """
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        found = []
        for key in sorted(old.keys() | new.keys()):
            place = f"{path}.{key}" if path else str(key)
            if key in old and key in new:
                found += differences(old[key], new[key], place)
            else:
                found.append((place, old.get(key), new.get(key)))
        return found
    if isinstance(old, (list, tuple)) and isinstance(new, (list, tuple)):
        before, after = _by_name(old), _by_name(new)
        if before and after:
            found = differences(before, after, path)
            if [name for name in before if name in after] != [name for name in after if name in before]:
                found.append((f"{path} (order)", list(before), list(after)))
            return found
        if len(old) == len(new):
            places = enumerate(zip(old, new, strict=True))
            return [item for i, (a, b) in places for item in differences(a, b, f"{path}[{i}]")]
    return [] if old == new else [(path, old, new)]


def _by_name(items: Sequence[Any]) -> dict[str, Any]:
    """The items by their ``name``; empty where one has none or two have the same."""
    named = {item["name"]: item for item in items if isinstance(item, Mapping) and isinstance(item.get("name"), str)}
    return named if len(named) == len(items) else {}


def as_written(recipe: Any) -> Any:
    """The recipe without what an installation adds to it (the registered crawls), where it has a form without."""
    return recipe.written() if hasattr(recipe, "written") else recipe


def recipe_label(recipe: Any) -> str:
    """``<name>@<8 hex digits>``: a recipe as it is written. Execution-only fields and registered crawls change nothing."""
    return f"{recipe.name}@{fingerprint(as_written(recipe))[:8]}"
