"""`deduplicated_text`: one page of each cluster of exact or near duplicates.

Two pages are joined if their normalised texts are equal, or if one band of their signatures is; clusters are the
connected components. Which page of a cluster survives depends on the pages alone, not on the order in which they came:
a page of an earlier crawl, if there is one (scope `corpus`); else the one with the shortest URL (the canonical address
rather than a print version, a session or a mirror's deep path), then the first URL, WARC file and offset in order.

Matching is done out of core: every (band, hash) of every page is a key; keys are spread by their value over as many files
as it takes for one to fit the memory that the recipe allows, and sorted file by file. Equal keys lie in one file. Besides
that, memory holds 24 bytes for each joined page and 8 × bands for each surviving page of a cluster.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import polars as pl
import pyarrow.parquet as pq

from llm_assets.artifacts.checks import Check, CheckOutcome
from llm_assets.artifacts.identity import EXECUTION_ONLY
from llm_assets.artifacts.inputs import Inputs
from llm_assets.artifacts.stage import Key, Stage
from llm_assets.artifacts.step import TASKS, Step, Task
from llm_assets.artifacts.store import Artifact
from llm_assets.artifacts.tables import batches, polars_schema, row_count
from llm_assets.compute.compiled import compiled
from llm_assets.recipes import Deduplication, Recipe
from llm_assets.recipes.frozen import Frozen

from .rejects import DOCUMENT, Tally
from .schemas import Cluster, QualityFilteredText, Rejects
from .signatures import TEXT_SIGNATURES, Signatures, sign

_KEY = np.dtype([("key", np.uint64), ("page", np.uint64)])
# Bytes that sorting one file of keys takes, by key: the keys, their order, the sorted copy.
_SORTING = 4 * _KEY.itemsize
_CHUNK_ROWS = 8_192
_MOST_FILES = 1_024


@dataclass(frozen=True)
class Index:
    """Signature files of all pages, numbered through: those of earlier crawls first, then this crawl's, in order."""

    files: Sequence[Path]
    starts: np.ndarray
    own: int  # number of the first page of this crawl
    # Of each page, whether a later crawl has its URL, and whether an earlier one does; (pages,) bool.
    superseded: np.ndarray
    returning: np.ndarray

    @classmethod
    def of(cls, earlier: Sequence[Path], own: Sequence[Path], captures: Sequence[Sequence[Path]] = ()) -> Index:
        """captures: of the earlier crawls and of this one, where there are earlier ones."""
        counts = [row_count(path) for path in (*earlier, *own)]
        starts = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
        superseded = returning = np.zeros(int(starts[-1]), np.bool_)
        if earlier and captures:
            superseded, returning = other_versions([*earlier, *own], captures)
        return cls([*earlier, *own], starts, int(starts[len(earlier)]), superseded, returning)

    @property
    def pages(self) -> int:
        return int(self.starts[-1])

    def chunks(self, columns: list[str]) -> Iterator[tuple[int, pl.DataFrame]]:
        """Number of the first page, and rows."""
        for path, start in zip(self.files, self.starts, strict=False):
            for batch in pq.ParquetFile(path).iter_batches(_CHUNK_ROWS, columns=columns):
                frame = pl.DataFrame(batch)
                yield int(start), frame
                start += len(frame)

    def rows(self, pages: np.ndarray, columns: list[str]) -> pl.DataFrame:
        """Rows of the given pages (sorted), with their number as `page`."""
        found = []
        for first, frame in self.chunks(columns):
            low, high = np.searchsorted(pages, [first, first + len(frame)])
            if low < high:
                here = pages[low:high]
                found.append(frame[here - first].with_columns(page=pl.Series(here, dtype=pl.Int64)))
        return pl.concat(found)


TELLING = [200, 301, 308, 404, 410, 451]  # statuses that say what became of a page, as in sql/page_versions.sql


