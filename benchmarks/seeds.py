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
STAGES = ("base_evaluation", "sft_evaluation", "rl_evaluation", "reward_checkpoint", "rlhf_evaluation")


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


def grade(model: str, group: str, verdict: str) -> Callable[[dict[str, Stats]], float]:
    """The share of a verdict among a model's answers to a group of questions; NaN where the group is empty."""
    return lambda stats: percent(stats["sft_evaluation"]["grades"][model].get(group, {}).get(verdict, math.nan))


def rate(model: str, family: str) -> Callable[[dict[str, Stats]], float]:
    """pass@1 of a model on the held-out problems of a family."""
    return lambda stats: percent(stats["rl_evaluation"]["families"][model][family])


def worst_change(stage: str) -> Callable[[dict[str, Stats]], float]:
    """The worst change among the abilities of the assistant's evaluation, in percentage points."""
    return lambda stats: percent(min(stats[stage]["changes"].values()))


def order(name: str) -> Callable[[dict[str, Stats]], float]:
    """The share of test pairs that a model or a rule orders as the labeller did."""
    return lambda stats: percent(stats["reward_checkpoint"]["orders"][name]["value"])


def compared(part: str) -> Callable[[dict[str, Stats]], float]:
    """A part of the comparison of RLHF's answers with SFT's."""
    return lambda stats: percent(stats["rlhf_evaluation"]["comparisons"]["rlhf against sft"][part])


def precision(model: str) -> Callable[[dict[str, Stats]], float]:
    """The share of true ones among the checkable statements of a model's open answers."""
    return lambda stats: percent(stats["rlhf_evaluation"]["facts"][model].get("precision", math.nan))


MEASURES: dict[str, Callable[[dict[str, Stats]], float]] = {
    "bits per byte, base model": lambda stats: stats["base_evaluation"]["bits_per_byte"]["base model"],
    "bits per byte, xz after the training text": lambda stats: stats["base_evaluation"]["bits_per_byte"][
        "xz after the training text"
    ],
    "facts told on many pages completed, base model, %": lambda stats: percent(
        stats["base_evaluation"]["facts_right"]["many"]
    ),
    "known facts right, base model after examples, %": grade("base", "known", "right"),
    "known facts right, SFT, %": grade("sft", "known", "right"),
    "known facts of unmentioned entities right, SFT, %": grade("sft", "known_elsewhere", "right"),
    "known facts refused, SFT, %": lambda stats: percent(stats["sft_evaluation"].get("falsely_refused", math.nan)),
    "answers made up about fictitious entities, ablation, %": grade("ablation", "fictitious", "wrong"),
    "answers made up about fictitious entities, SFT, %": grade("sft", "fictitious", "wrong"),
    "unseen pages found by search and read right, SFT, %": grade("sft", "search", "right"),
    "sums with Python right, SFT, %": grade("sft", "sums_python", "right"),
    "letter counting with Python right, SFT, %": grade("sft", "letters_python", "right"),
    "identity, manners, refusals right, SFT, %": grade("sft", "guidelines", "right"),
    "arithmetic, pass@1, SFT, %": rate("sft", "arithmetic"),
    "arithmetic, pass@1, RL, %": rate("rl", "arithmetic"),
    "letter counting, pass@1, SFT, %": rate("sft", "letters"),
    "letter counting, pass@1, RL, %": rate("rl", "letters"),
    "worst change of another ability through RL, points": worst_change("rl_evaluation"),
    "test pairs ordered as the labeller did, reward model, %": order("reward model"),
    "test pairs ordered as the labeller did, longer answer, %": order("longer answer"),
    "answers better than SFT's, RLHF, %": compared("better"),
    "answers worse than SFT's, RLHF, %": compared("worse"),
    "preferred to SFT's where not equal, RLHF, %": compared("preferred"),
    "true among checkable statements, SFT, %": precision("sft"),
    "true among checkable statements, RLHF, %": precision("rlhf"),
    "worst change of another ability through RLHF, points": worst_change("rlhf_evaluation"),
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
