"""Takedown of pages in `raw_warc`: the records of their URLs are overwritten where they lie, the rest stays readable.

A record is replaced by an empty ``metadata`` record of exactly its length, so that the offsets of all others stay what the
capture index says. The index keeps the row (URL, status, digest: what `corpus why` needs) as ``taken_down``.
"""

from __future__ import annotations

import contextlib
import gzip
import json
import os
import shutil
import struct
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from llm_assets.artifacts.identity import SHORT, fingerprint
from llm_assets.artifacts.record import RECORD, FileEntry, Record, data_version, file_digest, fsync_path, write_atomic
from llm_assets.artifacts.step import TASKS, TableWriter
from llm_assets.artifacts.store import Artifact, Store, clear_disk_errors
from llm_assets.artifacts.views import SIDECARS
from llm_assets.sample_web import TruthFacts, TruthPages, TruthPrompts, TruthQuestions
from llm_assets.warc import GZIP_MAGIC, RecordSpan, copy_inflated, is_arc, read_spans

from .blocklists import OptOutRule
from .errors import SourceError
from .schemas import Captures, Revisits

TAKEN_DOWN = "taken_down"
_UNREADABLE = (".zst", ".lz4")  # no record of these can be overwritten without writing all behind it anew
_BY_ENTITY = {"truth_facts": TruthFacts, "truth_prompts": TruthPrompts, "truth_questions": TruthQuestions}


@dataclass(frozen=True)
class CoveredPages:
    """The captures of one artifact of `raw_warc` that a rule covers.

    with_text: those whose text has not been taken down before. others_with_text: captures with text that the rule does not cover.
    warc_files: those of the store that may hold their records. external_files: those that do and lie outside of the store.
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
        """Whether the ground truth of the sample web tells about them."""
        files = self.artifact.table("truth_pages")
        return any(pl.read_parquet(path, columns=["url"])["url"].is_in(list(self.urls)).any() for path in files)


def covered_pages(artifact: Artifact, rule: OptOutRule) -> CoveredPages:
    """What a rule covers of a crawl. Raises SourceError for a WARC file of the store that cannot be changed in place."""
    files = artifact.table("captures")
    columns = ["doc_id", "url", "host", "record_type", "warc_file"]
    rows = pl.concat([pl.read_parquet(path, columns=columns) for path in files]) if files else pl.DataFrame()
    if rows.is_empty():
        return CoveredPages(artifact, frozenset(), frozenset(), 0, 0, (), ())
    hosts = [host for host in rows["host"].unique() if rule.covers_host(host)]
    urls = frozenset(url for url in rows.filter(pl.col("host").is_in(hosts))["url"].unique() if rule.covers(url))
    covered = rows.filter(pl.col("url").is_in(list(urls)))
    with_text = pl.col("record_type").is_in(["response", "resource"])
    locations = artifact.locations()
    names = set(covered["warc_file"])
    # A record that is cut short has a row without its URL.
    broken = set(rows.filter(pl.col("record_type") == "corrupt")["warc_file"]) if names else set()
    inside = sorted(name for name in names | broken if f"warc/{name}" not in locations)
    for name in inside:
        if name.lower().endswith(_UNREADABLE):
            raise SourceError(
                f"{artifact.path / 'warc' / name}: records of zst and lz4 files cannot be taken down one by one; write the "
                "file anew as .warc.gz without these pages, register it as a crawl, and remove this one"
            )
    outside = sorted(locations[f"warc/{name}"] for name in names if f"warc/{name}" in locations)
    left, everything = len(covered.filter(with_text)), len(rows.filter(with_text))
    return CoveredPages(
        artifact, urls, frozenset(covered["doc_id"]), left, everything - left, tuple(inside), tuple(outside)
    )


def take_down(
    store: Store, pages: CoveredPages, rule: OptOutRule, announce: Callable[[str, str, str], None]
) -> Artifact:
    """Take the pages out of a crawl's artifact. Its identity stays; safe to repeat after a kill at any moment.

    Each file is replaced whole by a rename, the record last. announce: is told the key, the old data version and the new
    one before the record is written. Raises StoreUnwritable.
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
        record = _record_of(artifact, changed)
        announce(record.key, artifact.data_version, record.data_version)
        write_atomic(artifact.path / RECORD, record.dump())
        _forget_what_was_seen(store, artifact)
    return store.replace(artifact, Artifact(artifact.path, record))


