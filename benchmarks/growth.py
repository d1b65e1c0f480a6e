"""Time and memory of every stage and check from WARC files to token shards, on corpora of several sizes.

    python benchmarks/growth.py --sizes 1 10 100 --json FILE [--plot FILE] [--folder FOLDER]

Size n is n worlds of the sample web (1,600 pages each, under a host name of its own, in 4 WARC files), so texts differ
and the same share of them is kept. Every stage and check runs in a process of its own, with one worker and one DuckDB
thread. Of each: wall and CPU seconds without imports; `peak_mb`, the most memory that the process had, in MiB; and
`anonymous_mb`, the most of it that is no file mapped into memory, sampled every 5 ms. `nothing` is a process that only
opens the store. The worlds' pages are written first, and everything is built once on a few pages, so that nothing is
charged for compiling.

`artifacts list` and `registered crawls` grow with the number of artifacts and crawls: 100 and 10 at size 1. `message`
is the search for evaluation questions in one message, of 2,000 words at size 1. The search index has segments of
SEGMENT_FILES files; `--only` measures some of the operations.

Checks of more than 100,000 pages, comparisons of more than 16.8 million texts and searches of more than 17 billion
tokens examine a part of them; the options of LIMITS lower these numbers, so that smaller corpora reach them. The
figures of a check have its summary, which says what was examined. One that fails ends the benchmark.
"""

from __future__ import annotations

import argparse
import importlib
import io
import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from fnmatch import fnmatch
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

FILES = 4  # of a world
CRAWL = "growth"
SEGMENT_FILES = 40
DUCKDB_MEMORY = "256MB"
TRAINING_BYTES = 4 << 20  # of text, for the tokenizer: fewer than a world has would be unusual, all would be slow
PREFIX, CHECK = "build ", "check "
LISTED = "listed"  # the data folder of artifacts and crawls that are only listed
DATE = "2026-10-05T06:00:00Z"
# Options for the numbers above which a part is examined, and the constants of llm_assets that they replace.
LIMITS = {
    "sampled_rows": ("artifacts.sampling", "SAMPLED_ROWS"),
    "digests": ("curation.deduplication", "DIGESTS"),
    "tokens_searched": ("pretraining.overlap", "TOKENS_SEARCHED"),
}


def write_world(folder: Path, world: int, scale: float) -> None:
    """Write the pages of a world into FILES WARC files, which are the same whenever they are written."""
    from warcio.statusandheaders import StatusAndHeaders
    from warcio.warcwriter import WARCWriter

    from llm_assets.sample_web.web import make_web
    from llm_assets.web.crawler.exchange import record_id

    pages = [page for _, page in sorted(make_web(world, scale).pages.items()) if page.in_crawl]
    for number in range(FILES):
        with (folder / f"w{world:03d}-{number}.warc.gz").open("wb") as file:
            writer = WARCWriter(file, gzip=True, warc_version="1.1")
            for page in pages[number::FILES]:
                parts = urlsplit(page.url)
                url = parts._replace(netloc=f"w{world}.{parts.netloc}").geturl()
                http = StatusAndHeaders(str(page.status), list(page.headers.items()), protocol="HTTP/1.1")
                headers = {"WARC-Date": DATE, "WARC-Record-ID": record_id("response", url)}
                record = writer.create_warc_record(
                    url, "response", io.BytesIO(page.body), http_headers=http, warc_headers_dict=headers
                )
                writer.write_record(record)


def write_corpora(folder: Path, sizes: Sequence[int], scale: float) -> dict[int, Path]:
    """A folder of WARC files for each size; the larger ones hold the files of the smaller ones."""
    worlds = folder / "worlds"
    worlds.mkdir(parents=True, exist_ok=True)
    corpora = {}
    for world in range(1, max(sizes) + 1):
        if not (worlds / f"w{world:03d}-{FILES - 1}.warc.gz").exists():
            write_world(worlds, world, scale)
    for size in sizes:
        corpora[size] = folder / f"warc-{size}"
        shutil.rmtree(corpora[size], ignore_errors=True)
        corpora[size].mkdir()
        for world in range(1, size + 1):
            for path in worlds.glob(f"w{world:03d}-*.warc.gz"):
                os.link(path, corpora[size] / path.name)
    return corpora


