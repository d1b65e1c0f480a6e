"""Fuzz targets: functions of bytes that state, as assertions, what holds for any input of one parser of outside bytes.

Nothing may crash, hang, grow without bound, or lose a record without a row. `test_fuzzing` runs every target on a
bounded number of mutated seeds; ``python -m tests.fuzzing`` runs one for as long as asked, guided by coverage.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Target:
    """One subject. run: raises where a property does not hold. seeds: inputs that are mutated, past findings included.

    modules: the modules, with all below them, whose coverage guides the fuzzer. runs: how many mutated inputs
    `test_fuzzing` tries.
    """

    run: Callable[[bytes], None]
    seeds: Callable[[], list[bytes]]
    modules: tuple[str, ...]
    runs: int = 200


def all_targets() -> dict[str, Target]:
    """The targets by name."""
    from . import answers, archives, conversations, lists, models, pages, responses, site_files, tool_inputs

    modules = (answers, archives, conversations, lists, models, pages, responses, site_files, tool_inputs)
    return {name: target for module in modules for name, target in module.TARGETS.items()}
