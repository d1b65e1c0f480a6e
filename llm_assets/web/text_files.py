"""A user's files of texts as a crawl: every row is a capture, whose text `extracted_text` takes over."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from datetime import UTC, date, datetime
from itertools import islice
from pathlib import Path
from typing import Any
from urllib.parse import quote

from llm_assets.artifacts.step import Task
from llm_assets.recipes import Texts
from llm_assets.row_files import FileRow, RowFileError, parquet_columns, read_rows, shown_fields
from llm_assets.warc import Capture, sha1_digest

from .capture_index import capture_row
from .errors import SourceError
from .schemas import Captures, OptOutSignals, SitePolicies

SCHEME = "text://"  # of the URL of a text that comes without one
CHECKED_ROWS = 100  # of a file, before it is registered
_DAY = re.compile(r"\d{4}-\d\d-\d\d")
_DAY_AND_TIME = re.compile(r"(\d{4}-\d\d-\d\d)[ T](\d\d:\d\d.*)")


def index_texts_task(staging: Path, name: str, path: Path, crawl: str, source: Texts) -> None:
    """Worker: index the rows of one file. Raises SourceError, which names the file and the column that it lacks."""
    with Task(staging, name) as task:
        table = task.table("captures", Captures)
        task.table("opt_out_signals", OptOutSignals)  # texts bring neither signals nor policies of sites
        task.table("site_policies", SitePolicies)
        counts = {"captures": 0, "corrupt": 0, "revisits": 0, "payload_bytes": 0, "digest_mismatches": 0}
        column, host = TextColumn(path, source.text_column), host_of_file(name)
        try:
            column.refuse_schema()
            for row in read_rows(path, source.columns()):
                column.see(row)
                capture = capture_of(row, host, source)
                table.append(capture_row(capture, name, crawl))
                counts["captures"] += 1
                counts["corrupt"] += capture.record_type == "corrupt"
                counts["payload_bytes"] += capture.payload_bytes
        except RowFileError as error:
            raise SourceError(str(error)) from error
        column.refuse_rows()
        task.reference(f"warc/{name}", path)
        task.stats.update(counts, pages=counts["captures"], warc_bytes=path.stat().st_size)


class TextColumn:
    """Whether a file has a text column at all. A file in which no row has it is an error: its texts are elsewhere."""

    def __init__(self, path: Path, column: str):
        self.path, self.column = path, column
        self.fields: set[str] = set()

    def problem(self) -> str | None:
        """What is wrong with the rows seen so far; None if one of them has the column, or none is an object."""
        if not self.fields or self.column in self.fields:
            return None
        return (
            f"no column {self.column!r}; the columns are {shown_fields(self.fields)}; name the one with the text in "
            "text_column"
        )

    def see(self, row: FileRow) -> None:
        """Note the fields of a row."""
        if isinstance(row.value, Mapping) and self.column not in self.fields:
            self.fields.update(map(str, row.value))

    def refuse_schema(self) -> None:
        """Raises SourceError for a Parquet file without the column."""
        self.fields.update(parquet_columns(self.path) or ())
        self.refuse_rows()

    def refuse_rows(self) -> None:
        """Raises SourceError if rows were seen, and none has the column."""
        if (problem := self.problem()) is not None:
            raise SourceError(f"{self.path}: {problem}")


def problem_of_texts(path: Path, source: Texts) -> str | None:
    """What is wrong with a file of texts, from its first rows; None if nothing is."""
    column = TextColumn(path, source.text_column)
    try:
        column.fields.update(parquet_columns(path) or ())
        rows = list(islice(read_rows(path, source.columns()), CHECKED_ROWS))
    except (RowFileError, OSError) as error:
        return str(error).removeprefix(f"{path}: ")
    for row in rows:
        column.see(row)
    if not rows:
        return "has no row"
    if not any(isinstance(row.value, Mapping) for row in rows):
        return f"no row can be read; row {rows[0].number}: {rows[0].problem or 'no object'}"
    return column.problem()


def host_of_file(name: str) -> str:
    """The host of made URLs: the file's name, in the characters of hosts. No two names have the same host."""
    host = re.sub(r"[^a-z0-9.-]+", "-", name.lower()).strip(".-")
    host = re.sub(r"\.{2,}", ".", host)
    return host if host == name else f"{host}-{hashlib.sha256(name.encode()).hexdigest()[:8]}".lstrip("-")


def capture_of(row: FileRow, host: str, source: Texts) -> Capture:
    """The row as a capture: a resource, or corrupt if it holds no columns at all."""
    value = row.value
    if not isinstance(value, Mapping):
        problem = row.problem or f"a row must be an object, not {type(value).__name__}"
        return Capture(row.number, 0, "corrupt", error=problem)
    text = value.get(source.text_column)
    payload = text.encode() if isinstance(text, str) else b""
    return Capture(
        row.number,
        len(payload),
        "resource",
        url=_url_of(row.number, value, host, source),
        date=_time_of(value.get(source.date_column)),
        payload_bytes=len(payload),
        digest=sha1_digest(payload),
    )


def _url_of(number: int, value: Mapping[str, Any], host: str, source: Texts) -> str:
    url = value.get(source.url_column)
    if isinstance(url, str) and url.strip():
        return url.strip()
    key = value.get(source.id_column)
    has_key = (isinstance(key, str) and key.strip()) or (isinstance(key, int) and not isinstance(key, bool))
    return f"{SCHEME}{host}/{quote(str(key).strip(), safe=':@') if has_key else number}"


def _time_of(value: Any) -> str:
    """A date in the form of WARC-Date, such as 2026-10-05T06:00:00Z; texts of another form as they are."""
    if isinstance(value, datetime):
        moment = value.replace(tzinfo=value.tzinfo or UTC).astimezone(UTC)
        return moment.strftime("%Y-%m-%dT%H:%M:%SZ")
    if isinstance(value, date):
        return f"{value.isoformat()}T00:00:00Z"
    if not isinstance(value, str):
        return ""
    value = value.strip()
    if _DAY.fullmatch(value):
        return f"{value}T00:00:00Z"
    match = _DAY_AND_TIME.fullmatch(value)
    return f"{match[1]}T{match[2]}" if match else value
