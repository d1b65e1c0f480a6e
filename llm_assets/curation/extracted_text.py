"""`extracted_text`: the main text of each page, or the text of each row, whose URL passes the filter."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from resiliparse.parse.encoding import detect_mime

from llm_assets.artifacts.stage import Stage
from llm_assets.artifacts.step import Step, Task
from llm_assets.artifacts.tables import batches, read_table, row_count
from llm_assets.recipes import Extraction, Texts
from llm_assets.recipes.frozen import Frozen
from llm_assets.row_files import read_rows
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


class TextRows(Frozen):
    """Where a row has its text and title, and the bounds of `Extraction` that apply to texts."""

    text_column: str
    title_column: str
    max_bytes: int
    min_characters: int


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
                body = read_body(capture, bounds)
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


def read_body(capture: Capture, bounds: Extraction) -> bytes:
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


def read_texts_task(staging: Path, name: str, urls: Path, file: Path, config: TextRows) -> None:
    """Worker: take over the texts of the kept rows of one file, in file order.

    Both are read side by side, as a file of FineWeb has a million rows: their index would fill more than a gigabyte.
    """
    with Task(staging, name) as task:
        texts, counts = task.table("text", ExtractedText), _Counts(task, row_count(urls))
        for row, value in _values_of(urls, file, config):
            if not isinstance(value, dict):  # indexed, but no longer in the file
                counts.reject(row, "unreadable_record", "", "")
                continue
            try:
                text, title = _text_of(value, config)
            except BodyError as error:
                counts.reject(row, error.rule, error.value, error.threshold)
                continue
            size = len(text.encode())
            columns = {"title": title, "text": text, "encoding": "utf-8", "html_bytes": row["payload_bytes"]}
            texts.append({**{column: row[column] for column in DOCUMENT}, **columns}, size + _ROW_BYTES)
            counts.numbers["kept"] += 1
            counts.numbers["html_bytes"] += row["payload_bytes"]
            counts.numbers["text_bytes"] += size
        task.stats.update(counts.stats())


def _values_of(urls: Path, file: Path, config: TextRows) -> Iterator[tuple[dict[str, Any], Any]]:
    """Each kept row of the index with its value in the file; None if the file no longer has it.

    Both are in the order of the rows' numbers.
    """
    file_rows = read_rows(file, (config.text_column, config.title_column))
    file_row = next(file_rows, None)
    for batch in batches(urls):
        for row in batch.iter_rows(named=True):
            while file_row is not None and file_row.number < row["warc_offset"]:
                file_row = next(file_rows, None)
            is_there = file_row is not None and file_row.number == row["warc_offset"]
            yield row, file_row.value if file_row is not None and is_there else None


def _text_of(value: Any, config: TextRows) -> tuple[str, str]:
    """Text and title of a row. Raises BodyError where the text is missing, no string, too long or too short."""
    text, title = value.get(config.text_column), value.get(config.title_column)
    if not isinstance(text, str):
        raise BodyError("not_text", "missing" if text is None else type(text).__name__, "a string")
    size = len(text.encode())
    if size > config.max_bytes:
        raise BodyError("too_large", str(size), str(config.max_bytes))
    text = text.replace("\r\n", "\n").replace("\r", "\n").strip()
    if len(text) < config.min_characters:
        raise BodyError("no_text", str(len(text)), str(config.min_characters))
    return text, " ".join(title.split()) if isinstance(title, str) else ""


def extraction_config(recipe: Any, crawl: str | None) -> Extraction | TextRows:
    source, extraction = recipe.sources().get(crawl), recipe.extraction
    if not isinstance(source, Texts):
        return extraction  # type: ignore[no-any-return]
    return TextRows(
        text_column=source.text_column,
        title_column=source.title_column,
        max_bytes=extraction.max_bytes,
        min_characters=extraction.min_characters,
    )


def build_extracted_text(step: Step, config: Extraction | TextRows) -> None:
    """One task per file, over the engine's workers."""
    tasks = {
        name: (path, step.task_file("raw_warc", f"warc/{name}"), config)
        for name, path in step.task_files("filtered_urls", "urls").items()
    }
    if isinstance(config, TextRows):
        step.run_tasks(read_texts_task, tasks, "files")
    else:
        step.run_tasks(extract_task, tasks, "WARC files")


EXTRACTED_TEXT = Stage(
    name="extracted_text",
    group="curation",
    description="The main text of each page, its title, and the encoding in which it was decoded.",
    kinds=("resiliparse", "parquet"),
    build=build_extracted_text,
    code_version="4",
    config=extraction_config,
    per_crawl=True,
    inputs=("raw_warc", "filtered_urls"),
    tables={"text": ExtractedText, "rejects": Rejects},
    main_table="text",
    libraries=("resiliparse", "fastwarc", "polars", "webencodings"),
)
