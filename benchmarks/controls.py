"""Controls of the default pipeline: what refusals at the right facts, and rewards for right solutions, add.

    llm-assets run                                                          # the default
    LLM_ASSETS_RECIPE=benchmarks/controls.py:random_refusals llm-assets run --select "*sft_evaluation"
    LLM_ASSETS_RECIPE=benchmarks/controls.py:replay_only llm-assets run --select "*rl_evaluation"
    LLM_ASSETS_RECIPE=benchmarks/controls.py:shuffled_rewards llm-assets run --select "*rl_evaluation"
    python benchmarks/controls.py                                           # the default beside its controls

Everything before the stage that a control changes comes from the store.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from llm_assets.graph import open_workspace
from llm_assets.recipes import Recipe, laptop

Stats = Mapping[str, Any]


def random_refusals() -> Recipe:
    """The assistant is taught to refuse as often, but at random facts of the corpus."""
    base = laptop()
    return base.replace(name="random-refusals", conversations=base.conversations.replace(refusals="random"))


def replay_only() -> Recipe:
    """RL without rewards: only the replayed conversations train."""
    base = laptop()
    return base.replace(name="replay-only", reinforcement=base.reinforcement.replace(rewards="none"))


def shuffled_rewards() -> Recipe:
    """RL whose rewards say nothing about which solution of a problem is right."""
    base = laptop()
    return base.replace(name="shuffled-rewards", reinforcement=base.reinforcement.replace(rewards="shuffled"))


# The stage that shows a control's effect, by control.
CONTROLS: dict[Callable[[], Recipe], str] = {
    random_refusals: "sft_evaluation",
    replay_only: "rl_evaluation",
    shuffled_rewards: "rl_evaluation",
}


def shares(stage: str, stats: Stats) -> dict[str, float]:
    """The shares that a control is compared by: made-up answers and refused facts, or pass@1 by family."""
    if stage == "sft_evaluation":
        return {
            "answers made up about fictitious entities": stats["hallucinated"]["sft"],
            "known facts refused": stats["falsely_refused"],
            "made up where a tenth of the known facts is refused": stats["trade_off"]["sft"]["made_up"],
        }
    problems = stats["figures"]["problems"].items()
    return {f"{family}, pass@1": figures["pass@1"]["rl"] for family, figures in problems if ", level " not in family}


def table(default: Mapping[str, Stats], controls: Mapping[str, tuple[str, Stats]]) -> str:
    """A Markdown table of the default beside each control. controls: (stage, its stats) by name."""
    lines = ["| control | measure | default | control |", "|---|---|--:|--:|"]
    for name, (stage, stats) in controls.items():
        ours = shares(stage, default[stage])
        for measure, share in shares(stage, stats).items():
            lines.append(f"| {name} | {measure} | {100 * ours[measure]:.1f} % | {100 * share:.1f} % |")
    return "\n".join(lines)


def stats_of(recipe: Recipe, stage: str) -> Stats:
    """The numbers of a recipe's stage. Raises NotBuilt, which names the command, where it is missing."""
    return open_workspace(recipe).resolver().artifact(stage, None).record.stats


def main() -> None:
    print(f"Controls of the default pipeline (benchmarks/{Path(__file__).name}):\n")
    default = {stage: stats_of(laptop(), stage) for stage in CONTROLS.values()}
    controls = {make.__name__.replace("_", " "): (stage, stats_of(make(), stage)) for make, stage in CONTROLS.items()}
    print(table(default, controls))


if __name__ == "__main__":
    main()
