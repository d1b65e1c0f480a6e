"""Practice problems as stages read them: those of a split, and the versions of the families that check answers."""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import polars as pl

from llm_assets.artifacts.external import external_digests, external_version
from llm_assets.artifacts.source import PROJECT, module_file, modules_used_by
from llm_assets.artifacts.store import Artifact
from llm_assets.artifacts.tables import read_table
from llm_assets.recipes.reinforcement import PracticeProblems
from llm_assets.settings import load_settings

from .jobs import ProblemRow
from .problems import ProblemError, find_family


def family_names(problems: PracticeProblems) -> tuple[str, ...]:
    """The names of the families that the recipe asks for."""
    of_files = ["word_problems"] if problems.word_problems else []
    return tuple(dict.fromkeys([*problems.families, *of_files]))


def family_files(names: Iterable[str]) -> dict[str, Path]:
    """Source files of the user's own families, by module.

    They are those of the modules that declare the families, and of the modules that these import from the same package.
    Raises ProblemError.
    """
    files: dict[str, Path] = {}
    for name in names:
        if ":" not in name:
            continue
        family, declaring_module = find_family(name), name.partition(":")[0]
        if module_file(declaring_module) is None:
            raise ProblemError(
                f"practice_problems: family {name!r}: {declaring_module} has no source file to identify its version by"
            )
        function_modules = {
            function.__module__ for function in (family.make, family.checker) if not isinstance(function, str)
        }
        not_the_users = {PROJECT, *sys.stdlib_module_names}
        own_modules = {module for module in function_modules if module.partition(".")[0] not in not_the_users}
        for own_module in (declaring_module, *own_modules):
            for module in modules_used_by(own_module):
                if (path := module_file(module)) is not None:
                    files[module] = path
    return files


def family_versions(names: Iterable[str]) -> dict[str, str]:
    """External inputs of stages that run the families: the version of those that the user wrote, if there are any."""
    files = family_files(names)
    return {"families": external_version(external_digests(files, load_settings().digest_cache))} if files else {}


def read_problems(artifact: Artifact, split: str) -> list[ProblemRow]:
    """The problems of one split, in order."""
    frame = read_table(sorted(artifact.table("problems"))).filter(pl.col("split") == split).sort("problem")
    return [
        ProblemRow(**{**row, "distractors": tuple(json.loads(row["distractors"]))})
        for row in frame.drop("key", "split").iter_rows(named=True)
    ]


def ranked(problems: Sequence[ProblemRow]) -> Iterator[tuple[int, ProblemRow]]:
    """Each problem with its place within its family and level, counted from 0; in the given order."""
    seen: Counter[tuple[str, int]] = Counter()
    for problem in problems:
        group = (problem.family, problem.level)
        yield seen[group], problem
        seen[group] += 1


def spread(problems: Sequence[ProblemRow], count: int) -> list[ProblemRow]:
    """At most `count` problems, taken from every family and level in turn."""
    in_turn = sorted(ranked(problems), key=lambda item: (item[0], item[1].problem))
    return [problem for _, problem in in_turn[:count]]