def other_versions(files: Sequence[Path], captures: Sequence[Sequence[Path]]) -> tuple[np.ndarray, np.ndarray]:
    """Of the pages of several crawls' signatures, in the crawls' order: did a later crawl change it, had an earlier one it?

    captures: capture indexes of the same crawls, in the same order. A page of an earlier crawl that a later one answers
    with another capture, or no longer, is another version of that page, and nothing is a duplicate of it.
    """
    pages = pl.concat([pl.read_parquet(path, columns=["url", "crawl"]) for path in files])
    pages = pages.select(url=pl.col("url").hash(seed=1), number=pl.col("crawl").rank("dense").cast(pl.Int64))
    told = pl.col("record_type").is_in(["response", "resource"]) & pl.col("status").fill_null(200).is_in(TELLING)
    answers = [
        pl.scan_parquet(path).filter(told).select(url=pl.col("url").hash(seed=1), last=pl.lit(number, pl.Int64))
        for number, paths in enumerate(captures, 1)
        for path in paths
    ]
    last = pl.concat(answers).group_by("url").agg(pl.col("last").max()).collect()
    seen = pages.join(last, on="url", how="left", maintain_order="left")
    seen = seen.with_columns(first=pl.col("number").min().over("url"))
    return (
        seen.select(pl.col("number") < pl.col("last").fill_null(0)).to_series().to_numpy(),
        seen.select(pl.col("number") > pl.col("first")).to_series().to_numpy(),
    )


@compiled
def _keys(exact, bands, ends, first, into):  # type: ignore[no-untyped-def]
    """Keys of the pages of a chunk: digest (band 0) and band hashes, each mixed with the number of its band."""
    total = 0
    for page in range(len(exact)):
        for band in range(ends[page + 1] - ends[page] + 1):
            value = exact[page] if band == 0 else bands[ends[page] + band - 1]
            value = (value + np.uint64(band) * np.uint64(0x9E3779B97F4A7C15)) * np.uint64(0xBF58476D1CE4E5B9)
            into[total].key = value ^ (value >> np.uint64(32))
            into[total].page = first + page
            total += 1
    return total


@compiled
def _groups(keys, order, own, left, right):  # type: ignore[no-untyped-def]
    """Edges from the first page of every group of equal keys to its others; groups without an own page give none."""
    count = 0
    at = 0
    while at < len(order):
        end = at + 1
        while end < len(order) and keys[order[end]].key == keys[order[at]].key:
            end += 1
        if end - at > 1 and keys[order[end - 1]].page >= own:
            for i in range(at + 1, end):
                left[count], right[count] = keys[order[at]].page, keys[order[i]].page
                count += 1
        at = end
    return count


@compiled
def _components(left, right, parents):  # type: ignore[no-untyped-def]
    """Union-find with path halving; parents[i] becomes the least member of i's component."""
    for i in range(len(left)):
        a, b = left[i], right[i]
        while parents[a] != a:
            parents[a] = parents[parents[a]]
            a = parents[a]
        while parents[b] != b:
            parents[b] = parents[parents[b]]
            b = parents[b]
        if a < b:
            parents[b] = a
        elif b < a:
            parents[a] = b
    for i in range(len(parents)):
        root = i
        while parents[root] != root:
            root = parents[root]
        parents[i] = root


