"""The process of `benchmark_evaluation`: ``python -m llm_assets.release.benchmark_evaluation_process job.json``.

It asks every model every benchmark, and writes ``results.json`` next to the job. Needs torch, transformers and lm-eval.
"""

from __future__ import annotations

import hashlib
import os
import random
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

# Before the import of lm_eval, which reads it: its bootstraps are seeded, and need no processes of their own.
os.environ["LMEVAL_DISABLE_MULTIPROC"] = "1"

import numpy as np
import torch
from lm_eval.api.task import ConfigurableTask
from lm_eval.evaluator import evaluate
from lm_eval.tasks import TaskManager

from llm_assets.compute.process import Reporter, run_job, write_results
from llm_assets.model.checkpoint import load_checkpoint
from llm_assets.model.devices import pick_device
from llm_assets.model.sampling import Engine

from .benchmark_files import ROW_NAMES, BenchmarkError
from .benchmark_model import EngineModel, exported_tokenizer
from .core_benchmark import GROUP, read_core
from .core_evaluation import ask_core, described_core
from .jobs import BenchmarkedCheckpoint, BenchmarkJob, HarnessTask

BOOTSTRAPS = 1_000  # resamples for the standard error of a metric that is no mean
_LABELS = re.compile(r"\A(?:Question|Problem|Q): ?|\s*(?:Answer|A):?\s*\Z")


def main(job: BenchmarkJob, folder: Path, report: Reporter) -> None:
    """Ask all benchmarks of all models. Raises BenchmarkError before a model is loaded if a task cannot be."""
    loaded = {task.name: load_task(job, task) for task in job.tasks}
    core = read_core(Path(job.core)) if job.core is not None else []
    results: dict[str, Any] = {"tasks": {}, "groups": {}, "models": {}}
    for of_name in loaded.values():
        results["tasks"].update({name: described(task, job.limit) for name, task in of_name["tasks"].items()})
        results["groups"].update(groups_of(of_name))
    if core:
        results["tasks"].update(described_core(core, job.limit))
        results["groups"][GROUP] = [task.name for task in core]
    steps = len(loaded) + bool(core)
    for number, checkpoint in enumerate(job.models):
        model = engine_model(job, checkpoint, folder / "tokenizers" / checkpoint.name)
        answers: dict[str, Any] = {"figures": [], "items": []}
        for place, (name, of_name) in enumerate(loaded.items()):
            step = number * steps + place
            report("task", name=f"{name}, {checkpoint.name}", number=step, of=steps * len(job.models))
            evaluated = ask(job, model, of_name, job.chat_template and checkpoint.has_chat)
            answers["figures"] += figures_of(evaluated)
            answers["items"] += items_of(evaluated, of_name["tasks"])
        if core:
            step = number * steps + len(loaded)
            report("task", name=f"{GROUP}, {checkpoint.name}", number=step, of=steps * len(job.models))
            figures, items = ask_core(model, core, job.limit)
            answers["figures"] += figures
            answers["items"] += items
        results["models"][checkpoint.name] = {**answers, "requests": model.requests, "cut": model.cut}
    write_results(folder, results)


def engine_model(job: BenchmarkJob, checkpoint: BenchmarkedCheckpoint, folder: Path) -> EngineModel:
    """A checkpoint with the harness's interface."""
    model, encoding = load_checkpoint(Path(checkpoint.folder), pick_device(job.device))
    tokenizer = exported_tokenizer(encoding, model.shape.context, checkpoint.has_chat, folder)
    return EngineModel(Engine(model, encoding), tokenizer, checkpoint.has_chat, job.seed)


# Tasks


def load_task(job: BenchmarkJob, task: HarnessTask) -> dict[str, Any]:
    """The tasks and groups of a name, with their data. Raises BenchmarkError."""
    manager = _manager(job.folder, job.needs_index)
    if task.name not in manager.all_tasks:
        raise BenchmarkError(f"benchmarks.tasks: the harness has no task, group or tag {task.name!r}: lm_eval ls tasks")
    try:
        loaded = manager.load([task.name])
    except Exception as error:  # whatever reading a dataset raises, from a missing network to a missing package
        raise BenchmarkError(f"benchmark {task.name}: cannot be loaded: {type(error).__name__}: {error}") from error
    for name, of_name in loaded["tasks"].items():
        if getattr(of_name, "UNSAFE_CODE", False) or getattr(of_name, "MULTIMODAL", False):
            raise BenchmarkError(f"benchmark {name}: runs programs that the model writes, or shows it images or sound")
        if of_name.OUTPUT_TYPE == "generate_until" and job.max_tokens is not None:
            of_name.set_config(key="generation_kwargs", value={"max_gen_toks": job.max_tokens}, update=True)
        # As the harness does: a number that a task's own YAML sets to 0 stays.
        if task.shots is not None and of_name.get_config("num_fewshot") != 0:
            of_name.set_config(key="num_fewshot", value=task.shots)
        elif of_name.get_config("num_fewshot") is None:
            of_name.set_config(key="num_fewshot", value=0)
    return dict(loaded)


_managers: dict[bool, TaskManager] = {}


