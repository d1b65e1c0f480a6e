"""What a whole snapshot of Common Crawl would take, from WARC files to tokens, at the rates of a measured crawl."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

from llm_assets.compute.simulation import Schedule, TaskLoad, simulate

from .crawl_rates import DEDUPLICATION, ONE_PROCESS, READ_WARC, READS, CrawlRates, StageRates
from .plan_stages import BYTES_PER_TOKEN

# WARC files of a snapshot: 100,000 in CC-MAIN-2026-17 (500,000 files of five kinds in its segments, as its mirror at
# huggingface.co/buckets/commoncrawl lists them).
SNAPSHOT_FILES = 100_000
# Of a WARC file, compressed: 59.86 TiB in 64,000 files (February 2019), 28.94 TiB in 30,374 (September 2016); from the
# announcements at commoncrawl.org/blog.
FILE_BYTES = 1.03e9
# Of a WARC file: 2.64 billion pages in the crawl of December 2024 (commoncrawl.org/blog), divided by SNAPSHOT_FILES.
FILE_PAGES = 26_400
# Of a whole snapshot's tokens, FineWeb's authors kept 20 of 36 trillion when they deduplicated each of 96 snapshots by
# itself (Penedo et al., arXiv:2406.17557). A sample shows few of its duplicates.
KEPT_OF_A_SNAPSHOT = 20 / 36
# US dollars, about what clouds ask on demand in 2026: an hour of a core (half a physical one), and a month of 1 GB of
# object storage.
CORE_HOUR_PRICE = 0.04
STORAGE_PRICE = 0.023
# The artifacts whose tables a stage reads as a whole, from the store.
READ_BY = {
    "filtered_urls": ("raw_warc",),
    "extracted_text": ("filtered_urls",),
    "language_filtered_text": ("extracted_text",),
    "text_statistics": ("language_filtered_text",),
    "quality_filtered_text": ("language_filtered_text", "text_statistics"),
    "text_signatures": ("quality_filtered_text",),
    "deduplicated_text": ("quality_filtered_text", "text_signatures"),
    "clean_corpus": ("deduplicated_text",),
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
        """A snapshot whose files are those of the rates if these are of the same snapshot, and else as published."""
        files = files or SNAPSHOT_FILES
        if rates.snapshot != name:
            return cls(name, files)
        return cls(name, files, rates.warc_bytes / rates.files, rates.captures / rates.files)


@dataclass(frozen=True)
class Fleet:
    """What it runs on: cores, all like those of the measurement, and the network between them, Common Crawl and the
    store.

    bytes_per_second: None for one machine that has the WARC files. Prices are in US dollars.
    """

    cores: int
    bytes_per_second: float | None = None
    core_hour_price: float = CORE_HOUR_PRICE
    storage_price: float = STORAGE_PRICE


@dataclass(frozen=True)
class StageForecast:
    """What a stage takes. pages: that it goes through. kept_pages, tokens: after it; None if it rejects nothing.

    shared_seconds, single_seconds: CPU-seconds of the tasks that the cores share, and of one process. seconds: from the
    stage's start to its end; straggling: the part of it in which a core has no task left, averaged over the cores.
    read, written: bytes, over the network where there is one; WARC files are downloaded by the first stage and read
    from the store by the one that extracts texts.
    """

    stage: str
    pages: float
    kept_pages: float | None
    tokens: float | None
    shared_seconds: float
    single_seconds: float
    schedule: Schedule
    read: float
    written: float

    @property
    def cpu_seconds(self) -> float:
        return self.shared_seconds + self.single_seconds

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
        """While one process works and the other cores wait."""
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
        warc_bytes = snapshot.bytes if name in READ_WARC else 0.0
        units = warc_bytes or pages
        captures = snapshot.pages * (left if name in deduplicated else 1.0)
        tables[name] = units * stage.written
        read = sum(tables.get(other, 0.0) for other in READ_BY.get(name, ())) + warc_bytes
        written = tables[name] + (warc_bytes if name == "raw_warc" else 0.0)
        in_tasks = stage.task.of(units, snapshot.files) if stage.spread else 0.0
        in_one_process = in_tasks if name in ONE_PROCESS else 0.0
        loads = _loads(stage, units / snapshot.files, (read + written) / snapshot.files, snapshot.files, draw)
        text_bytes = None if stage.text_bytes is None else captures * stage.text_bytes
        yield StageForecast(
            stage=name,
            pages=pages,
            kept_pages=None if stage.kept_pages is None else captures * stage.kept_pages,
            tokens=None if text_bytes is None else text_bytes / (rates.bytes_per_token or BYTES_PER_TOKEN),
            shared_seconds=in_tasks - in_one_process,
            single_seconds=in_one_process + stage.single.of(units) + stage.around.of(snapshot.files),
            schedule=simulate(loads, fleet.cores, fleet.bytes_per_second),
            read=read,
            written=written,
        )


def _loads(stage: StageRates, units: float, moved: float, count: int, draw: random.Random) -> Iterator[TaskLoad]:
    """The tasks of a stage that the cores share, one per file. units, moved: of a file."""
    if stage.spread and stage.stage not in ONE_PROCESS:
        for _ in range(count):
            yield TaskLoad(stage.task.of(units) * draw.choice(stage.spread), moved)
