"""What ``llm-assets plan --crawl`` predicts for a run of many WARC files, beside what the run takes.

    python benchmarks/snapshot_plan.py --warc FOLDER --json FILE [--files N] [--measured N] [--workers N] [--cores N]

The WARC files of the folder are split into smaller ones between records. Some of these are processed first, from WARC
to tokens, and their rates predict the run of the others. Then the others are processed. `stages` compares CPU-seconds,
pages, bytes and tokens. `wall` compares the seconds from start to end on `--cores` cores: simulated with the predicted
times of tasks, and with those that the run has measured. `engine` tests the simulation itself: the seconds of the
stages that ran on `--workers` processes, beside those simulated for as many from the seconds of their tasks. Everything
first runs once on two files, so that compiling is not measured. `fineweb` is the plan of FineWeb's 96 snapshots.

    python benchmarks/snapshot_plan.py --warc FOLDER --rates FILE

writes the rates that come with the project: of all files as they are. A quarter of the files, in eight parts each,
shows what does not grow with a crawl.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import platform
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from llm_assets.artifacts import Workspace, materialize
from llm_assets.cli.crawl_forecast import FILE_BYTES, CrawlForecast, Fleet, Snapshot, forecast
from llm_assets.cli.crawl_rates import (
    IN_DUCKDB,
    ONE_PROCESS,
    READS,
    CrawlRates,
    dump_rates,
    fixed_costs,
    measured_rates,
    usual_rates,
)
from llm_assets.compute import LocalEngine
from llm_assets.compute.simulation import TaskLoad, simulate
from llm_assets.graph import GRAPH, open_workspace
from llm_assets.recipes import Recipe, Tokenizer, WarcFiles
from llm_assets.warc import read_captures

CRAWL = "pages"
GROUPS = ("web", "curation", "tokens")
# FineWeb's snapshots, CC-MAIN-2013-20 to CC-MAIN-2024-18: their pages by the statistics of Common Crawl
# (github.com/commoncrawl/cc-crawl-statistics, plots/crawlsize/monthly.csv), and about 75 TB each (arXiv:2404.09770).
FINEWEB_SNAPSHOTS = 96
FINEWEB_PAGES = 260.57e9
SNAPSHOT_BYTES = 75e12


def split_files(files: Sequence[Path], count: int, folder: Path) -> list[Path]:
    """`count` WARC files of about the same size with the records of `files`, cut before a capture's record."""
    sizes = [path.stat().st_size for path in files]
    parts: list[Path] = []
    for place, path in enumerate(files):
        end = round(count * sum(sizes[: place + 1]) / sum(sizes))
        number = max(1, end - len(parts))
        starts = [capture.offset for capture in read_captures(path)]
        targets = [sizes[place] * part / number for part in range(1, number)]
        cuts = [0, *(min(starts, key=lambda start, target=target: abs(start - target)) for target in targets)]
        data = path.read_bytes()
        for first, last in zip(cuts, [*cuts[1:], len(data)], strict=True):
            parts.append(folder / f"{path.name.partition('.')[0]}-{len(parts):03}.warc.gz")
            parts[-1].write_bytes(data[first:last])
    return parts


def process(files: Sequence[Path], folder: Path, workers: int, vocabulary: int) -> Workspace:
    """Build every stage from these WARC files to their tokens, in a store of its own."""
    warc = folder / "warc"
    warc.mkdir(parents=True, exist_ok=True)
    for path in files:
        if not (warc / path.name).is_symlink():
            (warc / path.name).symlink_to(path.resolve())
    os.environ["LLM_ASSETS_DATA"] = str(folder / "data")
    tokenizer = Tokenizer(vocabulary=vocabulary)
    recipe = Recipe(name="plan", crawls={CRAWL: WarcFiles(path=str(warc))}, tokenizer=tokenizer)
    workspace = open_workspace(recipe)
    workspace.engine = LocalEngine(workers)
    for stage in GRAPH:
        if stage.group in GROUPS:
            materialize(stage, CRAWL if stage.per_crawl else None, workspace)
    return workspace


def compare(predicted: float, actual: float) -> dict[str, float]:
    """Both numbers, and by how much the prediction is off, as a share of the actual one."""
    error = predicted / actual - 1 if actual else 0.0
    return {"predicted": round(predicted, 3), "actual": round(actual, 3), "error": round(error, 4)}


