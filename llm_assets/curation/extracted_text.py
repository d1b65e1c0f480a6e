"""`extracted_text`: the main text of each page whose URL passes the filter."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from resiliparse.parse.encoding import detect_mime

from llm_assets.artifacts.stage import Stage
from llm_assets.artifacts.step import Step, Task
from llm_assets.artifacts.tables import read_table
from llm_assets.recipes import Extraction
from llm_assets.warc import Capture, read_captures

from .encoding import BodyError, decode_body
from .extraction import Extracted, extract
from .rejects import DOCUMENT, reject_row
from .schemas import ExtractedText, Rejects
from .xhtml import MEDIA_TYPE as XHTML
from .xhtml import NAMESPACE as XHTML_NAMESPACE

_HTML = ("text/html", XHTML)
_DETECT_BYTES = 4096
_ROW_BYTES = 256  # about what a row takes besides its text


class _Counts:
    """Stats of a task, and its rejects."""

    def __init__(self, task: Task, pages: int):
        self.rejects = task.table("rejects", Rejects)
        self.numbers = {"pages": pages, "kept": 0, "rejected": 0, "html_bytes": 0, "text_bytes": 0}
        self.rules: dict[str, int] = {}

    def reject(self, row: dict[str, Any], rule: str, value: str, threshold: str) -> None:
        self.rejects.append(reject_row(row, "extracted_text", rule, value, threshold))
        self.numbers["rejected"] += 1
        self.rules[rule] = self.rules.get(rule, 0) + 1

    def stats(self) -> dict[str, Any]:
        return {**self.numbers, "rejects": dict(sorted(self.rules.items()))}


def extract_task(staging: Path, name: str, urls: Path, warc: Path, bounds: Extraction) -> None:
    """Worker: read the kept captures of one WARC file, in file order, and extract their texts."""
    rows = {row["warc_offset"]: row for row in read_table(urls).iter_rows(named=True)}
    with Task(staging, name) as task:
        texts, counts = task.table("text", ExtractedText), _Counts(task, len(rows))
        for capture in read_captures(warc, set(rows), bounds.max_bytes):
            row = rows.pop(capture.offset, None) if capture.record_type != "corrupt" else None
            if row is None:
                continue
            try:
                body = _read_body(capture, bounds)
                counts.numbers["html_bytes"] += len(body)
                page = _extract_page(body, row, bounds)
            except BodyError as error:
                counts.reject(row, error.rule, error.value, error.threshold)
                continue
            size = len(page.text.encode("utf-8", "replace"))
            columns = {
                "title": page.title,
                "text": page.text,
                "encoding": page.encoding,
                "html_bytes": len(body),
            }
            texts.append({**{column: row[column] for column in DOCUMENT}, **columns}, size + _ROW_BYTES)
            counts.numbers["kept"] += 1
            counts.numbers["text_bytes"] += size
        for offset in sorted(rows):  # indexed, but no longer readable
            counts.reject(rows[offset], "unreadable_record", "", "")
        task.stats.update(counts.stats())


def _read_body(capture: Capture, bounds: Extraction) -> bytes:
    """The decoded body of a capture. Raises BodyError."""
    if capture.payload is None:
        raise BodyError("too_large", str(capture.payload_bytes), str(bounds.max_bytes))
    if not capture.payload:
        raise BodyError("empty_body", "0", "1")
    return decode_body(capture.payload, capture.http or {}, bounds.max_bytes)


def _extract_page(body: bytes, row: dict[str, Any], bounds: Extraction) -> Extracted:
    """The text of a page. Raises BodyError where the body is no HTML, exceeds the bounds or has too little text."""
    mime = row["mime"]
    if mime is None:
        mime = _detect_media_type(body[:_DETECT_BYTES])
        if mime not in _HTML:
            raise BodyError("not_html", mime, "text/html")
    page = extract(body, row["charset"], bounds, mime)
    if len(page.text) < bounds.min_characters:
        raise BodyError("no_text", str(len(page.text)), str(bounds.min_characters))
    return page


def _detect_media_type(head: bytes) -> str:
    mime = detect_mime(head)
    return XHTML if mime == "application/xml" and XHTML_NAMESPACE in head else mime


def build_extracted_text(step: Step, config: Extraction) -> None:
    """One task per WARC file, over the engine's workers."""
    raw = step.input("raw_warc")
    tasks, sizes = {}, {}
    for path in step.input("filtered_urls").table("urls"):
        warc = raw.file(f"warc/{path.stem}")
        tasks[path.stem] = (path, warc, config)
        sizes[path.stem] = warc.stat().st_size
    step.run_tasks(extract_task, tasks, "WARC files", sizes)


EXTRACTED_TEXT = Stage(
    name="extracted_text",
    group="curation",
    description="The main text of each page, its title, and the encoding in which it was decoded.",
    kinds=("resiliparse", "parquet"),
    build=build_extracted_text,
    code_version="2",
    config=lambda recipe, _: recipe.extraction,
    per_crawl=True,
    inputs=("raw_warc", "filtered_urls"),
    tables={"text": ExtractedText, "rejects": Rejects},
    main_table="text",
    libraries=("resiliparse", "fastwarc", "polars", "webencodings"),
)
