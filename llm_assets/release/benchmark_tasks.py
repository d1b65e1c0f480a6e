"""Tasks of lm-evaluation-harness for local files: its own task, with the file in place of the dataset on the hub."""

from __future__ import annotations

import glob
import importlib.util
import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import polars as pl

from llm_assets.artifacts.tables import write_table
from llm_assets.recipes.benchmarks import BenchmarkFile, Benchmarks

from .benchmark_files import BenchmarkError, Row, read_benchmark
from .core_benchmark import read_core

# The harness's own task of each format, below its folder of tasks. arc_challenge differs from arc_easy in its data.
TASKS = {
    "arc": "arc/arc_easy.yaml",
    "mmlu": "mmlu/default/_default_template_yaml",
    "hellaswag": "hellaswag/hellaswag.yaml",
    "gsm8k": "gsm8k/gsm8k.yaml",
}
QUESTIONS, EXAMPLES = "questions", "examples"  # splits


def harness_folder() -> Path:
    """The folder of the harness's tasks. Raises BenchmarkError if it is not installed."""
    spec = importlib.util.find_spec("lm_eval")
    if spec is None or not spec.submodule_search_locations:
        raise BenchmarkError("benchmarks: lm-eval is not installed; run: pip install 'llm-assets[benchmarks]'")
    return Path(spec.submodule_search_locations[0]) / "tasks"


def check_benchmarks(benchmarks: Benchmarks) -> None:
    """Read every local file. Raises BenchmarkError for the first that does not fit, or if the harness is missing."""
    harness_folder()
    for file in benchmarks.files:
        read_benchmark(file)
    if benchmarks.core is not None:
        read_core(Path(benchmarks.core).expanduser())


def write_tasks(files: Iterable[BenchmarkFile], folder: Path) -> None:
    """Write a YAML file for each task of these files, and its questions and examples as Parquet, into a folder.

    ``lm_eval --include_path FOLDER --tasks NAME`` runs them too. A file of the format mmlu becomes a task for each
    subject, and a group of these. Raises BenchmarkError.
    """
    harness = harness_folder()
    folder.mkdir(parents=True, exist_ok=True)
    for file in files:
        rows, examples = read_benchmark(file)
        names = []
        for name, description, task_rows, task_examples in _tasks_of(file, rows, examples):
            names.append(name)
            config = _task_config(file, name, harness, folder, task_rows, task_examples)
            _write(folder / f"{name}.yaml", {**config, **description})
        if file.format == "mmlu":
            group = {"group": file.name, "task": names}
            weights = [{"metric": "acc", "weight_by_size": True}]  # as the harness's group mmlu
            _write(folder / f"{file.name}.group.yaml", {**group, "aggregate_metric_list": weights})


def _tasks_of(
    file: BenchmarkFile, rows: list[Row], examples: list[Row]
) -> Iterator[tuple[str, dict[str, str], list[Row], list[Row]]]:
    """Name, description, questions and examples of each task that a file becomes."""
    if file.format != "mmlu":
        yield file.name, {}, rows, examples
        return
    for subject in sorted({row["subject"] for row in rows}):
        about = f"The following are multiple choice questions (with answers) about {subject.replace('_', ' ')}.\n\n"
        of_subject = [[row for row in part if row["subject"] == subject] for part in (rows, examples)]
        yield f"{file.name}_{subject}", {"description": about}, *of_subject


def _task_config(
    file: BenchmarkFile, name: str, harness: Path, folder: Path, rows: list[Row], examples: list[Row]
) -> dict[str, Any]:
    """The harness's task with other data."""
    files = {QUESTIONS: rows, **({EXAMPLES: examples} if examples else {})}
    paths = {split: folder / f"{name}.{split}.parquet" for split in files}
    for split, of_split in files.items():
        write_table(pl.DataFrame(of_split), paths[split])
    patterns = {split: glob.escape(str(path)) for split, path in paths.items()}  # `datasets` takes paths for patterns
    splits = {"training_split": None, "validation_split": None, "test_split": QUESTIONS}
    return {
        "include": str(harness / TASKS[file.format]),
        "task": name,
        "task_alias": name,
        "tag": [],
        "dataset_path": "parquet",
        "dataset_name": None,
        "dataset_kwargs": {"data_files": patterns, "cache_dir": str(folder / "cache")},
        **splits,
        "fewshot_split": EXAMPLES if examples else None,
        **({} if file.shots is None else {"num_fewshot": file.shots}),
    }


def _write(path: Path, config: dict[str, Any]) -> None:
    path.write_text(json.dumps(config, indent=1, ensure_ascii=False) + "\n")  # JSON is YAML
