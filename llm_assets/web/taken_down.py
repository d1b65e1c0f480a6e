"""Takes pages down in `raw_warc`: overwrites the records of their URLs, and keeps everything else readable.

Records are overwritten in place (see `blanking`), so that the offsets in the capture index stay valid. The index keeps
the row with the record type ``taken_down``; `corpus why` needs its URL, status and digest.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from llm_assets.artifacts.identity import SHORT_ID_DIGITS, fingerprint
from llm_assets.artifacts.record import RECORD, FileEntry, Record, data_version, file_digest, fsync_path, write_atomic
from llm_assets.artifacts.step import TASKS, TableWriter
from llm_assets.artifacts.store import Artifact, Store, clear_disk_errors
from llm_assets.artifacts.tables import read_table, row_count
from llm_assets.artifacts.views import SIDECARS
from llm_assets.sample_web import TruthFacts, TruthPages, TruthPrompts, TruthQuestions
from llm_assets.warc import read_spans

from .blanking import blank_records
from .blocklists import OptOutRule
from .errors import SourceError
from .schemas import Captures, Revisits, SitePolicies

TAKEN_DOWN = "taken_down"
# In these formats, no record can be overwritten without rewriting everything after it.
_NOT_REWRITABLE = (".zst", ".lz4")
_TABLES_BY_ENTITY = {"truth_facts": TruthFacts, "truth_prompts": TruthPrompts, "truth_questions": TruthQuestions}


@dataclass(frozen=True)
class CoveredPages:
    """The captures of one artifact of `raw_warc` that a rule covers.

    with_text: number of covered captures whose text has not been taken down yet. others_with_text: number of captures
    with text that the rule does not cover. warc_files: files in the store that may contain covered records.
    external_files: files outside the store that contain them.
    """

    artifact: Artifact
    urls: frozenset[str]
    doc_ids: frozenset[str]
    with_text: int
    others_with_text: int
    warc_files: tuple[str, ...]
    external_files: tuple[str, ...]

    @property
    def crawl(self) -> str:
        return str(self.artifact.record.partition)

    @property
    def in_ground_truth(self) -> bool:
        """Whether the ground truth of the sample web mentions the pages."""
        files = self.artifact.table("truth_pages")
        return any(read_table(path, columns=["url"])["url"].is_in(list(self.urls)).any() for path in files)


def covered_pages(artifact: Artifact, rule: OptOutRule) -> CoveredPages:
    """The pages of a crawl that a rule covers.

    Raises SourceError for a file in the store that cannot be changed in place.
    """
    files = artifact.table("captures")
    columns = ["doc_id", "url", "host", "record_type", "warc_file"]
    rows = read_table(files, columns=columns) if files else pl.DataFrame()
    if rows.is_empty():
        return CoveredPages(artifact, frozenset(), frozenset(), 0, 0, (), ())
    hosts = [host for host in rows["host"].unique() if rule.covers_host(host)]
    urls = frozenset(url for url in rows.filter(pl.col("host").is_in(hosts))["url"].unique() if rule.covers(url))
    covered = rows.filter(pl.col("url").is_in(list(urls)))
    with_text = pl.col("record_type").is_in(["response", "resource"])
    locations = artifact.locations()
    names = set(covered["warc_file"])
    # A record that is cut short has a row without a URL, so that any file with a corrupt stretch may contain one.
    damaged = set(rows.filter(pl.col("record_type") == "corrupt")["warc_file"]) if names else set()
    inside = sorted(name for name in names | damaged if f"warc/{name}" not in locations)
    for name in inside:
        if name.lower().endswith(_NOT_REWRITABLE):
            raise SourceError(
                f"{artifact.path / 'warc' / name}: records of zst and lz4 files cannot be taken down one by one; "
                "rewrite the file as .warc.gz without these pages, register it as a crawl, and remove this crawl"
            )
    external_files = sorted(locations[f"warc/{name}"] for name in names if f"warc/{name}" in locations)
    covered_with_text, all_with_text = len(covered.filter(with_text)), len(rows.filter(with_text))
    return CoveredPages(
        artifact,
        urls,
        frozenset(covered["doc_id"]),
        with_text=covered_with_text,
        others_with_text=all_with_text - covered_with_text,
        warc_files=tuple(inside),
        external_files=tuple(external_files),
    )


def take_down(
    store: Store, pages: CoveredPages, rule: OptOutRule, announce: Callable[[str, str, str], None]
) -> Artifact:
    """Remove the pages from a crawl's artifact, which keeps its identity. Safe to repeat after a kill at any moment.

    Each file is replaced by a rename, the record last. announce(key, old data version, new data version) is called
    before the record is written. Raises StoreUnwritable.
    """
    artifact = pages.artifact
    changed: set[str] = set()
    with clear_disk_errors(store.root):
        for leftover in artifact.path.rglob(".*.tmp"):
            leftover.unlink()
        for name in pages.warc_files:
            file = f"warc/{name}"
            blank_records(artifact.path / file, rule.covers)
            if file_digest(artifact.path / file) != artifact.record.files[file].sha256:
                changed.add(file)
        changed |= _rewrite_tables(artifact, pages.urls)
        if not changed:
            return store.replace(artifact, artifact)
        record = _updated_record(artifact, changed)
        announce(record.key, artifact.data_version, record.data_version)
        write_atomic(artifact.path / RECORD, record.dump())
        _remove_check_results(store, artifact)
    return store.replace(artifact, Artifact(artifact.path, record))


def move_to_new_inputs(store: Store, artifact: Artifact, versions: Mapping[tuple[str, str], str]) -> Artifact:
    """Move a crawl that continues others to the identity that it has after its inputs' data versions changed.

    versions: new data versions by key and old data version. Raises StoreUnwritable.
    """
    inputs = artifact.record.fields["inputs"]
    new_inputs = {key: versions.get((key, version), version) for key, version in inputs.items()}
    fields = {**artifact.record.fields, "inputs": new_inputs}
    identity = fingerprint(fields)
    target = artifact.folder.with_name(identity[:SHORT_ID_DIGITS])
    if new_inputs == inputs and target == artifact.folder:
        return artifact
    record = artifact.record.model_copy(update={"fields": fields, "identity": identity})
    with clear_disk_errors(store.root):
        # The record first: the next attempt finds a folder whose name differs from its record's identity.
        write_atomic(artifact.path / RECORD, record.dump())
        os.rename(artifact.path, target)
        fsync_path(target.parent)
        _remove_check_results(store, artifact)
    return store.replace(artifact, Artifact(target, record))


def _remove_check_results(store: Store, artifact: Artifact) -> None:
    """Remove the cached results of an artifact's checks, and the files from which Dagster displays it."""
    store.forget_checks(artifact.folder.name)
    for sidecar in SIDECARS:
        (artifact.folder / sidecar).unlink(missing_ok=True)


