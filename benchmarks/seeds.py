"""The default pipeline with other seeds, on other sample webs: how far its results vary from run to run.

    llm-assets run                                                   # seed 1, the default
    LLM_ASSETS_RECIPE=benchmarks/seeds.py:seed_2 llm-assets run
    LLM_ASSETS_RECIPE=benchmarks/seeds.py:seed_3 llm-assets run
    python benchmarks/seeds.py                                       # the table of all three

Nothing was tuned on the webs of seeds 2 and 3.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from llm_assets.graph import open_workspace
from llm_assets.recipes import Recipe, SampleWeb, laptop

Stats = Mapping[str, Any]
STAGES = ("base_evaluation", "sft_evaluation", "rl_evaluation", "rlhf_evaluation")


def of_seed(seed: int) -> Recipe:
    """`laptop` on the sample web of this seed, with every seed of the recipe replaced."""
    base = laptop()
    changes: dict[str, Any] = {}
    for name in type(base).model_fields:
        group = getattr(base, name)
        if "seed" in getattr(type(group), "model_fields", {}):
            changes[name] = group.replace(seed=seed)
    crawls = {f"sample-{seed}": SampleWeb(world=seed)}
    return base.replace(name=f"laptop-{seed}", crawls=crawls, recrawls=(), **changes)


def seed_2() -> Recipe:
    return of_seed(2)


def seed_3() -> Recipe:
    return of_seed(3)


def percent(value: float) -> float:
    return 100 * value


def figure(suite: str, group: str, metric: str, model: str) -> Callable[[dict[str, Stats]], float]:
    """A figure of the evaluation suite, a share in per cent; NaN where it was not measured."""

    def value(stats: dict[str, Stats]) -> float:
        for of_stage in stats.values():
            by_model = of_stage["figures"].get(suite, {}).get(group, {}).get(metric, {})
            if model in by_model:
                return by_model[model] if metric == "bits_per_byte" else percent(by_model[model])
        return math.nan

    return value


def graded(model: str, group: str, verdict: str) -> Callable[[dict[str, Stats]], float]:
    """The share of a verdict among a model's answers to a group of questions."""
    return figure("questions", group, verdict, model)


def passed(model: str, family: str) -> Callable[[dict[str, Stats]], float]:
    """pass@1 on the test problems of a family."""
    return figure("problems", family, "pass@1", model)


def worst_change(stage: str, before: str) -> Callable[[dict[str, Stats]], float]:
    """The worst change among the abilities of the assistant's evaluation, in percentage points."""

    def worst(stats: dict[str, Stats]) -> float:
        questions = stats[stage]["figures"]["questions"].values()
        changes = [change for group in questions for change in group.get(f"change from {before}", {}).values()]
        return percent(min(changes, default=math.nan))

    return worst


def ordered(name: str) -> Callable[[dict[str, Stats]], float]:
    """The share of test pairs that a model or a rule orders as the labeller did."""
    return figure("preference", "test pairs", "ordered alike", name)


def answered(metric: str, model: str) -> Callable[[dict[str, Stats]], float]:
    """A share of a model's answers to open prompts."""
    return figure("open_answers", "open prompts", metric, model)


