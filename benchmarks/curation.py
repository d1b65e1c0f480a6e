"""From WARC files to a clean corpus: pages per CPU-second of each stage, MB per second, and memory.

    python benchmarks/curation.py --warc FOLDER --json FILE [--workers N] [--datatrove PYTHON]

CPU-seconds are those of the steps, in this process and in the workers. Everything first runs once on the smallest
files, so compiling and starting the workers is not measured. MB are those of WARC files as stored. `reading` compares
the capture index with the same work by fastwarc alone: read every payload and take its SHA-1 digest. A stage's pages
per CPU-second count the pages that it reads; `pages_per_cpu_second` of the whole is captures by all CPU-seconds.
`threshold` is the time to rebuild the verdict, and nothing else, for another quality threshold.

If datatrove is installed (in this interpreter, or in the one named by --datatrove, with spacy, trafilatura and
fasttext-numpy2-wheel), its FineWeb chain runs on the same files: reader, URL filter, trafilatura, language, Gopher, C4
and FineWeb filters, MinHash. It runs in one process. `ratio` is therefore the pages per CPU-second of `one_process`
(the same stages of this project in one process, from WARC to deduplicated text) divided by datatrove's.
`ratio_all_workers` uses `to_deduplicated` instead, where the workers slow each other (memory, caches). If datatrove
does not run, the project's own figures are written, and the benchmark ends with its message and exit status 1.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import importlib.util
import json
import multiprocessing
import os
import platform
import signal
import subprocess
import sys
import tempfile
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

TO_TEXT = ("url_blocklists", "raw_warc", "filtered_urls", "extracted_text")
TO_DEDUPLICATED = (
    *TO_TEXT,
    "language_filtered_text",
    "text_statistics",
    "quality_filtered_text",
    "text_signatures",
    "deduplicated_text",
)
# Statistics and verdict together are what other pipelines call quality rules; signatures and clusters, deduplication.
JOINED = {
    "quality_rules": ("text_statistics", "quality_filtered_text"),
    "deduplication": ("text_signatures", "deduplicated_text"),
}
DATATROVE = Path(__file__).with_name("datatrove_recipe.py")
ENDS_WITH_PARENT = [sys.executable, str(Path(__file__).with_name("ends_with_parent.py"))]


def fastwarc_alone(files: list[Path]) -> dict[str, float]:
    """Records and CPU-seconds of fastwarc reading and digesting every response."""
    from fastwarc.warc import ArchiveIterator, WarcRecordType

    began, records = time.process_time(), 0
    for path in files:
        for record in ArchiveIterator(str(path), fsspec_args=False, parse_http=False):
            if record.record_type & WarcRecordType.response:
                record.parse_http()
                hashlib.sha1(record.reader.read(), usedforsecurity=False).digest()
            records += 1
    return {"records": records, "cpu_seconds": time.process_time() - began}


class PeerError(Exception):
    """The pipeline to compare with did not run; the message is the last line that it wrote."""


def run_datatrove(python: str, folder: Path) -> dict[str, Any]:
    """Counts and speed of datatrove's chain. Raises PeerError if it does not run."""
    from llm_assets.curation.language import model_path
    from llm_assets.recipes import Language

    command = [python, str(DATATROVE), str(folder), str(model_path(Language()))]
    # Its output goes to files, and its processes are ended with it: a child that outlives it would keep a pipe open,
    # and reading that pipe would never end.
    with tempfile.TemporaryFile("w+") as output, tempfile.TemporaryFile("w+") as errors:
        with subprocess.Popen(
            [*ENDS_WITH_PARENT, *command], stdin=subprocess.PIPE, stdout=output, stderr=errors
        ) as process:
            try:
                process.wait()
            finally:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
        lines = [file.seek(0) or file.read().strip().splitlines() for file in (output, errors)]
    if process.returncode or not lines[0]:
        raise PeerError(lines[1][-1] if lines[1] else f"exit status {process.returncode}, and no message")
    result = json.loads(lines[0][-1])
    return {**result, "pages_per_cpu_second": round(result["counts"]["captures"] / result["cpu_seconds"], 2)}


