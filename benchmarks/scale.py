"""What the Ray engine costs: the stages from WARC files to the clean corpus, on Ray and on local processes.

    python benchmarks/scale.py --warc FOLDER --cores 2 --rounds 3 --json FILE

Both engines have the same number of cores of this machine and the same kind of store, at a URL (a folder,
``local://``). Ray has a node of one core for each, with a folder of its own for copies of inputs, so that every file a
task reads or writes passes through the store, as on a cluster. The engines take turns; before the first round both
build the smallest files, so that starting and compiling are not measured. `ratio` is Ray's wall time over the local
engine's, and `cpu_ratio` its CPU time over that of the local engine, each of the same round: the median, and all of
them. CPU time is that of this process and its workers, on Ray with all processes of Ray itself; other work on the
machine does not change it much. The artifacts of both engines must be byte-identical.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import platform
import statistics
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib.metadata import version
from pathlib import Path
from typing import Any

NODE_BYTES = 200 << 20  # of a node's object store, which the engine does not use
LAST = "clean_corpus"


def stages() -> list[Any]:
    """The stages up to the corpus, in order."""
    from llm_assets.graph import GRAPH

    names = [stage.name for stage in GRAPH]
    return [GRAPH[name] for name in names[: names.index(LAST) + 1]]


@contextmanager
def ray_nodes(folder: Path, count: int) -> Iterator[str]:
    """The address of a cluster of nodes with one core each."""
    import ray
    from ray.cluster_utils import Cluster

    cluster = Cluster()
    try:
        for number in range(count):
            os.environ["LLM_ASSETS_WORKER_CACHE"] = str(folder / f"node{number}")
            cluster.add_node(num_cpus=1, object_store_memory=NODE_BYTES, include_dashboard=False)
        yield cluster.address
    finally:
        os.environ.pop("LLM_ASSETS_WORKER_CACHE", None)
        ray.shutdown()
        cluster.shutdown()


def build(files: Path, folder: Path, engine: Any) -> tuple[dict[str, Any], dict[str, str]]:
    """Seconds of each stage, and data versions, of a build from WARC files in an empty store below `folder`."""
    from llm_assets.artifacts import RemoteStore, Workspace, materialize
    from llm_assets.graph import GRAPH
    from llm_assets.recipes import Recipe, WarcFiles

    cpu_before = cpu_seconds(engine.shares_disk)
    store = RemoteStore(f"local://{folder}/objects", folder / "cache")
    recipe = Recipe(name="scale", crawls={"scale": WarcFiles(path=str(files))})
    workspace = Workspace(recipe, store, GRAPH, engine)
    seconds: dict[str, float] = {}
    versions: dict[str, str] = {}
    tasks, pages = 0, 0
    for stage in stages():
        began = time.perf_counter()
        record = materialize(stage, "scale" if stage.per_crawl else None, workspace).artifact.record
        seconds[stage.name] = round(time.perf_counter() - began, 2)
        versions[stage.name] = record.data_version
        tasks += len(record.tasks)
        pages = max(pages, int(record.stats.get("pages", 0)))
    cpu = round(cpu_seconds(engine.shares_disk) - cpu_before, 2)
    total = {"seconds": round(sum(seconds.values()), 2), "cpu_seconds": cpu, "tasks": tasks, "pages": pages}
    return {**total, "stages": seconds}, versions


def cpu_seconds(pool_alone: bool) -> float:
    """CPU time so far of this process and of its pool's workers, or of all processes below it, ended ones included."""
    parents = {}
    ticks = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):  # the process has ended since
            fields = stat.read_text().rpartition(")")[2].split()
            parents[int(stat.parent.name)] = int(fields[1])
            ticks[int(stat.parent.name)] = sum(map(int, fields[11:15]))
    chosen = {os.getpid(), *(child.pid for child in multiprocessing.active_children())}
    while not pool_alone and (below := {pid for pid, parent in parents.items() if parent in chosen} - chosen):
        chosen |= below
    return sum(ticks.get(pid, 0) for pid in chosen) / os.sysconf("SC_CLK_TCK")


def measure(warc: Path, cores: int, rounds: int, folder: Path) -> dict[str, Any]:
    """All rounds of both engines. Raises SystemExit if their artifacts differ."""
    from llm_assets.compute import LocalEngine, RayEngine

    (folder / "smallest").mkdir()
    for path in sorted(warc.glob("*.gz"), key=lambda path: path.stat().st_size)[: max(2, cores)]:
        (folder / "smallest" / path.name).symlink_to(path.absolute())
    results: list[dict[str, Any]] = []
    with ray_nodes(folder, cores) as address:
        engines = {"local": LocalEngine(cores), "ray": RayEngine(address, workers=cores)}
        for name, engine in engines.items():
            build(folder / "smallest", folder / f"warm-{name}", engine)
        for number in range(rounds):
            outcomes = {name: build(warc, folder / f"{name}{number}", engine) for name, engine in engines.items()}
            if outcomes["local"][1] != outcomes["ray"][1]:
                raise SystemExit(f"the artifacts differ: {outcomes}")
            results.append({name: outcome for name, (outcome, _) in outcomes.items()})
    ratios, cpu_ratios = (
        [round(result["ray"][unit] / result["local"][unit], 3) for result in results]
        for unit in ("seconds", "cpu_seconds")
    )
    return {
        "cores": cores,
        "files": len(list(warc.glob("*.gz"))),
        "warc_mb": round(sum(path.stat().st_size for path in warc.glob("*.gz")) / 1e6, 1),
        "ratio": statistics.median(ratios),
        "cpu_ratio": statistics.median(cpu_ratios),
        "ratios": ratios,
        "cpu_ratios": cpu_ratios,
        "rounds": results,
        "machine": {
            "python": platform.python_version(),
            "processor": platform.processor() or platform.machine(),
            "cores": os.cpu_count(),
            "versions": {name: version(name) for name in ("ray", "obstore", "polars")},
        },
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--warc", type=Path, required=True, help="a folder of WARC files (*.gz)")
    parser.add_argument("--cores", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", type=Path, required=True)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        os.environ["LLM_ASSETS_DATA"] = f"{folder}/data"
        result = measure(options.warc, options.cores, options.rounds, Path(folder))
    options.json.write_text(json.dumps(result, indent=2) + "\n")
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
