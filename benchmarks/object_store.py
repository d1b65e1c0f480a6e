"""The commands that look at a whole store, over many artifacts: in a local folder, and at a URL.

    python benchmarks/object_store.py --artifacts 10000 --url s3://bucket/benchmark --json out.json

Writes the records of artifacts of the default recipe's graph, without their data, into an empty store, then measures
the seconds of: a listing (on a machine that has read no record, on the next new machine, which finds the shared index,
and again there), the search for garbage, the lineage of an artifact, the explanation of every rebuild, and the deletion
of all artifacts. Without --url, the objects are in a folder.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import shutil
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from llm_assets.artifacts import Record, RemoteStore, Store, Workspace
from llm_assets.artifacts.explain import explain
from llm_assets.artifacts.gc import find_garbage
from llm_assets.artifacts.lineage import downstream, upstream
from llm_assets.artifacts.record import RECORD, FileEntry, data_version
from llm_assets.artifacts.remote_files import new_record_object
from llm_assets.artifacts.store import NO_PARTITION, RECIPES
from llm_assets.compute import LocalEngine
from llm_assets.graph import GRAPH
from llm_assets.recipes import laptop

TASKS = 8  # of each artifact, with a file each
RECIPE_COUNT = 5  # that the store has been used with


def records(count: int) -> list[Record]:
    """Records of as many crawls as it takes. Each artifact was built from those of its crawl that its stage reads."""
    all_records: list[Record] = []
    crawl = 0
    while len(all_records) < count:
        versions: dict[str, str] = {}
        for stage in GRAPH:
            if stage.per_crawl and len(all_records) < count:
                record = _record(stage.name, f"crawl{crawl:05}", stage.inputs, versions)
                versions[stage.name] = record.data_version
                all_records.append(record)
        crawl += 1
    return all_records


def _record(asset: str, crawl: str, inputs: tuple[str, ...], versions: dict[str, str]) -> Record:
    def digest(text: str) -> str:
        return hashlib.sha256(f"{asset}/{crawl}/{text}".encode()).hexdigest()

    files = {
        f"text/{crawl}-{task:05}.parquet": FileEntry(bytes=1_000_000, sha256=digest(str(task))) for task in range(TASKS)
    }
    task = {"rows": {"text": 12_500}, "seconds": 1.0, "cpu_seconds": 1.0}
    read = {f"{name}/{crawl}": versions[name] for name in inputs if name in versions}
    return Record(
        asset=asset,
        partition=crawl,
        identity=digest("identity"),
        fields={"asset": asset, "partition": crawl, "code_version": "1", "config": {}, "inputs": read},
        data_version=data_version(files),
        files=files,
        rows={"text": 100_000},
        schemas={"text": {"doc_id": "String", "url": "String", "text": "String"}},
        tasks={f"{crawl}-{number:05}": task for number in range(TASKS)},
        timings={"finished_at": f"2026-11-27T00:00:00+00:00-{asset}", "seconds": 8.0},
    )


def seconds(run: Callable[[], Any]) -> dict[str, float]:
    """Wall and CPU seconds of this process."""
    wall, cpu = time.perf_counter(), time.process_time()
    run()
    return {"wall": round(time.perf_counter() - wall, 2), "cpu": round(time.process_time() - cpu, 2)}


def commands(store: Store) -> dict[str, dict[str, float]]:
    """Seconds of each command over the store, in turn."""
    workspace = Workspace(laptop(), store, GRAPH, LocalEngine(1))
    first = next(iter(store.artifacts("extracted_text")))
    return {
        "list": seconds(lambda: list(store.artifacts())),
        "gc": seconds(lambda: find_garbage(workspace)),
        "lineage": seconds(lambda: (upstream(store, first), downstream(store, first))),
        "explain": seconds(lambda: explain(workspace)),
    }


def notes(all_records: list[Record]) -> dict[str, bytes]:
    """Notes of RECIPE_COUNT recipes, of which each uses its share of the artifacts."""
    return {
        f"{RECIPES}/recipe{number % RECIPE_COUNT}@00000000/{record.asset}/{record.partition}": (
            f"{record.short_id} 2026-11-27\n".encode()
        )
        for number, record in enumerate(all_records)
    }


def write_local(root: Path, all_records: list[Record]) -> None:
    for name, note in notes(all_records).items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(note)
    for record in all_records:
        folder = root / record.asset / (record.partition or NO_PARTITION) / record.short_id
        folder.mkdir(parents=True)
        (folder / RECORD).write_bytes(record.dump())


def write_remote(store: RemoteStore, all_records: list[Record]) -> None:
    with ThreadPoolExecutor(32) as pool:
        list(
            pool.map(
                lambda item: store.objects.put(*item),
                [*map(new_record_object, all_records), *notes(all_records).items()],
            )
        )


def measure(url: str, count: int, folder: Path) -> dict[str, Any]:
    all_records = records(count)
    write_local(folder / "local", all_records)
    local = commands(Store(folder / "local"))
    shutil.rmtree(folder / "local")
    first = RemoteStore(url, folder / "first")
    written = seconds(lambda: write_remote(first, all_records))
    result = {"artifacts": count, "write": written, "local": local}
    result["no record read"] = {"list": seconds(lambda: list(first.artifacts()))}
    second = RemoteStore(url, folder / "second")
    result["shared index"] = {"list": seconds(lambda: list(second.artifacts()))}
    result["at the url"] = commands(RemoteStore(url, folder / "second"))
    store = RemoteStore(url, folder / "second")
    result["delete"] = seconds(lambda: store.delete_all(list(store.artifacts())))
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--artifacts", type=int, default=10_000)
    parser.add_argument("--url", help="an empty place at an object store; it is not cleaned up")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        os.environ["LLM_ASSETS_DATA"] = f"{folder}/data"
        url = options.url or f"local://{folder}/objects"
        result = measure(url, options.artifacts, Path(folder))
    text = json.dumps(result, indent=1)
    print(text)
    if options.json is not None:
        options.json.write_text(text + "\n")


if __name__ == "__main__":
    main()