def compare_stages(predicted: CrawlForecast, actual: CrawlForecast) -> dict[str, dict[str, Any]]:
    """What was predicted of each stage beside what it was."""
    stages = {}
    for ours, real in zip(predicted.stages, actual.stages, strict=True):
        assert ours.stage == real.stage
        stages[ours.stage] = {
            name: compare(getattr(ours, name), getattr(real, name))
            for name in ("cpu_seconds", "written", "kept_pages", "tokens")
            if getattr(real, name) is not None
        }
    return stages


def task_seconds(workspace: Workspace, stage: str, clock: str) -> tuple[list[float], float]:
    """The times of a stage's tasks by file, the largest first, and of what one process did. clock: a field of timings.

    What is outside of tasks is known in CPU-seconds alone.
    """
    record = workspace.store.latest(stage, CRAWL if GRAPH[stage].per_crawl else None).record
    files = workspace.store.latest("raw_warc", CRAWL).record.files
    sizes = {name.removeprefix("warc/"): entry.bytes for name, entry in files.items() if name.startswith("warc/")}
    of_files = sorted(record.tasks.keys() & sizes.keys(), key=lambda name: -sizes[name])
    shared = [] if stage in ONE_PROCESS else [float(record.tasks[name][clock]) for name in of_files]
    everything = sum(float(task[clock]) for task in record.tasks.values())
    in_tasks = sum(float(task["cpu_seconds"]) for task in record.tasks.values())
    outside = max(0.0, float(record.timings["cpu_seconds"]) - in_tasks)
    return shared, everything - sum(shared) + outside


def simulated(workspace: Workspace, stages: Sequence[str], clock: str, cores: int) -> float:
    """Seconds from start to end of these stages, one after another, with the run's own tasks on so many cores.

    DuckDB is taken to use all of them, as in the plan.
    """
    total = 0.0
    for stage in stages:
        shared, single = task_seconds(workspace, stage, clock)
        total += single / (cores if stage in IN_DUCKDB else 1) + simulate(map(TaskLoad, shared), cores).seconds
    return total


def engine_check(workspace: Workspace, stages: Sequence[str], workers: int) -> Iterator[tuple[str, dict[str, float]]]:
    """The wall seconds of each stage with tasks by file, beside those simulated from the seconds of its tasks."""
    for stage in stages:
        if stage not in ONE_PROCESS and task_seconds(workspace, stage, "seconds")[0]:
            actual = float(workspace.store.latest(stage, CRAWL).record.timings["seconds"])
            yield stage, compare(simulated(workspace, [stage], "seconds", workers), actual)


def measure(arguments: argparse.Namespace, folder: Path) -> dict[str, Any]:
    files = sorted(path for path in arguments.warc.iterdir() if ".warc" in path.name)
    (folder / "parts").mkdir(exist_ok=True)
    parts = split_files(files, arguments.files + arguments.measured, folder / "parts")
    every = len(parts) / arguments.measured
    chosen = {parts[int(number * every)] for number in range(arguments.measured)}
    rest = [path for path in parts if path not in chosen][: arguments.files]
    process(parts[:2], folder / "warm", arguments.workers, arguments.vocabulary)
    before = measured_rates(
        process(sorted(chosen), folder / "measured", arguments.workers, arguments.vocabulary), CRAWL
    )
    workspace = process(rest, folder / "run", arguments.workers, arguments.vocabulary)
    after = measured_rates(workspace, CRAWL)
    snapshot = Snapshot(CRAWL, after.files, after.warc_bytes / after.files, after.captures / after.files)
    fleet = Fleet(arguments.cores, cores_per_machine=arguments.cores)
    predicted, actual = forecast(before, snapshot, fleet), forecast(after, snapshot, fleet)
    stages = [stage for stage in READS if stage in {forecast.stage for forecast in actual.stages}]
    return {
        "measured": description(before),
        "run": description(after),
        "workers": arguments.workers,
        "stages": compare_stages(predicted, actual),
        "all": {
            "cpu_seconds": compare(predicted.cpu_seconds, actual.cpu_seconds),
            "written": compare(predicted.stored - snapshot.bytes, actual.stored - snapshot.bytes),
        },
        "wall": {
            "cores": arguments.cores,
            **compare(predicted.seconds, simulated(workspace, stages, "cpu_seconds", arguments.cores)),
        },
        "engine": dict(engine_check(workspace, stages, arguments.workers)),
        "fineweb": fineweb(usual_rates()),
        "machine": {"python": platform.python_version(), "cores": os.cpu_count()},
    }


