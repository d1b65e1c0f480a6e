"""DCLM's CORE (Li et al., arXiv:2406.11794): its folder, its prompts, and the score of all its tasks together.

The folder is that of MosaicML's evaluation tasks: ``core.yaml`` lists tasks (label, icl_task_type, dataset_uri,
num_fewshot, continuation_delimiter), ``eval_meta_data.csv`` has the columns Eval Task and Random baseline (in per
cent), and ``eval_data`` has the JSONL files that `dataset_uri` names. Items are shuffled, and examples drawn, by the
seeds of nanochat's evaluation, so that the same items have the same prompts.
"""

from __future__ import annotations

import csv
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from llm_assets.row_files import RowFileError, read_rows

from .benchmark_files import BenchmarkError

GROUP = "core"  # the row of all tasks together
TASKS_FILE, BASELINES_FILE, DATA = "core.yaml", "eval_meta_data.csv", "eval_data"
SHUFFLE_SEED, EXAMPLES_SEED = 1337, 1234
Item = Mapping[str, Any]


@dataclass(frozen=True)
class CoreTask:
    """A task of CORE.

    kind: ``multiple_choice`` (one query, several continuations), ``schema`` (several contexts, one continuation) or
    ``language_modeling`` (greedy decoding must yield the continuation). delimiter: before a continuation. baseline:
    share that a random choice gets right. items: shuffled.
    """

    label: str
    kind: str
    shots: int
    delimiter: str
    baseline: float
    items: Sequence[Item]

    @property
    def name(self) -> str:
        """The task in tables."""
        return f"{GROUP}_{self.label}"


def core_files(folder: Path) -> dict[str, Path]:
    """All files of the folder by name, for their digests. Raises BenchmarkError."""
    files = {name: folder / name for name in (TASKS_FILE, BASELINES_FILE)}
    return {**files, **{str(task["dataset_uri"]): folder / DATA / task["dataset_uri"] for task in _listed(folder)}}


def read_core(folder: Path) -> list[CoreTask]:
    """Every task with its items. Raises BenchmarkError, which names the file and the field."""
    baselines = _baselines(folder / BASELINES_FILE)
    tasks = []
    for listed in _listed(folder):
        label, where = str(listed["label"]), folder / TASKS_FILE
        if label not in baselines:
            raise BenchmarkError(f"benchmarks.core: {folder / BASELINES_FILE}: no Random baseline of task {label!r}")
        if listed["icl_task_type"] not in FIELDS:
            kinds = ", ".join(FIELDS)
            raise BenchmarkError(f"benchmarks.core: {where}, task {label!r}: icl_task_type must be one of {kinds}")
        shots = listed["num_fewshot"]
        if not isinstance(shots, list) or not shots or type(shots[0]) is not int or shots[0] < 0:
            raise BenchmarkError(f"benchmarks.core: {where}, task {label!r}: num_fewshot must be a list of a number")
        items = _items(folder / DATA / listed["dataset_uri"], listed["icl_task_type"])
        if len(items) <= shots[0]:
            raise BenchmarkError(f"benchmarks.core: {where}, task {label!r}: {shots[0]} examples of {len(items)} items")
        random.Random(SHUFFLE_SEED).shuffle(items)
        delimiter = str(listed.get("continuation_delimiter", " "))
        tasks.append(CoreTask(label, listed["icl_task_type"], shots[0], delimiter, baselines[label], items))
    return tasks


def _listed(folder: Path) -> list[dict[str, Any]]:
    """The tasks that ``core.yaml`` lists."""
    import yaml

    path = folder / TASKS_FILE
    try:
        content = yaml.safe_load(path.read_text())
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise BenchmarkError(f"benchmarks.core: {path}: {error}") from error
    listed = content.get("icl_tasks") if isinstance(content, dict) else None
    if not isinstance(listed, list) or not listed:
        raise BenchmarkError(f"benchmarks.core: {path}: icl_tasks must be a list of tasks")
    for number, task in enumerate(listed, 1):
        for name in ("label", "icl_task_type", "dataset_uri", "num_fewshot"):
            if not isinstance(task, dict) or name not in task:
                raise BenchmarkError(f"benchmarks.core: {path}, task {number}: no {name}")
    return listed


def _baselines(path: Path) -> dict[str, float]:
    """The share that a random choice gets right, by task."""
    try:
        with path.open(newline="", encoding="utf-8") as file:
            return {row["Eval Task"]: float(row["Random baseline"]) / 100 for row in csv.DictReader(file)}
    except OSError as error:
        raise BenchmarkError(f"benchmarks.core: {path}: {error.strerror}") from error
    except (KeyError, TypeError, ValueError) as error:
        raise BenchmarkError(
            f"benchmarks.core: {path}: needs the columns Eval Task and Random baseline, a number in per cent ({error})"
        ) from error


