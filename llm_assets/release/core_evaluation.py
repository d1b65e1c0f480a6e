"""Asks a model DCLM's CORE. Only the process of `benchmark_evaluation` imports this module."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

from .benchmark_model import EngineModel
from .core_benchmark import GROUP, CoreTask, asked_text, prompts_of, scored_parts, target_of

METRIC, CENTERED = "acc", "centered"


def described_core(tasks: Sequence[CoreTask], limit: int | None) -> dict[str, Any]:
    """The tasks as `benchmark_evaluation_process.described` has those of the harness."""
    return {
        task.name: {
            "shots": task.shots,
            "version": "",
            "names": [str(place) for place in range(len(task.items[:limit]))],
            "texts": [asked_text(task, item) for item in task.items[:limit]],
            "chance": task.baseline,
        }
        for task in tasks
    }


def ask_core(
    model: EngineModel, tasks: Sequence[CoreTask], limit: int | None
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Figures and items of all tasks. CORE is the mean of the tasks' accuracies, centered on their random baselines.

    An accuracy a is centered as (a - b) / (1 - b), with the baseline b: 0 is a random choice, 1 is perfect.
    """
    figures: list[dict[str, Any]] = []
    items: list[dict[str, Any]] = []
    centered = []
    for task in tasks:
        of_task = ask_task(model, task, limit)
        items += of_task
        accuracy = sum(item["value"] for item in of_task) / len(of_task)
        centered.append((accuracy - task.baseline) / (1 - task.baseline))
        figures.append(figure(task.name, METRIC, accuracy, len(of_task)))
        figures.append(figure(task.name, CENTERED, centered[-1], len(of_task)))
    figures.append(figure(GROUP, CENTERED, sum(centered) / len(centered), len(items)))
    return figures, items


def figure(task: str, metric: str, value: float, n: int) -> dict[str, Any]:
    """A figure as `benchmark_evaluation_process.figures_of` has those of the harness."""
    return {"task": task, "metric": metric, "filter": "none", "value": value, "error": None, "n": n}


def ask_task(model: EngineModel, task: CoreTask, limit: int | None) -> list[dict[str, Any]]:
    """The response to every item, and whether it is right."""
    items = task.items[:limit]
    prompts = [prompts_of(task, place, items) for place in range(len(items))]
    parts = [list(scored_parts(task.kind, [model.tok_encode(text) for text in of_item])) for of_item in prompts]
    scores = iter(model.score([pair for of_item in parts for pair in of_item]))
    rows = []
    for place, (item, of_item) in enumerate(zip(items, parts, strict=True)):
        by_option = [(next(scores), len(continuation)) for _, continuation in of_item]
        response, value = judged(task, item, by_option)
        digest = hashlib.sha256(prompts[place][0].encode()).hexdigest()[:16]
        place_of = {"task": task.name, "filter": "none", "metric": METRIC, "item": place, "prompt": digest}
        rows.append({**place_of, "target": target_of(task, item), "response": response, "value": value})
    return rows


def judged(
    task: CoreTask, item: Mapping[str, Any], scores: Sequence[tuple[tuple[float, bool], int]]
) -> tuple[str, float]:
    """The response to an item and whether it is right, 0 or 1.

    scores: of each option its log-probability, whether it is the greedy continuation, and its number of tokens. The
    option with the highest log-probability per token is the response.
    """
    if task.kind == "language_modeling":
        [((score, is_greedy), _)] = scores
        return f"{score:.4f}", float(is_greedy)
    per_token = [score / tokens for (score, _), tokens in scores]
    best = per_token.index(max(per_token))
    options = item["choices" if task.kind == "multiple_choice" else "context_options"]
    return str(options[best]), float(best == item["gold"])