def move_to_new_inputs(store: Store, artifact: Artifact, versions: Mapping[tuple[str, str], str]) -> Artifact:
    """Give an artifact the identity that it has once inputs have other data versions (a crawl that continues another).

    versions: new data versions by key and old data version. Raises StoreUnwritable.
    """
    inputs = artifact.record.fields["inputs"]
    now = {key: versions.get((key, version), version) for key, version in inputs.items()}
    fields = {**artifact.record.fields, "inputs": now}
    identity = fingerprint(fields)
    target = artifact.path.with_name(identity[:SHORT])
    if now == inputs and target == artifact.path:
        return artifact
    record = artifact.record.model_copy(update={"fields": fields, "identity": identity})
    with clear_disk_errors(store.root):
        # The record first: a folder that does not bear its record's name is found by the next try.
        write_atomic(artifact.path / RECORD, record.dump())
        os.rename(artifact.path, target)
        fsync_path(target.parent)
        _forget_what_was_seen(store, artifact)
    return store.replace(artifact, Artifact(target, record))


def _forget_what_was_seen(store: Store, artifact: Artifact) -> None:
    """Remove what checks found in an artifact, and what Dagster shows of it."""
    shutil.rmtree(store.root / ".checks" / artifact.path.name, ignore_errors=True)
    for sidecar in SIDECARS:
        (artifact.path / sidecar).unlink(missing_ok=True)


def blank_interrupted(folder: Path, rule: OptOutRule) -> int:
    """Take a rule's records out of an interrupted build of `raw_warc`; how many there were.

    What was indexed of it is forgotten, so that it is indexed again when the build goes on.
    """
    for leftover in folder.rglob(".*.tmp"):
        leftover.unlink()
    blanked = sum(blank_records(path, rule.covers) for path in sorted(folder.rglob("*.warc*")) if path.is_file())
    if blanked:
        for path in (
            folder / TASKS,
            *(folder / table for table in ("captures", "revisits", *_BY_ENTITY, "truth_pages")),
        ):
            shutil.rmtree(path, ignore_errors=True)
    return blanked


def blank_records(path: Path, covers: Callable[[str], bool]) -> int:
    """Overwrite every record of a WARC or ARC file whose target URI is covered; how many there were.

    Requests, responses, revisits and whatever else has the URI. The file is replaced by a rename, or left as it is.
    """
    spans = list(read_spans(path))
    chosen = [span for span in spans if span.url and covers(span.url)]
    if not chosen:
        return 0
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with open(path, "rb") as stream:
            compressed = stream.read(3) == GZIP_MAGIC
        arc = is_arc(path)
        if compressed and _is_one_member(path, spans):
            with open(temporary, "wb") as out:
                copy_inflated(path, out)
            _overwrite(temporary, chosen, False, arc)
            packed = temporary.with_name(f".{path.name}.gz.{os.getpid()}.tmp")
            with (
                open(temporary, "rb") as plain,
                open(packed, "wb") as file,
                gzip.GzipFile("", "wb", 6, file, mtime=0) as out,
            ):
                shutil.copyfileobj(plain, out, 1 << 20)
            os.replace(packed, temporary)
        else:
            shutil.copyfile(path, temporary)
            _overwrite(temporary, chosen, compressed, arc)
        fsync_path(temporary)
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    fsync_path(path.parent)
    return len(chosen)


def _is_one_member(path: Path, spans: Iterable[RecordSpan]) -> bool:
    """Whether a gzip file is one member over all its records: then their offsets are of decompressed bytes."""
    with open(path, "rb") as stream:
        for span in spans:
            stream.seek(span.offset)
            if stream.read(3) != GZIP_MAGIC:
                return True
    return False


def _overwrite(path: Path, spans: Iterable[RecordSpan], compressed: bool, arc: bool) -> None:
    with open(path, "r+b") as stream:
        for span in spans:
            stream.seek(span.offset)
            head = stream.read(min(span.length, 1 << 16))
            stream.seek(span.offset)
            stream.write(_arc_filler(head, span, compressed) if arc else _warc_filler(span, compressed))