def run_in_one_process(warc: Path) -> dict[str, float]:
    """`to_deduplicated` of this benchmark with one worker."""
    with tempfile.NamedTemporaryFile(suffix=".json") as file:
        options = ["--warc", warc, "--json", file.name, "--workers", "1", "--datatrove", ""]
        command = [*ENDS_WITH_PARENT, sys.executable, __file__, *options]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL) as process:
            if process.wait():
                raise subprocess.CalledProcessError(process.returncode, command)
        return json.loads(Path(file.name).read_text())["to_deduplicated"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--warc", type=Path, required=True, help="a folder of WARC files")
    parser.add_argument("--json", type=Path, required=True, help="the file to write the result to")
    parser.add_argument("--workers", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument(
        "--datatrove",
        default=sys.executable if importlib.util.find_spec("datatrove") else None,
        help="a Python interpreter with datatrove",
    )
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as data:
        os.environ["LLM_ASSETS_DATA"], os.environ["LLM_ASSETS_TRACKING"] = data, "off"
        result = measure(arguments.warc, arguments.workers)
    failure = None
    if arguments.datatrove:
        try:
            result |= compare_with_datatrove(arguments.datatrove, arguments.warc, result["to_deduplicated"])
        except PeerError as error:
            failure = f"datatrove did not run with {arguments.datatrove}: {error}"
    arguments.json.write_text(json.dumps(result, indent=2) + "\n")
    print(json.dumps(result, indent=2))
    if failure:
        sys.exit(failure)


def compare_with_datatrove(python: str, warc: Path, to_deduplicated: dict[str, float]) -> dict[str, Any]:
    """Counts and speed of datatrove's chain, and how many times as fast the project's stages are."""
    datatrove = run_datatrove(python, warc)
    one_process = run_in_one_process(warc)
    ratio, ratio_all_workers = (
        round(ours["pages_per_cpu_second"] / datatrove["pages_per_cpu_second"], 1)
        for ours in (one_process, to_deduplicated)
    )
    return {
        "one_process": one_process,
        "datatrove": datatrove,
        "ratio": ratio,
        "ratio_all_workers": ratio_all_workers,
    }


def corpus_stages(graph) -> list:
    """The stages from the crawl to the corpus, in order; the benchmark trains nothing."""
    return [stage for stage in graph if stage.group in ("web", "curation")]


def warm_up(folder: Path, workers: int) -> None:
    """Run everything once on the two smallest files, so that no stage is charged for compiling or starting workers."""
    from llm_assets.artifacts import materialize
    from llm_assets.compute import LocalEngine
    from llm_assets.graph import GRAPH, open_workspace
    from llm_assets.recipes import Recipe, WarcFiles

    with tempfile.TemporaryDirectory() as small:
        for path in sorted(folder.glob("*.gz"), key=lambda file: file.stat().st_size)[:2]:
            Path(small, path.name).symlink_to(path)
        workspace = open_workspace(Recipe(name="warm", crawls={"warm": WarcFiles(path=small)}))
        workspace.engine = LocalEngine(workers)
        for stage in corpus_stages(GRAPH):
            materialize(stage, "warm" if stage.per_crawl else None, workspace)


def peak_mb(process: int | str) -> int:
    """Greatest resident size that a process has had, in MiB."""
    status = Path(f"/proc/{process}/status").read_text()
    return round(int(status.split("VmHWM:")[1].split()[0]) / 1024)


def measure(folder: Path, workers: int) -> dict[str, Any]:
    """All measures of the project's stages on a folder of WARC files."""
    from llm_assets.compute import LocalEngine
    from llm_assets.graph import open_workspace
    from llm_assets.recipes import Recipe, WarcFiles
    from llm_assets.web.warc_files import list_files

    source = WarcFiles(path=str(folder))
    files = list(list_files(source).values())
    megabytes = sum(file.stat().st_size for file in files) / 1e6
    reading = measure_reading(files)
    captures = reading["captures"]
    warm_up(folder, workers)
    workspace = open_workspace(Recipe(name="benchmark", crawls={"benchmark": source}))
    workspace.engine = LocalEngine(workers)
    began = time.perf_counter()
    stages = measure_stages(workspace, captures, megabytes)
    seconds = time.perf_counter() - began
    threshold = measure_threshold(workspace)
    cpu_seconds = sum(stage["cpu_seconds"] for stage in stages.values())
    own_peak, worker_peaks = peak_mb("self"), [peak_mb(child.pid) for child in multiprocessing.active_children()]
    return {
        "pages": captures,
        "cpu_seconds": round(cpu_seconds, 3),
        "pages_per_cpu_second": round(captures / cpu_seconds, 1),
        "mb_per_second": round(megabytes / seconds, 2),
        "peak_mb": own_peak + sum(worker_peaks),
        "peak_mb_main": own_peak,
        "peak_mb_workers": worker_peaks,
        "seconds": round(seconds, 3),
        "workers": workers,
        "files": len(files),
        "warc_mb": round(megabytes, 1),
        "to_text": together(stages, TO_TEXT, captures),
        "to_deduplicated": together(stages, TO_DEDUPLICATED, captures),
        "joined": {name: together(stages, names, stages[names[0]]["pages"]) for name, names in JOINED.items()},
        "threshold": threshold,
        "stages": stages,
        "reading": reading,
        "machine": {
            "python": platform.python_version(),
            "processor": platform.processor() or platform.machine(),
            "cores": os.cpu_count(),
            "versions": {name: version(name) for name in ("fastwarc", "resiliparse", "polars", "duckdb")},
        },
    }


def measure_reading(files: list[Path]) -> dict[str, Any]:
    """Reading all captures, compared with fastwarc alone."""
    from llm_assets.warc import read_captures

    alone = fastwarc_alone(files)
    began = time.process_time()
    captures = sum(1 for file in files for _ in read_captures(file))
    cpu_seconds = time.process_time() - began
    return {
        "captures": captures,
        "cpu_seconds": round(cpu_seconds, 3),
        "fastwarc_cpu_seconds": round(alone["cpu_seconds"], 3),
        "ratio_to_fastwarc": round(cpu_seconds / alone["cpu_seconds"], 3),
    }


def measure_stages(workspace: Any, captures: int, megabytes: float) -> dict[str, dict[str, Any]]:
    """Build every stage, and measure each. The pages of a stage are those that it reads."""
    from llm_assets.artifacts import materialize
    from llm_assets.graph import GRAPH

    stages = {}
    for stage in corpus_stages(GRAPH):
        began = time.perf_counter()
        record = materialize(stage, "benchmark" if stage.per_crawl else None, workspace).artifact.record
        seconds = time.perf_counter() - began
        cpu_seconds, pages = record.timings["cpu_seconds"], int(record.stats.get("pages", 0))
        if stage.name == "corpus_report":
            pages = captures
        if stage.name == "reject_ledger":
            pages += int(record.stats.get("rejected", 0))
        stages[stage.name] = {
            "pages": pages,
            "seconds": round(seconds, 3),
            "cpu_seconds": round(cpu_seconds, 3),
            "pages_per_cpu_second": round(pages / cpu_seconds, 1) if pages else None,
            "mb_per_second": round(megabytes / seconds, 2),
            "cores_busy": round(cpu_seconds / seconds, 2),
        }
    return stages


def measure_threshold(workspace: Any) -> dict[str, Any]:
    """Seconds to rebuild everything for another quality threshold, and the stages that are rebuilt."""
    from llm_assets.artifacts import materialize
    from llm_assets.graph import GRAPH

    began = time.perf_counter()
    workspace.recipe = workspace.recipe.replace(quality={"thresholds": {"alpha_words": 0.7}})
    rebuilt = [
        stage.name
        for stage in corpus_stages(GRAPH)
        if not materialize(stage, "benchmark" if stage.per_crawl else None, workspace).cached
    ]
    return {"seconds": round(time.perf_counter() - began, 3), "rebuilt": rebuilt}


def together(stages: dict[str, dict[str, Any]], names: tuple[str, ...], pages: int) -> dict[str, float]:
    """CPU-seconds of several stages, and pages per CPU-second of all of them."""
    cpu_seconds = sum(stages[name]["cpu_seconds"] for name in names)
    return {"cpu_seconds": round(cpu_seconds, 3), "pages_per_cpu_second": round(pages / cpu_seconds, 1)}


if __name__ == "__main__":
    main()