def match(index: Index, bands: int, memory: int, scratch: Path) -> tuple[np.ndarray, np.ndarray]:
    """Pages (sorted) that are in a cluster with another page, at least one of them this crawl's, and each one's cluster.

    Takes about `memory` bytes for keys; what does not fit lies in `scratch` meanwhile.
    """
    files = min(_MOST_FILES, max(1, -(-index.pages * (bands + 1) * _SORTING // memory)))
    shift = np.uint64(64 - (files - 1).bit_length())
    parts: list[list[np.ndarray]] = [[] for _ in range(1 << (files - 1).bit_length())]
    spilled = len(parts) > 1
    held = 0
    if spilled:
        shutil.rmtree(scratch, ignore_errors=True)
        scratch.mkdir(parents=True)
    for first, frame in index.chunks(["exact", "bands"]):
        lists = frame["bands"].to_arrow()
        flat = lists.values.to_numpy(zero_copy_only=False).astype(np.uint64)
        ends = lists.offsets.to_numpy().astype(np.int64)
        chunk = np.zeros(len(frame) + len(flat), _KEY)
        total = _keys(frame["exact"].to_numpy(), flat, ends, first, chunk)
        chunk = chunk[:total]
        chunk = chunk[~index.superseded[chunk["page"].astype(np.int64)]]
        if not spilled:
            parts[0].append(chunk)
            continue
        where = (chunk["key"] >> shift).astype(np.int64)
        order = np.argsort(where, kind="stable")
        bounds = np.searchsorted(where[order], np.arange(len(parts) + 1))
        for part in range(len(parts)):
            if bounds[part + 1] > bounds[part]:
                parts[part].append(chunk[order[bounds[part] : bounds[part + 1]]])
        held += chunk.nbytes
        if held >= memory // 4:
            held = 0
            for part, pieces in enumerate(parts):
                _spill(scratch / f"{part:04d}", pieces)
    lefts, rights = [], []
    for part, pieces in enumerate(parts):
        if spilled:
            _spill(scratch / f"{part:04d}", pieces)
            path = scratch / f"{part:04d}"
            keys = np.fromfile(path, _KEY) if path.exists() else np.zeros(0, _KEY)
            path.unlink(missing_ok=True)
        else:
            keys = np.concatenate(pieces) if pieces else np.zeros(0, _KEY)
            pieces.clear()
        order = np.argsort(keys["key"], kind="stable")  # stable: equal keys stay in order of their pages
        left, right = np.zeros(len(keys), np.uint64), np.zeros(len(keys), np.uint64)
        count = _groups(keys, order, np.uint64(index.own), left, right)
        edges = np.unique(np.stack([left[:count], right[:count]], axis=1), axis=0)
        lefts.append(edges[:, 0].astype(np.int64))
        rights.append(edges[:, 1].astype(np.int64))
    if spilled:
        shutil.rmtree(scratch, ignore_errors=True)
    left, right = np.concatenate(lefts), np.concatenate(rights)
    pages = np.unique(np.concatenate([left, right]))
    parents = np.arange(len(pages), dtype=np.int64)
    _components(np.searchsorted(pages, left), np.searchsorted(pages, right), parents)
    return pages, pages[parents]


def _spill(path: Path, pieces: list[np.ndarray]) -> None:
    if pieces:
        with path.open("ab") as file:
            for piece in pieces:
                piece.tofile(file)
        pieces.clear()


def clusters(index: Index, bands: int, memory: int, scratch: Path, times: pl.Series | None = None) -> pl.DataFrame:
    """The cluster table (schema Cluster), in order of the surviving page.

    times: when this crawl's pages were fetched; of captures of one URL the latest is kept, as it is the current one.
    """
    pages, roots = match(index, bands, memory, scratch)
    if not len(pages):
        return pl.DataFrame(schema=polars_schema(Cluster))
    members = index.rows(pages, ["doc_id", "url", "crawl", "warc_file", "warc_offset", "exact"]).with_columns(
        root=pl.Series(roots)
    )
    # A page that an earlier crawl has kept stays, so that its unchanged text is not kept under a new URL too.
    new = pl.Series(~index.returning[members["page"].to_numpy()])
    fetched = pl.repeat("", len(members), eager=True)
    if times is not None:
        own_pages = np.maximum(members["page"].to_numpy().astype(np.int64) - index.own, 0)
        fetched = times.gather(own_pages)
    own, length = pl.col("page") >= index.own, pl.col("url").str.len_chars()
    order = ("root", "own", "earlier", "new", "length", "url", "fetched", "warc_file", "warc_offset")
    ranked = members.with_columns(own=own, new=new, length=length, fetched=fetched)
    ranked = ranked.with_columns(earlier=pl.when("own").then(None).otherwise("page"))
    ranked = ranked.sort(order, descending=[name == "fetched" for name in order], nulls_last=True)
    first = (
        ranked.group_by("root", maintain_order=True)
        .first()
        .select("root", cluster="doc_id", kept_page="page", kept_exact="exact")
    )
    ranked = ranked.join(first, on="root", how="left", maintain_order="left").with_columns(size=pl.len().over("root"))
    kept_pages = np.sort(first["kept_page"].to_numpy())
    kept_bands, kept_has = _band_matrix(index.rows(kept_pages, ["bands"]), bands)
    by_page = ranked.select("page", "kept_page").sort("page")
    places = np.searchsorted(kept_pages, by_page["kept_page"].to_numpy())
    shared = np.zeros(len(pages), np.int64)
    for first_page, frame in index.chunks(["bands"]):
        low, high = np.searchsorted(pages, [first_page, first_page + len(frame)])
        if low < high:
            own_bands, own_has = _band_matrix(frame[pages[low:high].astype(np.int64) - first_page], bands)
            other = places[low:high]
            shared[low:high] = ((own_bands == kept_bands[other]).sum(axis=1)) * own_has * kept_has[other]
    ranked = ranked.join(
        by_page.select("page", shared_bands=pl.Series(shared)), on="page", how="left", maintain_order="left"
    )
    return ranked.with_columns(
        kept=pl.col("page") == pl.col("kept_page"),
        relation=pl.when(pl.col("page") == pl.col("kept_page"))
        .then(pl.lit("kept"))
        .when(pl.col("exact") == pl.col("kept_exact"))
        .then(pl.lit("exact"))
        .otherwise(pl.lit("near")),
        size=pl.col("size").cast(pl.Int64),
    ).select(list(polars_schema(Cluster)))


def _band_matrix(frame: pl.DataFrame, bands: int) -> tuple[np.ndarray, np.ndarray]:
    """Bands as uint64 (rows, bands), 0 where a page has none, and which have some."""
    has = (frame["bands"].list.len() > 0).to_numpy()
    matrix = np.zeros((len(frame), bands), np.uint64)
    matrix[has] = frame["bands"].explode().drop_nulls().to_numpy().reshape(-1, bands)
    return matrix, has


def deduplication_task(staging: Path, name: str, texts: Path, clusters_file: Path, crawl: str, bands: int) -> None:
    """Worker: leave out the duplicates of one WARC file."""
    everything = pl.scan_parquet(clusters_file)
    survivors = everything.filter("kept").select("cluster", kept_url="url").unique("cluster")
    mine = (
        everything.filter((pl.col("warc_file") == name) & (pl.col("crawl") == crawl) & ~pl.col("kept"))
        .join(survivors, on="cluster", how="left")
        .collect()
    )
    dropped = mine.select("warc_offset", "relation", "shared_bands", "kept_url")
    with Task(staging, name) as task:
        kept, rejects = task.table("text", QualityFilteredText), task.table("rejects", Rejects)
        tally = Tally()
        for frame in batches(texts):
            judged = frame.join(dropped, on="warc_offset", how="left", maintain_order="left")
            passed, failed = (
                judged.filter(pl.col("relation").is_null()),
                judged.filter(pl.col("relation").is_not_null()),
            )
            exact = pl.col("relation") == "exact"
            failed = failed.with_columns(
                rule=pl.when(exact).then(pl.lit("exact_duplicate")).otherwise(pl.lit("near_duplicate"))
            )
            kept.frame(passed.drop("relation", "shared_bands", "kept_url"))
            rejects.frame(
                failed.select(
                    *DOCUMENT,
                    "rule",
                    stage=pl.lit("deduplicated_text"),
                    value=pl.when(exact)
                    .then(pl.format("same text as {}", "kept_url"))
                    .otherwise(pl.format("{} of {} bands as {}", "shared_bands", pl.lit(bands), "kept_url")),
                    threshold=pl.when(exact).then(pl.lit("equal")).otherwise(pl.lit(f"1 of {bands} bands")),
                )
            )
            tally.add(passed, failed)
        task.stats.update(tally.stats())


CLUSTERS = "clusters"


class Matching(Frozen):
    """What matching signatures reads of Deduplication; its scope is told by the signatures that it is given."""

    bands: int
    memory_bytes: Annotated[int, EXECUTION_ONLY]


def build_deduplicated_text(step: Step, config: Matching) -> None:
    """Match all signatures first (one part), then one part a WARC file over the engine's workers."""
    if step.finished_task(CLUSTERS) is None:
        signatures = step.inputs.by_crawl(TEXT_SIGNATURES.name)
        own = signatures.pop(step.partition)
        earlier = [path for _, artifact in sorted(signatures.items()) for path in artifact.table("signatures")]
        raw = sorted(step.inputs.by_crawl("raw_warc").items(), key=lambda item: (item[0] == step.partition, item[0]))
        index = Index.of(earlier, own.table("signatures"), [artifact.table("captures") for _, artifact in raw])
        pages = step.input("quality_filtered_text").table("text")
        times = pl.concat([pl.read_parquet(path, columns=["fetched_at"]) for path in pages])["fetched_at"]
        with step.task(CLUSTERS) as task:
            table = clusters(index, config.bands, config.memory_bytes, step.staging / TASKS / "matching", times)
            task.table("clusters", Cluster).frame(table)
            task.stats.update(clusters=table["cluster"].n_unique(), clustered=len(table), compared=index.pages)
    texts = {path.stem: path for path in step.input("quality_filtered_text").table("text")}
    found = step.staging / "clusters" / f"{CLUSTERS}.parquet"
    step.run_tasks(
        deduplication_task,
        {name: (path, found, step.partition, config.bands) for name, path in texts.items()},
        "WARC files",
        {name: path.stat().st_size for name, path in texts.items()},
    )


def _earlier(recipe: Recipe, crawl: str | None) -> list[Key]:
    if recipe.deduplication.scope == "crawl":
        return []
    earlier = [name for name in recipe.corpus() if crawl is not None and name < crawl]
    captures = [("raw_warc", name) for name in [*earlier, crawl]] if earlier else []
    return [*((TEXT_SIGNATURES.name, name) for name in earlier), *captures]


class DuplicateBounds(Frozen):
    """Greatest share of pages that deduplication may remove."""

    max_share: float


def duplicates_within(kept: Artifact, inputs: Inputs, config: DuplicateBounds) -> CheckOutcome:
    """Digests of the normalised texts of all kept pages must differ; the share that went must be within bounds."""
    exact_alone = Signatures.of(Deduplication(near_duplicates=False))
    # Digests alone first: 8 bytes a page. Addresses only of pages that share one.
    digests = [sign(frame["text"], exact_alone)[0] for path in kept.table("text") for frame in batches(path, ["text"])]
    values, times = np.unique(np.concatenate(digests) if digests else np.zeros(0, np.uint64), return_counts=True)
    shared = values[times > 1]
    twice: list[str] = []
    if len(shared):
        for path in kept.table("text"):
            for frame in batches(path, ["url", "text"]):
                same = pl.Series(np.isin(sign(frame["text"], exact_alone)[0], shared))
                twice += frame["url"].filter(same).to_list()
    stats = kept.record.stats
    share = stats["rejected"] / stats["pages"] if stats["pages"] else 0.0
    summary = (
        f"{share:.2%} of {stats['pages']:,} pages were duplicates (at most {config.max_share:.0%}); "
        f"{len(twice)} of those kept share a text"
    )
    numbers = {"share": share, "kept_twice": len(twice)}
    passed = not twice and share <= config.max_share
    return CheckOutcome(passed, summary, [{"url": url} for url in twice[:20]], numbers)


DUPLICATE_SHARE = Check(
    "duplicate_share",
    "No two pages with one text are left, and not more went than the recipe allows.",
    duplicates_within,
    blocking=True,
    config=lambda recipe, _: DuplicateBounds(max_share=recipe.report.max_duplicate_share),
)

DEDUPLICATED_TEXT = Stage(
    name="deduplicated_text",
    group="curation",
    description="One page of each cluster of exact or near duplicates, and the clusters.",
    kinds=("numba", "parquet"),
    build=build_deduplicated_text,
    code_version="2",
    config=lambda recipe, _: Matching(bands=recipe.deduplication.bands, memory_bytes=recipe.deduplication.memory_bytes),
    per_crawl=True,
    inputs=("quality_filtered_text", TEXT_SIGNATURES.name),
    earlier_artifacts=_earlier,
    tables={"text": QualityFilteredText, "rejects": Rejects, "clusters": Cluster},
    main_table="text",
    checks=(DUPLICATE_SHARE,),
    libraries=("duckdb", "numba", "polars"),
)