CONSTANT = "best constant answer"
MEASURES: dict[str, Callable[[dict[str, Stats]], float]] = {
    "bits per byte, base model": figure("text", "validation pages", "bits_per_byte", "base"),
    "bits per byte, 5-gram of tokens": figure("text", "validation pages", "bits_per_byte", "5-gram of tokens"),
    "bits per byte, xz after the training text": figure(
        "text", "validation pages", "bits_per_byte", "xz after the training text"
    ),
    "facts told on many pages completed, base model, %": figure("text", "facts on many pages", "right", "base"),
    "known facts right, base model after examples, %": graded("base", "known", "right"),
    "known facts right, SFT, %": graded("sft", "known", "right"),
    "known facts of unmentioned entities right, SFT, %": graded("sft", "known_elsewhere", "right"),
    "known facts of unmentioned entities right, RLHF, %": graded("rlhf", "known_elsewhere", "right"),
    "known facts refused, SFT, %": lambda stats: percent(stats["sft_evaluation"].get("falsely_refused", math.nan)),
    "answers made up about fictitious entities, ablation, %": graded("ablation", "fictitious", "wrong"),
    "answers made up about fictitious entities, SFT, %": graded("sft", "fictitious", "wrong"),
    "answers made up about fictitious entities, RLHF, %": graded("rlhf", "fictitious", "wrong"),
    "unseen pages found by search and read right, SFT, %": graded("sft", "search", "right"),
    "unseen pages found by search and read right, RLHF, %": graded("rlhf", "search", "right"),
    "sums with Python right, SFT, %": graded("sft", "sums_python", "right"),
    "letter counting with Python right, SFT, %": graded("sft", "letters_python", "right"),
    "identity, manners, refusals right, SFT, %": graded("sft", "guidelines", "right"),
    "arithmetic, pass@1, best constant answer, %": passed(CONSTANT, "arithmetic"),
    "arithmetic, pass@1, SFT, %": passed("sft", "arithmetic"),
    "arithmetic, pass@1, RL, %": passed("rl", "arithmetic"),
    "arithmetic, pass@1, RLHF, %": passed("rlhf", "arithmetic"),
    "letter counting, pass@1, best constant answer, %": passed(CONSTANT, "letters"),
    "letter counting, pass@1, SFT, %": passed("sft", "letters"),
    "letter counting, pass@1, RL, %": passed("rl", "letters"),
    "worst change of another ability through RL, points": worst_change("rl_evaluation", "sft"),
    "test pairs ordered as the labeller did, reward model, %": ordered("reward model"),
    "test pairs ordered as the labeller did, longer answer, %": ordered("longer answer"),
    "answers better than SFT's, RLHF, %": answered("better than sft", "rlhf"),
    "answers worse than SFT's, RLHF, %": answered("worse than sft", "rlhf"),
    "preferred to SFT's where not equal, RLHF, %": answered("preferred to sft", "rlhf"),
    "true among checkable statements, SFT, %": answered("precision", "sft"),
    "true among checkable statements, RLHF, %": answered("precision", "rlhf"),
    "worst change of another ability since SFT, RLHF, points": worst_change("rlhf_evaluation", "sft"),
}


def table(seeds: list[dict[str, Stats]]) -> str:
    """A Markdown table of every measure: its mean, its range and its value for each seed."""
    names = [f"seed {number}" for number in range(1, len(seeds) + 1)]
    lines = [
        f"| measure | mean | range | {' | '.join(names)} |",
        f"|---|--:|--:|{'--:|' * len(seeds)}",
    ]
    for measure, value_of in MEASURES.items():
        values = [value_of(stats) for stats in seeds]
        digits = 3 if measure.startswith("bits") else 1
        low, high = min(values), max(values)
        cells = [f"{sum(values) / len(values):.{digits}f}", f"{low:.{digits}f} to {high:.{digits}f}"]
        cells += [f"{value:.{digits}f}" for value in values]
        lines.append(f"| {measure} | {' | '.join(cells)} |")
    return "\n".join(lines)


def stats_of(recipe: Recipe) -> dict[str, Stats]:
    """The numbers of a recipe's evaluations. Raises NotBuilt, which names the command, where one is missing."""
    resolver = open_workspace(recipe).resolver()
    return {name: resolver.artifact(name, None).record.stats for name in STAGES}


def main() -> None:
    file = Path(__file__).name
    print(f"Three runs of the default pipeline (benchmarks/{file}):\n")
    print(table([stats_of(recipe) for recipe in (laptop(), seed_2(), seed_3())]))


if __name__ == "__main__":
    main()
