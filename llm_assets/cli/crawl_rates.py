"""What the stages from a crawl to its tokens take per page and per byte, as the records of the store have it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
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
# Stages whose tasks take as long as the bytes of their WARC files say, rather than the number of pages.
READ_WARC = ("raw_warc", "extracted_text")
# Stages that run the tasks of all files in one process, because DuckDB uses all cores of a machine by itself.
ONE_PROCESS = ("filtered_urls", "reject_ledger")
# Stages of which DuckDB does nearly everything, so that one process uses all cores of its machine.
IN_DUCKDB = (*ONE_PROCESS, "page_versions", "training_pages", "corpus_report")
DEDUPLICATION = "deduplicated_text"
TEXT_STAGES = ("extracted_text", "language_filtered_text", "quality_filtered_text", DEDUPLICATION, "clean_corpus")


@dataclass(frozen=True)
class Cost:
    """CPU-seconds: `fixed` whatever the size, and `rate` per unit."""

    fixed: float
    rate: float

    def of(self, units: float, count: int = 1) -> float:
        """Of `count` pieces that have so many units together."""
        return count * self.fixed + units * self.rate

    @classmethod
    def measured(cls, seconds: float, units: float, count: int, fixed: float) -> Cost:
        """What `count` pieces with so many units together took. fixed: of one, as known from other measurements.

        Of small pieces it is at most a half of what they took, so that large ones are not taken to cost nothing.
        """
        fixed = min(fixed, seconds / 2 / max(count, 1))
        return cls(fixed, (seconds - count * fixed) / max(units, 1))

    @classmethod
    def fitted(cls, points: Sequence[tuple[float, float]]) -> Cost:
        """The line through (units, seconds) with the least squared error that neither falls nor begins below 0."""
        units, seconds = (sum(values) / len(points) for values in zip(*points, strict=True))
        variance = sum((point[0] - units) ** 2 for point in points)
        rate = sum((point[0] - units) * (point[1] - seconds) for point in points) / variance if variance else 0.0
        if rate * units > seconds or not variance:
            return cls(0.0, seconds / max(units, 1))
        return cls(seconds - max(rate, 0.0) * units, max(rate, 0.0))


@dataclass(frozen=True)
class StageRates:
    """What a stage takes.

    pages: that it goes through; kept_pages: that are left after it (None if it rejects nothing); text_bytes: of their
    texts; all three per capture of the crawl. task: of each file's task; its units are the pages that the stage goes
    through, or for `READ_WARC` the bytes of the WARC files. spread: what each measured task took, as a multiple of
    this. single: of other tasks, which one process does, by the pages that the stage goes through. around: of what it
    does outside of tasks, by files. written: bytes of the artifact, without WARC files, per page that it goes through.
    """

    stage: str
    pages: float
    kept_pages: float | None
    text_bytes: float | None
    task: Cost
    spread: tuple[float, ...]
    single: Cost
    around: Cost
    written: float


@dataclass(frozen=True)
class DuplicateGrowth:
    """How the share of duplicates grows with a crawl: the odds of a page to be one are proportional to pages**growth.

    odds: among the measured pages. Both 0 without duplicates.
    """

    odds: float
    growth: float

    def kept_share(self, times: float) -> float:
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


# CPU-seconds that do not grow, by stage: of one file's task, of what one process does beside them, and around tasks.
FixedCosts = Mapping[str, tuple[float, float, float]]


def measured_rates(workspace: Workspace, crawl: str, fixed: FixedCosts | None = None) -> CrawlRates:
    """The rates of a crawl whose artifacts up to `clean_corpus` are in the store, as they were last built.

    fixed: what does not grow with the crawl, which one crawl does not show; None takes that of the usual rates. Raises
    NotBuilt if an artifact is missing. Those that need a tokenizer may be missing; their rates then are too.
    """
    sources = workspace.recipe.sources()
    if crawl not in sources and workspace.store.latest("raw_warc", crawl) is None:
        known = ", ".join(sorted(sources)) or "none"
        raise NotBuilt(
            f"no crawl {crawl!r} is registered; available: {known}; register one with: llm-assets crawls add"
        )
    if fixed is None:
        fixed = {
            stage.stage: (stage.task.fixed, stage.single.fixed, stage.around.fixed) for stage in usual_rates().stages
        }
    return _Measurement(workspace, crawl).rates(fixed)


def fixed_costs(crawls: Sequence[tuple[Workspace, str]]) -> FixedCosts:
    """What does not grow with a crawl, from several crawls of different sizes whose files have different sizes."""
    measurements = [_Measurement(*crawl) for crawl in crawls]
    costs = {}
    for stage in READS:
        works = [measurement.work(measurement.artifact(stage)) for measurement in measurements]
        tasks = [(work.units[name], seconds) for work in works for name, seconds in work.tasks.items()]
        costs[stage] = (
            Cost.fitted(tasks).fixed if tasks else 0.0,
            Cost.fitted([(work.pages, work.single) for work in works]).fixed,
            Cost.fitted([(len(work.units), work.around) for work in works]).fixed,
        )
    return costs


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
class _Work:
    """What a stage did. pages: that it went through. units: of each file. tasks: CPU-seconds of each file's task.
    single: CPU-seconds of other tasks, which one process did; around: of what it did outside of tasks.
    """

    pages: int
    units: dict[str, int]
    tasks: dict[str, float]
    single: float
    around: float


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

    def rates(self, fixed: FixedCosts) -> CrawlRates:
        raw = self.artifact("raw_warc").record
        source = raw.fields["config"]["source"]
        stages = [stage for stage in READS if self._latest(stage) is not None or stage in TEXT_STAGES]
        return CrawlRates(
            source=f"crawl {self.crawl}, built {str(raw.timings.get('finished_at', ''))[:10]}",
            # Captures that were chosen by index are no sample of the snapshot's files.
            snapshot=source["snapshot"] if source.get("kind") == "common_crawl" else "",
            files=len(self.warc_bytes),
            warc_bytes=sum(self.warc_bytes.values()),
            captures=sum(self.captures.values()),
            bytes_per_token=self.bytes_per_token(),
            duplicates=self.duplicates(),
            stages=tuple(self.stage(self.artifact(stage), fixed.get(stage, (0.0, 0.0, 0.0))) for stage in stages),
        )

    def work(self, artifact: Artifact) -> _Work:
        """What the records say of the stage that built an artifact."""
        record, name = artifact.record, artifact.record.asset
        pages = self.rows(*READS[name])
        units = self.warc_bytes if name in READ_WARC else {file: pages[file] for file in self.warc_bytes}
        seconds = {task: float(timings["cpu_seconds"]) for task, timings in record.tasks.items()}
        of_files = {task: value for task, value in seconds.items() if task in units}
        single = sum(seconds.values()) - sum(of_files.values())
        around = max(0.0, float(record.timings["cpu_seconds"]) - sum(seconds.values()))
        if not of_files:  # one process does it all
            single, around = single + around, 0.0
        return _Work(sum(pages[file] for file in self.warc_bytes), units, of_files, single, around)

    def stage(self, artifact: Artifact, fixed: tuple[float, float, float]) -> StageRates:
        """The rates of one stage. fixed: as in `FixedCosts`."""
        record, name = artifact.record, artifact.record.asset
        work, captures = self.work(artifact), sum(self.captures.values())
        total = sum(work.units.values())
        task = Cost.measured(sum(work.tasks.values()), total, len(work.tasks), fixed[0])
        own_bytes = sum(entry.bytes for file, entry in record.files.items() if not file.startswith("warc/"))
        has_text = name in TEXT_STAGES
        table = {"filtered_urls": "urls"}.get(name, "text" if has_text else "")  # of the pages that are left
        return StageRates(
            stage=name,
            pages=work.pages / captures,
            kept_pages=record.rows[table] / captures if table else None,
            text_bytes=_text_bytes(artifact) / captures if has_text else None,
            task=task,
            spread=tuple(
                round(seconds / task.of(work.units[file]), 3)
                for file, seconds in sorted(work.tasks.items())
                if task.of(work.units[file])  # a file of which no page is left may have none
            ),
            single=Cost.measured(work.single, work.pages, 1, fixed[1]),
            around=Cost.measured(work.around, len(work.units), 1, fixed[2]),
            written=own_bytes / max(work.pages, 1),
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
        Pages of earlier crawls, which scope `corpus` adds to clusters, are not counted.
        """
        clusters = scan_table(self.artifact(DEDUPLICATION).table("clusters")).filter(pl.col("crawl") == self.crawl)
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
