"""Replication: the headline figures over several seeds and worlds, as mean, range and interval.

`llm-assets replicate` builds the replicas and keeps their figures in a file. What README and docs quote, and what
`llm-assets run` shows beside its own run, comes from the file that is published with the package.
"""

from __future__ import annotations

import json
import platform
import statistics
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from llm_assets import __version__
from llm_assets.recipes.replicas import Replica
from llm_assets.settings import PROJECT

from .headlines import HEADLINES, Figures, Headline, own_questions

PUBLISHED = Path(__file__).parent / "replicated"  # a file per recipe
FIRST_WORLD = 6  # recipes are tuned on worlds 1 to 5


class Spread(NamedTuple):
    """A headline over runs. low, high: its range. error: half the width of the mean's 95 % interval (Student's t)."""

    mean: float
    low: float
    high: float
    error: float | None
    values: tuple[float, ...]


def replicas(seeds: int, worlds: int) -> list[Replica]:
    """Seeds from 1 on each world from 4 on; without worlds, on the recipe's own crawls."""
    numbers: Sequence[int | None] = range(FIRST_WORLD, FIRST_WORLD + worlds) if worlds else [None]
    return [Replica(seed, world) for seed in range(1, seeds + 1) for world in numbers]


def spread(values: Sequence[float]) -> Spread:
    """Mean, range and interval of a figure. Raises ValueError without values."""
    if not values:
        raise ValueError("no run has this figure")
    error = None
    if len(values) > 1:
        from scipy.stats import t

        error = float(t.ppf(0.975, len(values) - 1)) * statistics.stdev(values) / len(values) ** 0.5
    return Spread(statistics.fmean(values), min(values), max(values), error, tuple(values))


def run_record(replica: Replica, identity: str, figures: Figures) -> dict[str, Any]:
    """What is kept of a run: its headline values by name (None where a figure is missing)."""
    return {
        "seed": replica.seed,
        "world": replica.world,
        "scorecard": identity,
        "headlines": {headline.name: headline.value(figures) for headline in HEADLINES},
        "baselines": {
            headline.name: headline.baseline[1](figures) for headline in HEADLINES if headline.baseline is not None
        },
    }


def provenance(command: str) -> dict[str, Any]:
    """Where figures come from: command, commit, machine and versions."""
    import torch

    return {
        "command": command,
        "commit": _commit(),
        "version": __version__,
        "processor": _processor(),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "python": platform.python_version(),
    }


def _commit() -> str:
    """The short hash of the checked-out commit, with a + if files differ from it; empty outside a checkout."""
    git = ["git", "-C", str(PROJECT)]
    head = subprocess.run([*git, "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False)
    if head.returncode:
        return ""
    changed = subprocess.run([*git, "status", "--porcelain", "-uno"], capture_output=True, text=True, check=False)
    return head.stdout.strip() + ("+" if changed.stdout.strip() else "")


def _processor() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def published(recipe: str) -> dict[str, Any] | None:
    """The published record of a recipe's replicas; None if there is none."""
    file = PUBLISHED / f"{recipe}.json"
    return dict(json.loads(file.read_text())) if file.exists() else None


def spreads(record: Mapping[str, Any], part: str = "headlines") -> dict[str, Spread]:
    """By name, the spread of each headline, or of its baseline, that some run has."""
    by_name = {
        headline.name: [value for run in record["runs"] if (value := run[part].get(headline.name)) is not None]
        for headline in HEADLINES
    }
    return {name: spread(values) for name, values in by_name.items() if values}


def table(record: Mapping[str, Any], short: bool = False) -> list[str]:
    """The record as a Markdown table, with the targets that every run should reach.

    short: only the figures that have a baseline.
    """
    spread_by_name, baselines = spreads(record), spreads(record, "baselines")
    lines = ["| figure | mean | range | to compare with | target of every run |", "|---|--:|--:|--:|---|"]
    for headline in HEADLINES:
        if headline.name in spread_by_name and (headline.baseline or not short):
            cells = [_mean(headline, spread_by_name[headline.name]), _range(headline, spread_by_name[headline.name])]
            beside = ""
            if headline.baseline is not None and headline.name in baselines:
                beside = f"{headline.baseline[0]}: {headline.text(baselines[headline.name].mean)}"
            cells += [beside, _target(headline, spread_by_name[headline.name])]
            lines.append(f"| {headline.name} | {' | '.join(cells)} |")
    return lines


def beside_published(figures: Figures, record: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    """A run's headline figures beside the published ones: name, value, mean and range over the published runs."""
    spread_by_name = spreads(record)
    return [
        (
            headline.name,
            headline.text(headline.value(figures)),
            f"{headline.text(spread_by_name[headline.name].mean)} ({_range(headline, spread_by_name[headline.name])})",
        )
        for headline in HEADLINES
        if headline.name in spread_by_name
    ]


def beside_baselines(figures: Figures) -> list[tuple[str, str, str]]:
    """A run's headline figures, those that it has, beside what could win for nothing: name, value, baseline."""
    rows = []
    for headline in (*own_questions(figures), *HEADLINES):
        if (value := headline.value(figures)) is None:
            continue
        name, baseline = headline.baseline or ("", lambda _: None)
        against = baseline(figures)
        rows.append(
            (headline.name, headline.text(value), "" if against is None else f"{name}: {headline.text(against)}")
        )
    return rows


def missed(record: Mapping[str, Any]) -> list[str]:
    """The headlines whose target some run misses."""
    spread_by_name = spreads(record)
    return [
        headline.name
        for headline in HEADLINES
        if headline.name in spread_by_name
        and headline.target is not None
        and not all(map(headline.target.is_met, spread_by_name[headline.name].values))
    ]


def description(record: Mapping[str, Any]) -> str:
    """Where the figures of a record come from, in a sentence."""
    origin, runs = record["provenance"], record["runs"]
    worlds = sorted({run["world"] for run in runs} - {None})
    numbers = sorted({run["seed"] for run in runs})
    seeds = f"seed {numbers[0]}" if len(numbers) == 1 else f"seeds {numbers[0]} to {numbers[-1]}"
    places = "the crawls of the recipe, which it was tuned on"
    if worlds:
        places = f"worlds {' and '.join(map(str, worlds))}, which nothing was tuned on"
    count = "One run" if len(runs) == 1 else f"{len(runs)} runs"
    threads = f"{origin['threads']} thread{'s' * (origin['threads'] > 1)}"
    return (
        f"{count} with {seeds} on {places}: `{origin['command']}` at commit {origin['commit']} "
        f"({origin['processor']}, torch {origin['torch']} with {threads})."
    )


def _mean(headline: Headline, values: Spread) -> str:
    error = "" if values.error is None else f" ± {headline.text(values.error).lstrip('+')}"
    return f"{headline.text(values.mean)}{error}"


def _range(headline: Headline, values: Spread) -> str:
    if len(values.values) == 1:
        return "one run"
    return f"{headline.text(values.low)} to {headline.text(values.high)}"


def _target(headline: Headline, values: Spread) -> str:
    """The target, and in how many runs it is met."""
    if headline.target is None:
        return ""
    met, runs = sum(headline.target.is_met(value) for value in values.values), len(values.values)
    limit = headline.text(headline.target.limit).replace(".0 ", " ")
    return f"{headline.target.sense} {limit}: met in {met} of {runs} run{'s' * (runs > 1)}"