def _manager(folder: str, needs_index: bool) -> TaskManager:
    """The known tasks. The index of the harness's own takes seconds to read."""
    if needs_index not in _managers:
        _managers[needs_index] = TaskManager(include_path=folder, include_defaults=needs_index)
    return _managers[needs_index]


def described(task: ConfigurableTask, limit: int | None) -> dict[str, Any]:
    """Shots, the task's version, and by item its name and what it asks.

    chance: the share that a random choice gets right; None if it is no multiple choice.
    """
    docs = list(task.eval_docs)[:limit]
    options = [len(task.doc_to_choice(doc)) for doc in docs] if task.OUTPUT_TYPE == "multiple_choice" else []
    return {
        "shots": task.get_config("num_fewshot"),
        "version": str(task.VERSION),
        "names": [row_name(doc, place) for place, doc in enumerate(docs)],
        "texts": [question_of(task, doc) for doc in docs],
        "chance": sum(1 / count for count in options) / len(options) if options else None,
    }


def row_name(doc: Mapping[str, Any], place: int) -> str:
    """What the dataset calls an item, or else its place."""
    named = next((str(doc[column]) for column in ROW_NAMES.values() if doc.get(column) not in (None, "")), "")
    return named or str(place)


def question_of(task: ConfigurableTask, doc: Mapping[str, Any]) -> str:
    """What an item asks, without the labels of the prompt."""
    text = task.doc_to_text(doc)
    if not isinstance(text, str):  # the place of the right one of several contexts, as in WinoGrande
        text = task.doc_to_choice(doc)[text]
    if not text.strip():  # a whole text is scored
        text = str(task.doc_to_target(doc))
    return _LABELS.sub("", text)


def groups_of(loaded: Mapping[str, Any]) -> dict[str, list[str]]:
    """The tasks of each group."""
    return {name: [task.task_name for task in group.get_all_tasks()] for name, group in loaded["groups"].items()}


# Answers


def ask(job: BenchmarkJob, model: EngineModel, loaded: Mapping[str, Any], with_template: bool) -> Mapping[str, Any]:
    """The harness's results for tasks and groups. Seeds are set as by ``lm_eval``, so examples are the same."""
    random.seed(0)
    np.random.seed(job.seed)
    torch.manual_seed(job.seed)
    for task in loaded["tasks"].values():
        task.set_fewshot_seed(job.seed)
    return evaluate(
        model,
        loaded,
        limit=job.limit,
        bootstrap_iters=BOOTSTRAPS,
        apply_chat_template=with_template,
        fewshot_as_multiturn=with_template,
    )


def figures_of(evaluated: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The harness's own values with their standard errors, of every task and group."""
    figures = []
    for name, values in evaluated["results"].items():
        for key, value in values.items():
            metric, _, of_filter = key.partition(",")
            if not of_filter or metric.endswith("_stderr"):
                continue
            error = values.get(f"{metric}_stderr,{of_filter}")
            figures.append(
                {
                    "task": name,
                    "metric": metric,
                    "filter": of_filter,
                    "value": float(value),
                    "error": float(error) if isinstance(error, (int, float)) else None,
                    "n": int(values["sample_len"]),
                }
            )
    return figures


def items_of(evaluated: Mapping[str, Any], tasks: Mapping[str, ConfigurableTask]) -> Iterator[dict[str, Any]]:
    """A row for every item and metric."""
    for name, samples in evaluated["samples"].items():
        task = tasks[name]
        for sample in samples:
            target = target_of(task, sample["doc"], sample["target"])
            prompt = str(sample["arguments"][0][0])
            for metric in sample["metrics"]:
                value = sample[metric]
                yield {
                    "task": name,
                    "filter": sample["filter"],
                    "metric": metric,
                    "item": sample["doc_id"],
                    "prompt": hashlib.sha256(prompt.encode()).hexdigest()[:16],
                    "target": target,
                    "response": response_of(task, sample, metric),
                    "value": float(value) if isinstance(value, (bool, int, float, np.number)) else None,
                }


def target_of(task: ConfigurableTask, doc: Any, target: Any) -> str:
    """The right answer as text."""
    if task.OUTPUT_TYPE == "multiple_choice" and isinstance(target, int) and not task.multiple_input:
        return str(task.doc_to_choice(doc)[target])
    return str(target)


def response_of(task: ConfigurableTask, sample: Mapping[str, Any], metric: str) -> str:
    """What the model answered: the choice that the metric goes by, the whole text, or a log-probability."""
    [[first, *_], *_] = sample["resps"]
    if task.OUTPUT_TYPE == "multiple_choice":
        choices = task.doc_to_choice(sample["doc"])
        scores = np.array([score for score, _ in sample["filtered_resps"][: len(choices)]])
        lengths = {"acc_norm": [len(choice) for choice in choices]}
        lengths["acc_bytes"] = [len(choice.encode()) for choice in choices]
        return str(choices[int(np.argmax(scores / np.array(lengths.get(metric, 1))))])
    if task.OUTPUT_TYPE == "generate_until":
        return str(first)
    return f"{first[0] if isinstance(first, (list, tuple)) else first:.4f}"


if __name__ == "__main__":
    run_job(main, BenchmarkJob)