def open_corpus(warc: Path) -> Any:
    """The workspace of a corpus, with one worker."""
    from llm_assets.compute import LocalEngine
    from llm_assets.graph import open_workspace
    from llm_assets.recipes import Recipe, SearchIndex, Tokenizer, WarcFiles

    recipe = Recipe(
        name="growth",
        crawls={CRAWL: WarcFiles(path=str(warc))},
        tokenizer=Tokenizer(vocabulary=1024, training_bytes=TRAINING_BYTES),
    )
    if "segment_files" in SearchIndex.model_fields:
        recipe = recipe.replace(search_index=SearchIndex(segment_files=SEGMENT_FILES))
    workspace = open_workspace(recipe)
    workspace.engine = LocalEngine(1)
    return workspace


def stages(graph: Any) -> list[Any]:
    """The stages that are measured, upstream first."""
    names = ("tokenizer", "token_shards", "search_index")
    return [stage for stage in graph if stage.group in ("web", "curation") or stage.name in names]


def operations() -> list[str]:
    """The names of everything that is measured: stages, each followed by its checks, then the rest."""
    from llm_assets.artifacts.checks import stage_checks
    from llm_assets.graph import GRAPH

    names = ["nothing"]
    for stage in stages(GRAPH):
        names.append(f"{PREFIX}{stage.name}")
        names += [f"{CHECK}{stage.name} {check.name}" for check in stage_checks(stage)]
    return [*names, *OTHERS]


def overlap_search(workspace: Any, size: int) -> str:
    """The search for samples' words in the training shards; the samples are 16 excerpts of documents."""
    import numpy as np

    from llm_assets.pretraining import overlap
    from llm_assets.training.shards import TokenStream

    stream = TokenStream([workspace.resolver().artifact("token_shards", CRAWL).path], "train")
    places = np.linspace(0, max(len(stream) - 64, 0), 16).astype(int)
    samples = [stream.tokens(int(place), min(64, len(stream))).tolist() for place in places]
    result = overlap.find_overlap(samples, stream, overlap.TOKENS_SEARCHED)
    return f"{result.searched:,} of {result.tokens:,} tokens searched"


def message_search(workspace: Any, size: int) -> None:
    """The search for 2,000 questions in a message of 2,000 words at size 1."""
    from llm_assets.evaluation.overlap import question_phrases

    questions = ((f"Where was the {n}th of these long questions about a person born?", "set") for n in range(2_000))
    message = " ".join(f"word{n % 997}" for n in range(2_000 * size))
    assert question_phrases(questions, 13).find(message) is None


def list_artifacts(workspace: Any, size: int) -> None:
    """`llm-assets artifacts list` over the records of 100 artifacts at size 1."""
    from contextlib import redirect_stdout

    from llm_assets.cli import cli

    os.environ["LLM_ASSETS_DATA"] = str(workspace.store.root.parent / LISTED)
    with open(os.devnull, "w") as discarded, redirect_stdout(discarded):
        cli(["artifacts", "list"], standalone_mode=False)


def registered_crawls(workspace: Any, size: int) -> None:
    """Reading the registry of 10 crawls at size 1, as every command does."""
    from llm_assets.recipes import laptop
    from llm_assets.web.crawls import CrawlRegistry

    CrawlRegistry(workspace.store.root.parent / LISTED / "crawls").effective(laptop())


def write_listed(data: Path, size: int) -> None:
    """Write the records of artifacts and the crawls that are listed."""
    from object_store import records, write_local

    from llm_assets.recipes import WarcFiles
    from llm_assets.web.crawls import CrawlRegistry

    write_local(data / LISTED / "artifacts", records(100 * size))
    registry = CrawlRegistry(data / LISTED / "crawls")
    for number in range(10 * size):
        registry.add(f"crawl-{number:05d}", WarcFiles(path=f"/data/{number}"))


OTHERS: dict[str, Callable[[Any, int], str | None]] = {
    "overlap search": overlap_search,
    "message": message_search,
    "artifacts list": list_artifacts,
    "registered crawls": registered_crawls,
}