def _items(path: Path, kind: str) -> list[Item]:
    items: list[Item] = []
    try:
        for row in read_rows(path):
            problem = row.problem or _problem(row.value, kind)
            if problem:
                raise BenchmarkError(f"benchmarks.core: {path}, row {row.number}: {problem}")
            items.append(row.value)
    except RowFileError as error:
        raise BenchmarkError(f"benchmarks.core: {error}") from error
    return items


# The fields of an item: those that are texts, and that with the options, one of which `gold` names.
FIELDS: dict[str, tuple[tuple[str, ...], str]] = {
    "multiple_choice": (("query",), "choices"),
    "schema": (("continuation",), "context_options"),
    "language_modeling": (("context", "continuation"), ""),
}


def _problem(item: Any, kind: str) -> str:
    """What is wrong with an item; empty if nothing is."""
    texts, options = FIELDS[kind]
    if not isinstance(item, Mapping):
        return f"a {type(item).__name__}, not an object"
    for name in texts:
        if not isinstance(item.get(name), str):
            return f"{name} must be text, and is {item.get(name)!r}"
    if not options:
        return ""
    listed, gold = item.get(options), item.get("gold")
    if not isinstance(listed, list) or len(listed) < 2 or not all(isinstance(text, str) for text in listed):
        return f"{options} must be a list of at least 2 texts, and is {listed!r}"
    if type(gold) is not int or not 0 <= gold < len(listed):
        return f"gold is {gold!r}; it must be the place of the right one of {len(listed)} {options}"
    return ""


# Prompts


def prompts_of(task: CoreTask, place: int, items: Sequence[Item]) -> list[str]:
    """The texts of an item with its examples: one per option or, of language modeling, without and with the answer."""
    item, shown = items[place], ""
    others = [number for number in range(len(items)) if number != place]
    for number in random.Random(EXAMPLES_SEED + place).sample(others, min(task.shots, len(others))):
        shown += f"{_WITH_ANSWER[task.kind](items[number], task.delimiter)}\n\n"
    if task.kind == "multiple_choice":
        return [f"{shown}{item['query']}{task.delimiter}{choice}" for choice in item["choices"]]
    if task.kind == "schema":
        contexts = item["context_options"]
        return [f"{shown}{context}{task.delimiter}{item['continuation']}" for context in contexts]
    before = f"{shown}{item['context'].strip()}{task.delimiter}"
    return [before.strip(), f"{before}{item['continuation']}"]


_WITH_ANSWER: dict[str, Callable[[Item, str], str]] = {
    "multiple_choice": lambda item, delimiter: f"{item['query']}{delimiter}{item['choices'][item['gold']]}",
    "schema": lambda item, delimiter: f"{item['context_options'][item['gold']]}{delimiter}{item['continuation']}",
    "language_modeling": lambda item, delimiter: f"{item['context'].strip()}{delimiter}{item['continuation']}",
}


def scored_parts(kind: str, sequences: Sequence[Sequence[int]]) -> Iterator[tuple[list[int], list[int]]]:
    """What is scored of an item's token sequences, each with what comes before it.

    Of a multiple choice, what follows the tokens that all options share; of a schema, the tokens that all end with; of
    language modeling, what the second sequence adds to the first.
    """
    if kind == "schema":
        shared = max(1, _shared([sequence[::-1] for sequence in sequences]))
        for sequence in sequences:
            start = max(1, len(sequence) - shared)
            yield list(sequence[:start]), list(sequence[start:])
        return
    start = max(1, min(_shared(sequences), min(map(len, sequences)) - (kind == "multiple_choice")))
    for sequence in sequences if kind == "multiple_choice" else sequences[1:]:
        yield list(sequence[:start]), list(sequence[start:])


def _shared(sequences: Sequence[Sequence[int]]) -> int:
    """How many tokens all sequences begin with."""
    count = 0
    for tokens in zip(*sequences, strict=False):
        if len(set(tokens)) > 1:
            break
        count += 1
    return count


def asked_text(task: CoreTask, item: Item) -> str:
    """What an item asks, for the search for overlaps."""
    if task.kind == "multiple_choice":
        return str(item["query"])
    if task.kind == "schema":
        return f"{item['context_options'][item['gold']]} {item['continuation']}"
    return f"{item['context']} {item['continuation']}"


def target_of(task: CoreTask, item: Item) -> str:
    """The right answer of an item."""
    options = FIELDS[task.kind][1]
    return str(item[options][item["gold"]] if options else item["continuation"])