def _warc_filler(span: RecordSpan, compressed: bool) -> bytes:
    """An empty WARC record that takes exactly the span's bytes."""
    lines = ["WARC/1.1", "WARC-Type: metadata"]
    lines += [f"WARC-Record-ID: {span.record_id}"] if span.record_id else []
    lines += [f"WARC-Date: {span.date}"] if span.date else []
    head = "\r\n".join([*lines, "Content-Length: "]).encode()
    if compressed:
        return _member(head + b"0\r\n\r\n\r\n\r\n", span)
    for digits in range(1, 20):
        content = span.length - len(head) - digits - 8
        if content >= 0 and len(str(content)) == digits:
            return head + f"{content}\r\n\r\n".encode() + b" " * content + b"\r\n\r\n"
    # Too short for a header, or one of the lengths that no number of digits gives: blank bytes between two records.
    return b"\r\n" * (span.length // 2) + b"\n" * (span.length % 2)


def _arc_filler(head: bytes, span: RecordSpan, compressed: bool) -> bytes:
    """The ARC record with its header line (URL, address, date, type, length) and spaces for all that follows."""
    plain = zlib.decompressobj(31).decompress(head, 1 << 16) if compressed else head
    line, _, _ = plain.partition(b"\n")
    if not compressed:
        return line + b"\n" + b" " * (span.length - len(line) - 2) + b"\n"
    size = int(line.split()[-1])
    return _member(line + b"\n" + b" " * size + b"\n", span)


def _member(plain: bytes, span: RecordSpan) -> bytes:
    """One gzip member of exactly the span's length (RFC 1952): what is left over is a file name in its header."""
    deflate = zlib.compressobj(9, zlib.DEFLATED, -15)
    body = deflate.compress(plain) + deflate.flush()
    spare = span.length - len(body) - 18
    if spare < 0 and span.record_type == "corrupt":
        return bytes(span.length)  # too short for a record; it was none before
    if spare < 0:
        raise SourceError(f"the record at {span.offset:,} is too short to be taken down in place ({span.length} bytes)")
    name = b" " * (spare - 1) + b"\0" if spare else b""
    flags = b"\x08" if spare else b"\0"
    return b"\x1f\x8b\x08" + flags + b"\0\0\0\0\0\xff" + name + body + struct.pack("<II", zlib.crc32(plain), len(plain))


def _rewrite_tables(artifact: Artifact, urls: frozenset[str]) -> set[str]:
    """Mark the captures, and remove what the ground truth of the sample web says of the pages; the files that changed."""
    covered = pl.col("url").is_in(list(urls))
    changed = set()

    def rewrite(name: str, model: type, change: Callable[[pl.DataFrame], pl.DataFrame]) -> None:
        for path in artifact.table(name):
            before = pl.read_parquet(path)
            after = change(before)
            if not after.equals(before):
                writer = TableWriter(path, model)
                writer.frame(after)
                writer.close()
            file = str(path.relative_to(artifact.path))
            if file_digest(path) != artifact.record.files[file].sha256:
                changed.add(file)

    taken = pl.when(covered & (pl.col("record_type") != "corrupt")).then(pl.lit(TAKEN_DOWN))
    rewrite("captures", Captures, lambda rows: rows.with_columns(record_type=taken.otherwise(pl.col("record_type"))))
    originals = [
        pl.when(~covered).then(pl.col(name)).alias(name)
        for name in ("original_crawl", "original_file", "original_offset")
    ]
    rewrite("revisits", Revisits, lambda rows: rows.with_columns(originals))
    for table, model in _BY_ENTITY.items():  # before the pages, which say whom they are about
        entities = _entities_only_there(artifact, covered)
        rewrite(table, model, lambda rows, gone=entities: rows.filter(~pl.col("entity").is_in(gone)))
    rewrite("truth_pages", TruthPages, lambda rows: rows.filter(~covered))
    return changed


def _entities_only_there(artifact: Artifact, covered: pl.Expr) -> list[str]:
    """Names that, of all pages of the sample web, only the covered ones tell about."""
    files = artifact.table("truth_pages")
    if not files:
        return []
    rows = pl.concat([pl.read_parquet(path, columns=["url", "entities"]) for path in files])
    names = [
        {name for names in rows.filter(chosen)["entities"] for name in json.loads(names)}
        for chosen in (covered, ~covered)
    ]
    return sorted(names[0] - names[1])


def _record_of(artifact: Artifact, changed: set[str]) -> Record:
    """The artifact's record with what its files are now."""
    record = artifact.record
    if not changed:
        return record
    files = dict(record.files)
    for file in changed:
        path = artifact.path / file
        files[file] = FileEntry(bytes=path.stat().st_size, sha256=file_digest(path))
    rows = {
        name: sum(pl.scan_parquet(path).select(pl.len()).collect().item() for path in artifact.table(name))
        for name in record.rows
    }
    captures = pl.concat([pl.read_parquet(path, columns=["record_type"]) for path in artifact.table("captures")])
    stats = {**record.stats, TAKEN_DOWN: captures.filter(pl.col("record_type") == TAKEN_DOWN).height}
    return record.model_copy(update={"files": files, "rows": rows, "stats": stats, "data_version": data_version(files)})


def holds_records(folder: Path, rule: OptOutRule) -> bool:
    """Whether a WARC file below a folder holds a record that the rule covers."""
    return any(
        span.url and rule.covers(span.url)
        for path in sorted(folder.rglob("*.warc*"))
        if path.is_file()
        for span in read_spans(path)
    )


def interrupted_crawls(store: Store) -> Iterator[Path]:
    """Folders of interrupted builds of `raw_warc`."""
    with contextlib.suppress(FileNotFoundError):
        yield from sorted((store.root / ".staging" / "raw_warc").glob("*/*"))
