"""What the stages from a crawl to its tokens take per page and per byte, as the records of the store have it."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from importlib.resources import files

import polars as pl
from pydantic import TypeAdapter

from llm_assets.artifacts import Artifact, NotBuilt, Workspace
from llm_assets.artifacts.tables import scan_table

# The rates without a measured crawl: benchmarks/snapshot_plan.py has measured them, on pages of blogs and manuals.
USUAL_RATES = "crawl_rates.json"
# The table, of the same crawl, through whose rows each stage goes.
READS = {
    "raw_warc": ("raw_warc", "captures"),
    "filtered_urls": ("raw_warc", "captures"),
    "extracted_text": ("filtered_urls", "urls"),
    "language_filtered_text": ("extracted_text", "text"),
    "text_statistics": ("language_filtered_text", "text"),
    "quality_filtered_text": ("language_filtered_text", "text"),
    "text_signatures": ("quality_filtered_text", "text"),
    "deduplicated_text": ("quality_filtered_text", "text"),
    "clean_corpus": ("deduplicated_text", "text"),
    "reject_ledger": ("raw_warc", "captures"),
    "page_versions": ("raw_warc", "captures"),
    "training_pages": ("raw_warc", "captures"),
    "corpus_report": ("raw_warc", "captures"),
    "token_shards": ("clean_corpus", "text"),
}
# Stages whose times depend on the bytes of the WARC files rather than on the number of pages.
READ_WARC = ("raw_warc", "extracted_text")
# Stages that run the tasks of all files in one process, because DuckDB uses all cores of a machine by itself.
ONE_PROCESS = ("filtered_urls", "reject_ledger")
DEDUPLICATION = "deduplicated_text"
TEXT_STAGES = ("extracted_text", "language_filtered_text", "quality_filtered_text", DEDUPLICATION, "clean_corpus")


@dataclass(frozen=True)
class StageRates:
    """What a stage takes per unit: a page that it goes through, or for `READ_WARC` a byte of the WARC files.

    pages: that it goes through, and kept: that are left after it, both per capture of the crawl (None if it rejects
    nothing). text_bytes: of the kept pages' texts, per capture. task_seconds: CPU-seconds of the tasks that the cores
    share, per unit. spread: the time of each measured task, as a multiple of what `task_seconds` gives.
    single_seconds: CPU-seconds of what one process does, per unit. fixed_seconds: the same, whatever the size.
    written: bytes of the artifact, without WARC files, per unit.
    """

    stage: str
    pages: float
    kept: float | None
    text_bytes: float | None
    task_seconds: float
    spread: tuple[float, ...]
    single_seconds: float
    fixed_seconds: float
    written: float


@dataclass(frozen=True)
class DuplicateGrowth:
    """How the share of duplicates grows with a crawl: the odds of a page to be one are proportional to pages**growth.

    odds: among the measured pages. Both 0 without duplicates.
    """

    odds: float
    growth: float

    def kept(self, times: float) -> float:
        """The share of pages that are kept of a crawl of `times` as many pages."""
        return 1.0 / (1.0 + self.odds * times**self.growth)


@dataclass(frozen=True)
class CrawlRates:
    """The rates of a measured crawl. source: where they are from, in words. snapshot: of Common Crawl, else empty.

    bytes_per_token: of the tokenizer on the crawl's corpus.
    """

    source: str
    snapshot: str
    files: int
    warc_bytes: int
    captures: int
    bytes_per_token: float
    duplicates: DuplicateGrowth
    stages: tuple[StageRates, ...]


_RATES: TypeAdapter[CrawlRates] = TypeAdapter(CrawlRates)


def usual_rates() -> CrawlRates:
    """The rates that are used without a measured crawl."""
    return _RATES.validate_json((files(__package__) / USUAL_RATES).read_bytes())


def dump_rates(rates: CrawlRates) -> bytes:
    """The rates as JSON, as `usual_rates` reads them."""
    return _RATES.dump_json(rates, indent=1) + b"\n"


def measured_rates(workspace: Workspace, crawl: str) -> CrawlRates:
    """The rates of a crawl whose artifacts up to `clean_corpus` are in the store, as they were last built.

    Raises NotBuilt if one of them is missing. Those that need a tokenizer may be missing; their rates then are too.
    """
    return _Measurement(workspace, crawl).rates()


def largest_crawl(workspace: Workspace, snapshot: str) -> str | None:
    """The built crawl with the most bytes: of the snapshot if there is one, and else of any WARC files.

    None if there is none. The sample web is not counted: its pages are small and alike.
    """
    sizes: dict[str, tuple[bool, int]] = {}
    for artifact in workspace.store.artifacts("clean_corpus"):
        crawl = artifact.record.partition or ""
        raw = workspace.store.latest("raw_warc", crawl)
        source = {} if raw is None else raw.record.fields["config"]["source"]
        if raw is not None and source.get("kind") in ("common_crawl", "warc_files", "crawl"):
            sizes[crawl] = source.get("snapshot") == snapshot, int(raw.record.stats.get("warc_bytes", 0))
    return max(sizes, key=lambda name: (sizes[name], name), default=None)


@dataclass(frozen=True)
class _Measurement:
    workspace: Workspace
    crawl: str

    def artifact(self, asset: str) -> Artifact:
        """The artifact of the crawl that was last built. Raises NotBuilt."""
        artifact = self._latest(asset)
        if artifact is None:
            raise NotBuilt(
                f"crawl {self.crawl}: {asset} is not built, so its rates are not known; "
                f"llm-assets run --crawl {self.crawl} --select '*clean_corpus'"
            )
        return artifact

    def _latest(self, asset: str) -> Artifact | None:
        partition = self.crawl if self.workspace.graph[asset].per_crawl else None
        artifact = self.workspace.store.latest(asset, partition)
        if artifact is None or partition is not None:
            return artifact
        # One that was built from other crawls too, or from others alone, says nothing of this crawl.
        read = {key for key, _ in artifact.record.inputs if key.startswith("raw_warc/")}
        return artifact if read == {f"raw_warc/{self.crawl}"} else None

    @cached_property
    def captures(self) -> dict[str, int]:
        """The captures of each WARC file."""
        return self.rows("raw_warc", "captures")

    def rows(self, asset: str, table: str) -> dict[str, int]:
        """The rows of a table by WARC file."""
        tasks = self.artifact(asset).record.tasks
        return {name: int(task["rows"][table]) for name, task in tasks.items() if table in task["rows"]}

    @cached_property
    def warc_bytes(self) -> dict[str, int]:
        """The size of each WARC file."""
        named = self.artifact("raw_warc").record.files
        return {name: named[f"warc/{name}"].bytes for name in self.captures}

    def rates(self) -> CrawlRates:
        raw = self.artifact("raw_warc").record
        source = raw.fields["config"]["source"]
        return CrawlRates(
            source=f"crawl {self.crawl}, built {str(raw.timings.get('finished_at', ''))[:10]}",
            snapshot=source.get("snapshot", ""),
            files=len(self.warc_bytes),
            warc_bytes=sum(self.warc_bytes.values()),
            captures=sum(self.captures.values()),
            bytes_per_token=self.bytes_per_token(),
            duplicates=self.duplicates(),
            stages=tuple(self.stages()),
        )

    def stages(self) -> Iterator[StageRates]:
        for stage, (asset, table) in READS.items():
            artifact = self._latest(stage)
            if artifact is not None or stage in TEXT_STAGES:
                pages = self.rows(asset, table)
                yield self.stage(self.artifact(stage), {name: pages[name] for name in self.warc_bytes})

    def stage(self, artifact: Artifact, pages: dict[str, int]) -> StageRates:
        """The rates of one stage. pages: that it goes through, by WARC file."""
        record, name = artifact.record, artifact.record.asset
        units = self.warc_bytes if name in READ_WARC else pages
        total, captures = max(sum(units.values()), 1), sum(self.captures.values())
        seconds = {task: float(timings["cpu_seconds"]) for task, timings in record.tasks.items()}
        shared = {task: value for task, value in seconds.items() if task in units}
        outside = max(0.0, float(record.timings["cpu_seconds"]) - sum(seconds.values()))
        single = sum(seconds.values()) - sum(shared.values())
        if name in ONE_PROCESS:
            single, shared = sum(seconds.values()), {}
        if not shared:  # nothing is done by file, so all of it grows with the crawl
            single, outside = single + outside, 0.0
        rate = sum(shared.values()) / total
        own_bytes = sum(entry.bytes for file, entry in record.files.items() if not file.startswith("warc/"))
        has_text = name in TEXT_STAGES
        kept = {"filtered_urls": "urls"}.get(name, "text" if has_text else "")
        return StageRates(
            stage=name,
            pages=sum(pages.values()) / captures,
            kept=record.rows[kept] / captures if kept else None,
            text_bytes=_text_bytes(artifact) / captures if has_text else None,
            task_seconds=rate,
            spread=tuple(round(shared[task] / (rate * units[task]), 3) for task in sorted(shared) if units[task]),
            single_seconds=single / total,
            fixed_seconds=outside,
            written=own_bytes / total,
        )

    def bytes_per_token(self) -> float:
        """Of the crawl's token shards if they are built; 0 otherwise."""
        shards = self._latest("token_shards")
        if shards is None:
            return 0.0
        tokens = sum(int(value) for name, value in shards.record.stats.items() if name.endswith("_tokens"))
        return _text_bytes(self.artifact("clean_corpus")) / max(tokens, 1)

    def duplicates(self) -> DuplicateGrowth:
        """From the clusters: how many duplicates a half of the pages would have, on average, beside how many all have.

        Of a cluster of s pages, a half of all pages holds s/2 on average, and at least one with probability 1 - 2^-s.
        """
        clusters = scan_table(self.artifact(DEDUPLICATION).table("clusters"))
        sizes = clusters.select(size=pl.len().over("cluster")).collect()["size"]
        pages = sum(self.rows("quality_filtered_text", "text").values())
        removed = float((1 - 1 / sizes).sum())  # a cluster's s rows add up to s - 1
        removed_of_half = float((0.5 - (1 - 0.5**sizes) / sizes).sum())
        if not removed_of_half or removed >= pages:
            return DuplicateGrowth(0.0, 0.0)
        odds, odds_of_half = removed / (pages - removed), removed_of_half / (pages / 2 - removed_of_half)
        return DuplicateGrowth(odds, math.log2(odds / odds_of_half))


def _text_bytes(artifact: Artifact) -> int:
    """Bytes of an artifact's texts."""
    texts = scan_table(artifact.table("text")).select(pl.col("text").str.len_bytes().cast(pl.Int64).sum())
    return int(texts.collect(engine="streaming").item())