def prepared(operation: str, workspace: Any, size: int) -> Callable[[], object]:
    """The operation to measure, after everything that it reads has been built."""
    from llm_assets.artifacts import materialize
    from llm_assets.artifacts.checks import stage_checks
    from llm_assets.graph import GRAPH

    def build(name: str) -> Any:
        stage = workspace.graph[name]
        return materialize(stage, CRAWL if stage.per_crawl else None, workspace)

    built: set[str] = set()

    def build_inputs(name: str) -> None:
        for upstream in workspace.graph[name].inputs:
            if upstream not in built:
                build_inputs(upstream)
                build(upstream)
                built.add(upstream)

    if operation in OTHERS:
        if operation == "overlap search":
            build_inputs("token_shards")
            build("token_shards")
        return lambda: OTHERS[operation](workspace, size)
    if operation.startswith(PREFIX):
        asset = operation.removeprefix(PREFIX)
        build_inputs(asset)
        return lambda: build(asset)
    if operation.startswith(CHECK):
        asset, name = operation.removeprefix(CHECK).split(" ")
        build_inputs(asset)
        outcome = build(asset)
        (check,) = [check for check in stage_checks(outcome.resolution.stage) if check.name == name]
        config = (check.config or GRAPH[asset].config)(workspace.recipe, CRAWL)
        return lambda: passes(check.examine(outcome.artifact, outcome.resolution.inputs, config), operation)
    return lambda: None


def passes(outcome: Any, operation: str) -> str:
    """The summary of a check. Raises SystemExit if it has failed: it may then have stopped early."""
    if not outcome.passed:
        raise SystemExit(f"{operation} failed: {outcome.summary}")
    return outcome.summary


class AnonymousMemory(threading.Thread):
    """Samples the resident memory of this process that is no mapped file; peak: in KiB."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.peak, self._ended = 0, threading.Event()

    def run(self) -> None:
        while not self._ended.wait(0.005):
            self.peak = max(self.peak, status_kb("RssAnon"))

    def end(self) -> int:
        self._ended.set()
        self.join()
        return max(self.peak, status_kb("RssAnon"))


def status_kb(field: str) -> int:
    """A field of this process's status, in KiB."""
    return int(Path("/proc/self/status").read_text().split(f"{field}:")[1].split()[0])


def chosen_limits(options: argparse.Namespace) -> dict[str, int]:
    """The options of LIMITS that are given."""
    values = {name: getattr(options, name) for name in LIMITS}
    return {name: value for name, value in values.items() if value is not None}


def lower_limits(limits: dict[str, int]) -> None:
    """Replace constants by options of LIMITS."""
    for name, value in limits.items():
        module, constant = LIMITS[name]
        setattr(importlib.import_module(f"llm_assets.{module}"), constant, value)


def measure_here(operation: str, warc: Path, size: int) -> dict[str, Any]:
    """Run one operation in this process."""
    workspace = open_corpus(warc)
    run = prepared(operation, workspace, size)
    memory = AnonymousMemory()
    memory.start()
    wall, cpu = time.perf_counter(), time.process_time()
    outcome = run()
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    figures = {
        "wall": round(wall, 3),
        "cpu": round(cpu, 3),
        "peak_mb": status_kb("VmHWM") >> 10,
        "anonymous_mb": memory.end() >> 10,
    }
    return {**figures, "summary": outcome} if isinstance(outcome, str) else figures


def measure(operation: str, warc: Path, size: int, data: Path, *limits: str) -> dict[str, Any]:
    """Run one operation in a process of its own. limits: options of LIMITS."""
    environment = {
        "LLM_ASSETS_DATA": str(data),
        "LLM_ASSETS_TRACKING": "off",
        "LLM_ASSETS_DUCKDB_MEMORY": DUCKDB_MEMORY,
        "LLM_ASSETS_DUCKDB_THREADS": "1",
        "LLM_ASSETS_DUCKDB_TEMPORARY": str(data / "duckdb"),
        "POLARS_MAX_THREADS": "1",
        "OMP_NUM_THREADS": "1",
    }
    command = [sys.executable, __file__, "--operation", operation, "--sizes", str(size), "--folder", str(warc)]
    done = subprocess.run([*command, *limits], env={**os.environ, **environment}, stdout=subprocess.PIPE, text=True)
    if done.returncode:
        raise SystemExit(f"{operation} at size {size}: exit status {done.returncode}")
    return json.loads(done.stdout.splitlines()[-1])