def fineweb(rates: CrawlRates) -> dict[str, float]:
    """The plan of FineWeb's snapshots, one after another, on 1,000 cores with a network of 100 Gbit/s."""
    files = round(SNAPSHOT_BYTES / FILE_BYTES)
    mean = Snapshot("a mean snapshot", files, FILE_BYTES, FINEWEB_PAGES / FINEWEB_SNAPSHOTS / files)
    planned = forecast(rates, mean, Fleet(1000, 100e9 / 8))
    stages = {stage.stage: stage for stage in planned.stages}
    tokens = {name: stage.tokens for name, stage in stages.items() if stage.tokens is not None}
    return {
        "cpu_hours": round(FINEWEB_SNAPSHOTS * planned.cpu_seconds / 3600),
        "days": round(FINEWEB_SNAPSHOTS * planned.seconds / 86_400, 1),
        "days_in_one_process": round(FINEWEB_SNAPSHOTS * planned.single_seconds / 86_400, 1),
        "stored_petabytes": round(FINEWEB_SNAPSHOTS * planned.stored / 1e15, 2),
        "moved_petabytes": round(FINEWEB_SNAPSHOTS * planned.moved / 1e15, 2),
        "clean_corpus_terabytes": round(FINEWEB_SNAPSHOTS * stages["clean_corpus"].written / 1e12, 1),
        **{f"tokens after {name}": round(FINEWEB_SNAPSHOTS * count / 1e12, 1) for name, count in tokens.items()},
    }


def description(rates: CrawlRates) -> dict[str, float]:
    return {
        "files": rates.files,
        "warc_bytes": rates.warc_bytes,
        "captures": rates.captures,
        "bytes_per_token": round(rates.bytes_per_token, 3),
        "duplicate_odds": round(rates.duplicates.odds, 4),
        "duplicate_growth": round(rates.duplicates.growth, 3),
    }


def rates_of(arguments: argparse.Namespace, folder: Path) -> CrawlRates:
    """The rates of all files, and what does not grow from a part of them in small files."""
    files = sorted(path for path in arguments.warc.iterdir() if ".warc" in path.name)
    (folder / "eighths").mkdir(exist_ok=True)
    few = files[: max(1, len(files) // 4)]
    small = split_files(few, 8 * len(few), folder / "eighths")

    def build(paths: Sequence[Path], name: str) -> tuple[Workspace, str]:
        return process(paths, folder / name, arguments.workers, arguments.vocabulary), CRAWL

    build(small[:2], "warm")
    whole = build(files, "whole")
    return measured_rates(*whole, fixed_costs([build(small, "small"), whole]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--warc", type=Path, required=True, help="a folder of WARC files (.warc.gz)")
    parser.add_argument("--json", type=Path, help="the file to write the result to")
    parser.add_argument("--rates", type=Path, help="the file to write the rates of all files to")
    parser.add_argument("--files", type=int, default=32, help="files of the run that is predicted")
    parser.add_argument("--measured", type=int, default=8, help="files whose rates predict it")
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--cores", type=int, default=16, help="of the simulated machine")
    parser.add_argument("--vocabulary", type=int, default=4096)
    parser.add_argument("--folder", type=Path, help="keep the stores here, and take over what is built in them")
    arguments = parser.parse_args()
    os.environ["LLM_ASSETS_TRACKING"] = "off"
    stores = contextlib.nullcontext(arguments.folder) if arguments.folder else tempfile.TemporaryDirectory()
    with stores as folder:
        Path(folder).mkdir(parents=True, exist_ok=True)
        if arguments.rates:
            source = "measured with benchmarks/snapshot_plan.py, on one core"
            arguments.rates.write_bytes(dump_rates(replace(rates_of(arguments, Path(folder)), source=source)))
        if arguments.json:
            result = measure(arguments, Path(folder))
            print(json.dumps(result, indent=2))
            arguments.json.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
