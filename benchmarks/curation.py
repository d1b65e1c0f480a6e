"""WARC files to a clean corpus: pages per CPU-second of each stage, MB/s, memory; datatrove on the same files.

    python benchmarks/curation.py --warc FOLDER --json FILE [--workers N] [--datatrove PYTHON]

CPU-seconds are those spent in the steps, in this process and in the workers. Everything runs once on the smallest files
before, so that compiling and starting the workers is not among them. MB are of WARC files as
stored. `reading` compares the capture index with fastwarc alone doing the same (every payload read and SHA-1 digested).
A stage's pages per CPU-second are of the pages that it was given; `pages_per_cpu_second` of the whole is captures over
all CPU-seconds. `threshold` is what another quality threshold takes to rebuild the verdict and nothing else.

Where datatrove is installed (in this interpreter, or in the one named by --datatrove, with spacy, trafilatura and
fasttext-numpy2-wheel), its FineWeb chain runs on the same files in the same run: reader, URL filter, trafilatura,
language, Gopher, C4 and FineWeb filters, MinHash. It runs in one process, so `ratio` is the pages per CPU-second of
`one_process` (the same way, WARC to deduplicated text, in one process of ours) over datatrove's; `ratio_all_workers` is
that of `to_deduplicated`, where the workers slow each other (memory, caches).
"""

from __future__ import annotations

import argparse
import hashlib
import importlib.util
import json
import multiprocessing
import os
import platform
import subprocess
import sys
import tempfile
import time
from importlib.metadata import version
from pathlib import Path

TO_TEXT = ("url_blocklists", "raw_warc", "filtered_urls", "extracted_text")
TO_DEDUPLICATED = (
    *TO_TEXT,
    "language_filtered_text",
    "text_statistics",
    "quality_filtered_text",
    "text_signatures",
    "deduplicated_text",
)
DATATROVE = """
import json, resource, sys, tempfile, time
from datatrove.pipeline.dedup import MinhashDedupBuckets, MinhashDedupCluster, MinhashDedupFilter, MinhashDedupSignature
from datatrove.pipeline.dedup.minhash import MinhashConfig
from datatrove.pipeline.extractors import Trafilatura
from datatrove.pipeline.filters import C4QualityFilter, FineWebQualityFilter, GopherQualityFilter, GopherRepetitionFilter, URLFilter
from datatrove.pipeline.readers import WarcReader
import fasttext
folder, files, model = sys.argv[1], json.loads(sys.argv[2]), fasttext.load_model(sys.argv[3])
def cpu():
    return sum(resource.getrusage(w).ru_utime + resource.getrusage(w).ru_stime for w in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
counts, marks = {}, {}
def counted(name, docs):
    counts[name] = 0
    for doc in docs:
        counts[name] += 1
        yield doc
def english(docs):
    # datatrove's LanguageFilter downloads its model; this is the same call on the model that lies here.
    for doc in docs:
        labels, scores = model.predict(doc.text.replace(chr(10), " "), k=1)
        if labels and labels[0] == "__label__en" and scores[0] >= 0.65:
            yield doc
began, wall = cpu(), time.time()
docs = counted("captures", WarcReader(folder, glob_pattern="*.gz").run(None, 0, 1))
docs = counted("texts", Trafilatura(favour_precision=True, timeout=5).run(URLFilter().run(docs, 0, 1), 0, 1))
docs = counted("english", english(docs))
for step in (GopherRepetitionFilter(), GopherQualityFilter(), C4QualityFilter(filter_no_terminal_punct=False), FineWebQualityFilter()):
    docs = step.run(docs, 0, 1)
docs = list(counted("quality", docs))
marks["to_quality"] = cpu() - began
config = MinhashConfig()
with tempfile.TemporaryDirectory() as scratch:
    MinhashDedupSignature(scratch + "/s", config=config).run(docs, 0, 1)
    for bucket in range(config.num_buckets):
        MinhashDedupBuckets(scratch + "/s", scratch + "/b", config=config).run(None, bucket, config.num_buckets)
    MinhashDedupCluster(scratch + "/b", scratch + "/r", config=config).run(None, 0, 1)
    counts["deduplicated"] = sum(1 for _ in MinhashDedupFilter(scratch + "/r").run(docs, 0, 1))
print(json.dumps({"counts": counts, "to_quality_cpu_seconds": marks["to_quality"], "cpu_seconds": cpu() - began, "seconds": time.time() - wall}))
"""


