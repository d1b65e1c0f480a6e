"""The identity of an artifact: a hash of its asset, partition, config slice, code version and inputs.

Paths, hardware, worker counts and dates are never part of it. A value whose bytes could differ between two machines or
two processes raises `UnstableValue`; it is never hashed by its `repr`.
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

# Suffix of an input's key: the input is an artifact of the same stage, which the build continues.
PREDECESSOR = "@before"
SHORT_ID_DIGITS = 16  # hex digits of an identity in folder names: 64 bits


class ExecutionOnly:
    """Marks a recipe field that is not in the identity (a path, a worker count): ``Annotated[str, EXECUTION_ONLY]``."""


EXECUTION_ONLY = ExecutionOnly()


class OmittedIfNone:
    """Marks a recipe field that was added after artifacts were built: ``Annotated[str | None, OMITTED_IF_NONE]``.

    It is in the identity only where it is set, so that artifacts built before it existed are still found.
    """


OMITTED_IF_NONE = OmittedIfNone()


class Absent(Enum):
    """The value, in `differences`, of a field that one of two identities does not have."""

    ABSENT = "(absent)"

    def __str__(self) -> str:
        return self.value


ABSENT = Absent.ABSENT


def canonical(value: Any, where: str = "value") -> Any:
    """Reduce `value` to JSON types with exactly one encoding.

    Accepts None, bool, int, finite float, str, list, tuple, sets of strings or integers, mappings with string keys,
    enums, dates and pydantic models (without fields that are EXECUTION_ONLY, or OMITTED_IF_NONE and None). Raises
    `UnstableValue` for anything else; the message starts with `where`, extended by the path to the value.
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
                f"{where}: a date-time without a time zone is a different instant on different machines"
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
            raise UnstableValue(f"{where}: a set must hold only strings or only integers, to be sorted in one way")
        return sorted(value)
    fields = getattr(type(value), "model_fields", None)
    if fields is not None:
        return {
            name: canonical(getattr(value, name), f"{where}.{name}")
            for name, info in fields.items()
            if not _is_omitted(getattr(value, name), info.metadata)
        }
    raise UnstableValue(
        f"{where}: {type(value).__name__} has no stable bytes; use plain values, or mark the field EXECUTION_ONLY"
    )


def _is_omitted(value: Any, marks: Sequence[Any]) -> bool:
    """Whether a field with this value and these marks is left out of the identity."""
    return any(isinstance(mark, ExecutionOnly) or (isinstance(mark, OmittedIfNone) and value is None) for mark in marks)


def stable_bytes(value: Any) -> bytes:
    """The canonical encoding of `value`: UTF-8 JSON with sorted keys and no spaces."""
    return json.dumps(canonical(value), sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode(
        "utf-8", "surrogatepass"
    )


def fingerprint(value: Any) -> str:
    """SHA-256 of `stable_bytes(value)`, in hex."""
    return hashlib.sha256(stable_bytes(value)).hexdigest()


@dataclass(frozen=True)
class Identity:
    """The fields that decide whether a stored artifact can be used in place of a new build.

    config: the slice of the recipe that the build sees; execution-only fields are ignored.
    inputs: data versions by ``asset``, by ``asset/partition``, or by the name of an external input.
    """

    asset: str
    partition: str | None
    code_version: str
    config: Any = field(default_factory=dict)
    inputs: dict[str, str] = field(default_factory=dict)

    def fields(self) -> dict[str, Any]:
        """The fields as JSON types. Raises UnstableValue."""
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
        """SHA-256 of the fields, in hex."""
        return fingerprint(self.fields())

    @property
    def short_id(self) -> str:
        """The first 16 hex digits of the digest, as in folder names."""
        return self.digest[:SHORT_ID_DIGITS]

    @property
    def key(self) -> str:
        """``asset`` or ``asset/partition``."""
        return artifact_key(self.asset, self.partition)


def artifact_key(asset: str, partition: str | None) -> str:
    """``asset`` or ``asset/partition``."""
    return f"{asset}/{partition}" if partition is not None else asset


def flatten(value: Any, prefix: str = "") -> dict[str, Any]:
    """The leaves of nested mappings, by dotted path."""
    if isinstance(value, Mapping) and value:
        leaves: dict[str, Any] = {}
        for key, item in value.items():
            leaves.update(flatten(item, f"{prefix}.{key}" if prefix else str(key)))
        return leaves
    return {prefix: value}


def differences(old: Any, new: Any, path: str = "") -> list[tuple[str, Any, Any]]:
    """Compare two identities' fields: (path, old, new) of every difference; ABSENT for a missing field.

    Lists are compared item by item if their items can be matched: by their ``name``, or by position in lists of equal
    length. A changed threshold is therefore one line, wherever the rule is in its list.
    """
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        return _mapping_differences(old, new, path)
    if isinstance(old, (list, tuple)) and isinstance(new, (list, tuple)):
        old_by_name, new_by_name = _by_name(old), _by_name(new)
        if old_by_name and new_by_name:
            changes = differences(old_by_name, new_by_name, path)
            old_order = [name for name in old_by_name if name in new_by_name]
            new_order = [name for name in new_by_name if name in old_by_name]
            if old_order != new_order:
                changes.append((f"{path} (order)", list(old_by_name), list(new_by_name)))
            return changes
        if len(old) == len(new):
            changes = []
            for position, (old_item, new_item) in enumerate(zip(old, new, strict=True)):
                changes += differences(old_item, new_item, f"{path}[{position}]")
            return changes
    return [] if old == new else [(path, old, new)]


def _mapping_differences(old: Mapping, new: Mapping, path: str) -> list[tuple[str, Any, Any]]:
    changes = []
    for key in sorted(old.keys() | new.keys()):
        key_path = f"{path}.{key}" if path else str(key)
        if key in old and key in new:
            changes += differences(old[key], new[key], key_path)
        else:
            changes.append((key_path, old.get(key, ABSENT), new.get(key, ABSENT)))
    return changes


def _by_name(items: Sequence[Any]) -> dict[str, Any]:
    """The items by their ``name``; empty if an item has no name or two items share one."""
    named = {item["name"]: item for item in items if isinstance(item, Mapping) and isinstance(item.get("name"), str)}
    return named if len(named) == len(items) else {}


def as_written(recipe: Any) -> Any:
    """The recipe without the registered crawls that an installation adds to it."""
    return recipe.written() if hasattr(recipe, "written") else recipe


def recipe_label(recipe: Any) -> str:
    """``<name>@<8 hex digits>`` of a recipe. It does not depend on execution-only fields or registered crawls."""
    return f"{recipe.name}@{fingerprint(as_written(recipe))[:8]}"
