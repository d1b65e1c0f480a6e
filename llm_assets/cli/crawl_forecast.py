"""What a whole snapshot of Common Crawl would take, from WARC files to tokens, at the rates of a measured crawl."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

from llm_assets.compute.simulation import Schedule, TaskLoad, simulate

from .crawl_rates import DEDUPLICATION, IN_DUCKDB, ONE_PROCESS, READ_WARC, READS, TEXT_STAGES, CrawlRates, StageRates
from .plan_stages import BYTES_PER_TOKEN

# The snapshot whose published sizes stand for those of others: 64,000 WARC files of 59.86 TiB together, compressed
# (commoncrawl.org/blog/february-2019-crawl-archive-now-available), and 2.91 billion pages
# (github.com/commoncrawl/cc-crawl-statistics, plots/crawlsize/monthly.csv).
PUBLISHED = "CC-MAIN-2019-09"
SNAPSHOT_FILES = 64_000
SNAPSHOT_PAGES = 2_913_733_422
FILE_BYTES = 59.86 * 2**40 / SNAPSHOT_FILES
FILE_PAGES = SNAPSHOT_PAGES / SNAPSHOT_FILES
# Of a whole snapshot's tokens, FineWeb's authors kept 20 of 36 trillion when they deduplicated each of 96 snapshots by
# itself (Penedo et al., arXiv:2406.17557). A sample shows few of its duplicates.
KEPT_OF_A_SNAPSHOT = 20 / 36
# US dollars, about what clouds ask on demand in 2026: an hour of a core (half a physical one), and a month of 1 GB of
# object storage.
CORE_HOUR_PRICE = 0.04
STORAGE_PRICE = 0.023
CORES_PER_MACHINE = 16
SAMPLES = ("corpus_report",)  # stages whose artifacts hold samples, and are no larger for a larger crawl
# The artifacts whose tables a stage reads as a whole, from the store. `corpus_report` reads some more than once. The
# ledger joins the rejects of all stages, which are as large as its own table. Of the corpus, stages that look for a
# page's place read a few columns, which are not counted.
READ_BY = {
    "filtered_urls": ("raw_warc",),
    "extracted_text": ("filtered_urls",),
    "language_filtered_text": ("extracted_text",),
    "text_statistics": ("language_filtered_text",),
    "quality_filtered_text": ("language_filtered_text", "text_statistics"),
    "text_signatures": ("quality_filtered_text",),
    "deduplicated_text": ("quality_filtered_text", "text_signatures"),
    "clean_corpus": ("deduplicated_text",),
    "reject_ledger": ("reject_ledger",),
    "page_versions": ("raw_warc", "extracted_text", "filtered_urls"),
    "training_pages": ("raw_warc", "extracted_text", "filtered_urls"),
    "corpus_report": ("filtered_urls", *TEXT_STAGES, "page_versions"),
    "token_shards": ("clean_corpus",),
}


@dataclass(frozen=True)
class Snapshot:
    """WARC files to process: their number, and of each the bytes and the captures."""

    name: str
    files: int
    file_bytes: float = FILE_BYTES
    file_pages: float = FILE_PAGES

    @property
    def bytes(self) -> float:
        return self.files * self.file_bytes

    @property
    def pages(self) -> float:
        return self.files * self.file_pages

    @classmethod
    def like(cls, name: str, files: int | None, rates: CrawlRates) -> Snapshot:
        """A snapshot whose files are those of the rates if these are of the same snapshot, and else as published.

        files: None for as many as have `SNAPSHOT_PAGES` pages, since snapshots differ less in pages than in files.
        """
        if rates.snapshot != name:
            return cls(name, files or SNAPSHOT_FILES)
        file_pages = rates.captures / rates.files
        return cls(name, files or round(SNAPSHOT_PAGES / file_pages), rates.warc_bytes / rates.files, file_pages)


@dataclass(frozen=True)
class Fleet:
    """What it runs on: cores, all like those of the measurement, and the network between them, Common Crawl and the
    store.

    bytes_per_second: None for one machine that has the WARC files. cores_per_machine: that DuckDB can use in one
    process. Prices are in US dollars.
    """

    cores: int
    bytes_per_second: float | None = None
    cores_per_machine: int = CORES_PER_MACHINE
    core_hour_price: float = CORE_HOUR_PRICE
    storage_price: float = STORAGE_PRICE

    @property
    def machine_cores(self) -> int:
        return min(self.cores, self.cores_per_machine)

    def transfer_seconds(self, size: float) -> float:
        """For so many bytes over the whole network."""
        return 0.0 if self.bytes_per_second is None else size / self.bytes_per_second


@dataclass(frozen=True)
class StageForecast:
    """What a stage takes. pages: that it goes through. kept_pages, tokens: after it; None if it rejects nothing.

    shared_seconds, single_cpu_seconds: CPU-seconds of the tasks that the cores share, and of one process.
    single_seconds: for which that process works, on the cores of one machine if DuckDB does the work, and waits for
    what it reads. seconds: from the stage's start to its end; schedule: of the tasks that the cores share.
    read, written: bytes, over the network where there is one; WARC files are downloaded by the first stage and read
    from the store by the one that extracts texts.
    """

    stage: str
    pages: float
    kept_pages: float | None
    tokens: float | None
    shared_seconds: float
    single_cpu_seconds: float
    single_seconds: float
    schedule: Schedule
    read: float
    written: float

    @property
    def cpu_seconds(self) -> float:
        return self.shared_seconds + self.single_cpu_seconds

    @property
    def seconds(self) -> float:
        return self.single_seconds + self.schedule.seconds


class CrawlForecast(NamedTuple):
    """The stages of a snapshot, one after another."""

    snapshot: Snapshot
    fleet: Fleet
    stages: tuple[StageForecast, ...]

    @property
    def cpu_seconds(self) -> float:
        return sum(stage.cpu_seconds for stage in self.stages)

    @property
    def single_seconds(self) -> float:
        """While one process works and the cores of other machines wait."""
        return sum(stage.single_seconds for stage in self.stages)

    @property
    def seconds(self) -> float:
        return sum(stage.seconds for stage in self.stages)

    @property
    def stored(self) -> float:
        """Bytes of all artifacts, the WARC files included."""
        return sum(stage.written for stage in self.stages)

    @property
    def moved(self) -> float:
        """Bytes over the network: the download, and what is written to the store and read from it."""
        return sum(stage.read + stage.written for stage in self.stages)

    @property
    def core_cost(self) -> float:
        """Of all cores from the beginning to the end, whether they work or wait."""
        return self.seconds / 3600 * self.fleet.cores * self.fleet.core_hour_price

    @property
    def released_core_cost(self) -> float:
        """The same if all machines but one are given back while one process works."""
        shared = (self.seconds - self.single_seconds) * self.fleet.cores
        alone = self.single_seconds * self.fleet.machine_cores
        return (shared + alone) / 3600 * self.fleet.core_hour_price

    @property
    def storage_cost(self) -> float:
        """Of everything stored, per month."""
        return self.stored / 1e9 * self.fleet.storage_price


def forecast(rates: CrawlRates, snapshot: Snapshot, fleet: Fleet) -> CrawlForecast:
    """What every stage takes. The times of the tasks are drawn from those that were measured, with a fixed seed."""
    draw = random.Random(snapshot.name)
    return CrawlForecast(snapshot, fleet, tuple(_stages(rates, snapshot, fleet, draw)))


def kept_of_duplicates(rates: CrawlRates, pages: float) -> float:
    """The share of pages that deduplication keeps of a crawl of so many, beside that of the measured crawl.

    It falls as the measured duplicates grow, but not below what FineWeb kept of whole snapshots, or the measured share
    where that is lower.
    """
    measured = rates.duplicates.kept_share(1.0)
    least = min(KEPT_OF_A_SNAPSHOT, measured)
    return max(least, rates.duplicates.kept_share(pages / rates.captures)) / measured


def _stages(rates: CrawlRates, snapshot: Snapshot, fleet: Fleet, draw: random.Random) -> Iterator[StageForecast]:
    tables: dict[str, float] = {}  # bytes of each artifact's tables
    left = kept_of_duplicates(rates, snapshot.pages)
    deduplicated = list(READS)[list(READS).index(DEDUPLICATION) :]
    for stage in rates.stages:
        name = stage.stage
        pages = snapshot.pages * stage.pages * (left if READS[name][0] in deduplicated else 1.0)
        captures = snapshot.pages * (left if name in deduplicated else 1.0)
        warc_bytes = snapshot.bytes if name in READ_WARC else 0.0
        tables[name] = stage.written * (stage.pages * rates.captures if name in SAMPLES else pages)
        read = sum(tables.get(other, 0.0) for other in READ_BY.get(name, ())) + warc_bytes
        written = tables[name] + (warc_bytes if name == "raw_warc" else 0.0)
        text_bytes = None if stage.text_bytes is None else captures * stage.text_bytes
        yield StageForecast(
            stage=name,
            pages=pages,
            kept_pages=None if stage.kept_pages is None else captures * stage.kept_pages,
            tokens=None if text_bytes is None else text_bytes / (rates.bytes_per_token or BYTES_PER_TOKEN),
            read=read,
            written=written,
            **_times(stage, pages, read + written, snapshot, fleet, draw),
        )


def _times(
    stage: StageRates, pages: float, moved: float, snapshot: Snapshot, fleet: Fleet, draw: random.Random
) -> dict[str, Any]:
    """The fields of a StageForecast that are times. pages: that the stage goes through; moved: bytes, as a whole."""
    in_parallel = bool(stage.spread) and stage.stage not in ONE_PROCESS
    units = snapshot.bytes if stage.stage in READ_WARC else pages
    in_tasks = stage.task.of(units, snapshot.files) if stage.spread else 0.0
    single = stage.single.of(pages) + stage.around.of(snapshot.files) + (0.0 if in_parallel else in_tasks)
    cores = fleet.machine_cores if stage.stage in IN_DUCKDB else 1
    transfer = 0.0 if in_parallel else fleet.transfer_seconds(moved)
    loads: Iterator[TaskLoad] = iter(())
    if in_parallel:
        seconds, size = stage.task.of(units / snapshot.files), moved / snapshot.files
        loads = (TaskLoad(seconds * draw.choice(stage.spread), size) for _ in range(snapshot.files))
    return {
        "shared_seconds": in_tasks if in_parallel else 0.0,
        "single_cpu_seconds": single,
        "single_seconds": transfer + single / cores,
        "schedule": simulate(loads, fleet.cores, fleet.bytes_per_second),
    }