def blank_interrupted(folder: Path, rule: OptOutRule) -> int:
    """Overwrite the records that a rule covers in an interrupted build of `raw_warc`; returns how many there were.

    Its index is removed, so that the files are indexed again when the build continues.
    """
    for leftover in folder.rglob(".*.tmp"):
        leftover.unlink()
    blanked = sum(blank_records(path, rule.covers) for path in sorted(folder.rglob("*.warc*")) if path.is_file())
    if blanked:
        for name in (TASKS, "captures", "revisits", *_TABLES_BY_ENTITY, "truth_pages"):
            shutil.rmtree(folder / name, ignore_errors=True)
    return blanked


def _rewrite_tables(artifact: Artifact, urls: frozenset[str]) -> set[str]:
    """Mark the captures as taken down, and remove the pages from the sample web's ground truth.

    Returns the files that changed.
    """
    covered = pl.col("url").is_in(list(urls))
    changed = set()

    def rewrite(name: str, model: type, change: Callable[[pl.DataFrame], pl.DataFrame]) -> None:
        for path in artifact.table(name):
            before = read_table(path)
            after = change(before)
            if not after.equals(before):
                writer = TableWriter(path, model)
                writer.frame(after)
                writer.close()
            file = str(path.relative_to(artifact.path))
            if file_digest(path) != artifact.record.files[file].sha256:
                changed.add(file)

    is_taken_down = covered & (pl.col("record_type") != "corrupt")
    record_type = pl.when(is_taken_down).then(pl.lit(TAKEN_DOWN)).otherwise(pl.col("record_type"))
    rewrite("captures", Captures, lambda rows: rows.with_columns(record_type=record_type))
    rewrite("site_policies", SitePolicies, lambda rows: rows.filter(~covered))
    originals = [
        pl.when(~covered).then(pl.col(name)).alias(name)
        for name in ("original_crawl", "original_file", "original_offset")
    ]
    rewrite("revisits", Revisits, lambda rows: rows.with_columns(originals))
    for table, model in _TABLES_BY_ENTITY.items():  # before truth_pages, which lists the entities of each page
        entities = _entities_only_in(artifact, covered)
        rewrite(table, model, lambda rows, removed=entities: rows.filter(~pl.col("entity").is_in(removed)))
    rewrite("truth_pages", TruthPages, lambda rows: rows.filter(~covered))
    return changed


def _entities_only_in(artifact: Artifact, covered: pl.Expr) -> list[str]:
    """Names of the entities that appear only on the covered pages of the sample web."""
    files = artifact.table("truth_pages")
    if not files:
        return []
    rows = read_table(files, columns=["url", "entities"])
    return sorted(_entities(rows.filter(covered)) - _entities(rows.filter(~covered)))


def _entities(pages: pl.DataFrame) -> set[str]:
    return {name for names in pages["entities"] for name in json.loads(names)}


def _updated_record(artifact: Artifact, changed: set[str]) -> Record:
    """The artifact's record with the current sizes, digests and row counts of its files."""
    record = artifact.record
    if not changed:
        return record
    files = dict(record.files)
    for file in changed:
        path = artifact.path / file
        files[file] = FileEntry(bytes=path.stat().st_size, sha256=file_digest(path))
    rows = {name: sum(row_count(path) for path in artifact.table(name)) for name in record.rows}
    captures = read_table(artifact.table("captures"), columns=["record_type"])
    stats = {**record.stats, TAKEN_DOWN: captures.filter(pl.col("record_type") == TAKEN_DOWN).height}
    return record.model_copy(update={"files": files, "rows": rows, "stats": stats, "data_version": data_version(files)})


def holds_records(folder: Path, rule: OptOutRule) -> bool:
    """Whether a WARC file below a folder contains a record that the rule covers."""
    return any(
        span.url and rule.covers(span.url)
        for path in sorted(folder.rglob("*.warc*"))
        if path.is_file()
        for span in read_spans(path)
    )


def interrupted_crawls(store: Store) -> Iterator[Path]:
    """The staging folders of interrupted builds of `raw_warc`."""
    with contextlib.suppress(FileNotFoundError):
        yield from sorted((store.root / ".staging" / "raw_warc").glob("*/*"))