def fastwarc_alone(files: list[Path]) -> dict[str, float]:
    from fastwarc.warc import ArchiveIterator, WarcRecordType

    began, records = time.process_time(), 0
    for path in files:
        for record in ArchiveIterator(str(path), fsspec_args=False, parse_http=False):
            if record.record_type & WarcRecordType.response:
                record.parse_http()
                hashlib.sha1(record.reader.read(), usedforsecurity=False).digest()
            records += 1
    return {"records": records, "cpu_seconds": time.process_time() - began}


def run_datatrove(python: str, folder: Path, files: list[Path]) -> dict | None:
    from llm_assets.curation.language import model_path
    from llm_assets.recipes import Language

    done = subprocess.run(
        [python, "-c", DATATROVE, str(folder), json.dumps([f.name for f in files]), str(model_path(Language()))],
        capture_output=True,
        text=True,
    )
    if done.returncode:
        print(f"datatrove did not run: {done.stderr.strip().splitlines()[-1:]}", file=sys.stderr)
        return None
    found = json.loads(done.stdout.strip().splitlines()[-1])
    return {**found, "pages_per_cpu_second": round(found["counts"]["captures"] / found["cpu_seconds"], 2)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--warc", type=Path, required=True)
    parser.add_argument("--json", type=Path, required=True)
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
    if arguments.datatrove:
        with tempfile.NamedTemporaryFile(suffix=".json") as alone:
            subprocess.run(
                [
                    sys.executable,
                    __file__,
                    "--warc",
                    arguments.warc,
                    "--json",
                    alone.name,
                    "--workers",
                    "1",
                    "--datatrove",
                    "",
                ],
                check=True,
                stdout=subprocess.DEVNULL,
            )
            result["one_process"] = json.loads(Path(alone.name).read_text())["to_deduplicated"]
        result["datatrove"] = theirs = run_datatrove(
            arguments.datatrove, arguments.warc, list(arguments.warc.glob("*.gz"))
        )
        if theirs:
            result["ratio"], result["ratio_all_workers"] = (
                round(result[name]["pages_per_cpu_second"] / theirs["pages_per_cpu_second"], 1)
                for name in ("one_process", "to_deduplicated")
            )
    arguments.json.write_text(json.dumps(result, indent=2) + "\n")
    print(json.dumps(result, indent=2))


def corpus_stages(graph) -> list:
    """The stages from the crawl to the corpus, in order; the benchmark trains nothing."""
    return [stage for stage in graph if stage.group in ("web", "curation")]


def warm_up(folder: Path, workers: int) -> None:
    """Everything once on the two smallest files, so that no stage is charged for compiling or for starting its workers."""
    from llm_assets.artifacts import materialize
    from llm_assets.compute import LocalEngine
    from llm_assets.graph import GRAPH, open_workspace
    from llm_assets.recipes import Recipe, WarcFiles

    with tempfile.TemporaryDirectory() as small:
        for path in sorted(folder.glob("*.gz"), key=lambda path: path.stat().st_size)[: max(2, workers)]:
            Path(small, path.name).symlink_to(path)
        workspace = open_workspace(Recipe(name="warm", crawls={"warm": WarcFiles(path=small)}))
        workspace.engine = LocalEngine(workers)
        for stage in corpus_stages(GRAPH):
            materialize(stage, "warm" if stage.per_crawl else None, workspace)


def peak_mb(process: int | str) -> int:
    """Greatest resident size that a process has had."""
    status = Path(f"/proc/{process}/status").read_text()
    return round(int(status.split("VmHWM:")[1].split()[0]) / 1024)


def measure(folder: Path, workers: int) -> dict:
    from llm_assets.artifacts import materialize
    from llm_assets.compute import LocalEngine
    from llm_assets.graph import GRAPH, open_workspace
    from llm_assets.recipes import Recipe, WarcFiles
    from llm_assets.warc import read_captures
    from llm_assets.web.warc_files import list_files

    source = WarcFiles(path=str(folder))
    files = list(list_files(source).values())
    megabytes = sum(f.stat().st_size for f in files) / 1e6
    alone = fastwarc_alone(files)
    began = time.process_time()
    captures = sum(1 for f in files for _ in read_captures(f))
    reading = time.process_time() - began

    warm_up(folder, workers)
    workspace = open_workspace(Recipe(name="benchmark", crawls={"benchmark": source}))
    workspace.engine = LocalEngine(workers)
    stages, wall = {}, time.perf_counter()
    for stage in corpus_stages(GRAPH):
        clock = time.perf_counter()
        record = materialize(stage, "benchmark" if stage.per_crawl else None, workspace).artifact.record
        seconds = time.perf_counter() - clock
        cpu, pages = record.timings["cpu_seconds"], int(record.stats.get("pages", 0))
        if stage.name == "corpus_report":
            pages = captures
        given = pages + int(record.stats.get("rejected", 0)) * (stage.name == "reject_ledger")
        stages[stage.name] = {
            "pages": given,
            "seconds": round(seconds, 3),
            "cpu_seconds": round(cpu, 3),
            "pages_per_cpu_second": round(given / cpu, 1) if given else None,
            "mb_per_second": round(megabytes / seconds, 2),
            "cores_busy": round(cpu / seconds, 2),
        }
    wall = time.perf_counter() - wall
    total = sum(stage["cpu_seconds"] for stage in stages.values())
    to_text, to_deduplicated = (
        sum(stages[name]["cpu_seconds"] for name in names) for names in (TO_TEXT, TO_DEDUPLICATED)
    )
    # Statistics and verdict together are what others call quality rules; signatures and clusters, deduplication.
    joined = {
        name: {"cpu_seconds": round(spent, 3), "pages_per_cpu_second": round(stages[parts[0]]["pages"] / spent, 1)}
        for name, parts in {
            "quality_rules": ("text_statistics", "quality_filtered_text"),
            "deduplication": ("text_signatures", "deduplicated_text"),
        }.items()
        for spent in [sum(stages[part]["cpu_seconds"] for part in parts)]
    }
    clock = time.perf_counter()
    workspace.recipe = workspace.recipe.replace(quality={"thresholds": {"alpha_words": 0.7}})
    rebuilt = [
        stage.name
        for stage in corpus_stages(GRAPH)
        if not materialize(stage, "benchmark" if stage.per_crawl else None, workspace).cached
    ]
    threshold = {"seconds": round(time.perf_counter() - clock, 3), "rebuilt": rebuilt}
    own_peak, worker_peaks = peak_mb("self"), [peak_mb(child.pid) for child in multiprocessing.active_children()]
    return {
        "pages": captures,
        "cpu_seconds": round(total, 3),
        "pages_per_cpu_second": round(captures / total, 1),
        "mb_per_second": round(megabytes / wall, 2),
        "peak_mb": own_peak + sum(worker_peaks),
        "peak_mb_main": own_peak,
        "peak_mb_workers": worker_peaks,
        "seconds": round(wall, 3),
        "workers": workers,
        "files": len(files),
        "warc_mb": round(megabytes, 1),
        "to_text": {"cpu_seconds": round(to_text, 3), "pages_per_cpu_second": round(captures / to_text, 1)},
        "to_deduplicated": {
            "cpu_seconds": round(to_deduplicated, 3),
            "pages_per_cpu_second": round(captures / to_deduplicated, 1),
        },
        "joined": joined,
        "threshold": threshold,
        "stages": stages,
        "reading": {
            "captures": captures,
            "cpu_seconds": round(reading, 3),
            "fastwarc_cpu_seconds": round(alone["cpu_seconds"], 3),
            "ratio_to_fastwarc": round(reading / alone["cpu_seconds"], 3),
        },
        "machine": {
            "python": platform.python_version(),
            "processor": platform.processor() or platform.machine(),
            "cores": os.cpu_count(),
            "versions": {name: version(name) for name in ("fastwarc", "resiliparse", "polars", "duckdb")},
        },
    }


if __name__ == "__main__":
    main()