def measured(options: argparse.Namespace, folder: Path) -> Iterator[tuple[str, int, dict[str, Any]]]:
    """Every operation at every size."""
    warm = write_corpora(folder / "warm", [1], 0.05)[1]
    if options.only == ["*"]:
        measure("build search_index", warm, 1, folder / "warm" / "data")
    corpora = write_corpora(folder, options.sizes, options.scale)
    limits = [f"--{name.replace('_', '-')}={value}" for name, value in chosen_limits(options).items()]
    for size in options.sizes:
        data = folder / f"data-{size}"
        shutil.rmtree(data, ignore_errors=True)
        write_listed(data, size)
        for name in operations():
            if any(fnmatch(name, pattern) for pattern in options.only):
                yield name, size, measure(name, corpora[size], size, data, *limits)


def growth(by_size: dict[str, dict[str, Any]]) -> dict[str, float]:
    """How time and memory grew from the smallest size to the largest: time per size, and memory, as factors."""
    first, last = (by_size[str(size)] for size in (min(map(int, by_size)), max(map(int, by_size))))
    ratio = max(map(int, by_size)) / min(map(int, by_size))
    return {
        "cpu_per_size": round(last["cpu"] / max(first["cpu"], 0.001) / ratio, 3),
        "anonymous_mb": round(last["anonymous_mb"] / first["anonymous_mb"], 3),
    }


def draw(result: dict[str, Any], path: Path) -> None:
    """Plot the memory of the stages and checks that have most, by size."""
    from llm_assets.report.plots import svg

    by_operation = result["operations"]
    largest = str(max(result["sizes"]))
    measured = [name for name in by_operation if largest in by_operation[name] and name != "nothing"]
    most = sorted(measured, key=lambda name: -by_operation[name][largest]["anonymous_mb"])[:5]
    series = {
        name: (result["sizes"], [by_operation[name][str(size)]["anonymous_mb"] for size in result["sizes"]])
        for name in [*most, *({"nothing"} & by_operation.keys())]
    }
    path.write_text(svg(series, "size of the corpus", "memory, MiB", log_x=True, marks=True) + "\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", type=int, nargs="+", default=[1, 10])
    parser.add_argument("--scale", type=float, default=1.0, help="pages of a world, as a share of the sample web's")
    parser.add_argument("--only", nargs="+", default=["*"], metavar="PATTERN", help="operations to measure")
    for name, (_, constant) in LIMITS.items():
        parser.add_argument(f"--{name.replace('_', '-')}", type=int, metavar="N", help=f"instead of {constant}")
    parser.add_argument("--folder", type=Path, help="keep WARC files and stores here")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--plot", type=Path, help="an SVG file for the plot of memory")
    parser.add_argument("--operation", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.operation:
        lower_limits(chosen_limits(options))
        print(json.dumps(measure_here(options.operation, options.folder, options.sizes[0])))
        return
    by_operation: dict[str, dict[str, dict[str, Any]]] = {}
    with tempfile.TemporaryDirectory() as temporary:
        for name, size, figures in measured(options, options.folder or Path(temporary)):
            by_operation.setdefault(name, {})[str(size)] = figures
            print(f"{size:>4} × {name}: {figures}", file=sys.stderr, flush=True)
    result = {
        "sizes": options.sizes,
        "limits": chosen_limits(options),
        "operations": by_operation,
        "growth": {name: growth(by_size) for name, by_size in by_operation.items()},
    }
    text = json.dumps(result, indent=1)
    print(text)
    if options.json is not None:
        options.json.write_text(text + "\n")
    if options.plot is not None:
        draw(result, options.plot)


if __name__ == "__main__":
    main()
