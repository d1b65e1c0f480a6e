"""`extracted_text`: main text of each page whose URL passed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import polars as pl
from resiliparse.parse.encoding import detect_mime

from llm_assets.artifacts.stage import Stage
from llm_assets.artifacts.step import Step, Task
from llm_assets.recipes import Extraction
from llm_assets.warc import read_captures

from .encoding import BodyError, decode_body
from .extraction import extract
from .rejects import DOCUMENT, reject_row
from .schemas import ExtractedText, Rejects

_HTML = ("text/html", "application/xhtml+xml")


def extract_task(staging: Path, name: str, urls: Path, warc: Path, bounds: Extraction) -> None:
    """Worker: read the kept captures of one WARC file, in file order, and extract them."""
    rows = {row["warc_offset"]: row for row in pl.read_parquet(urls).iter_rows(named=True)}
    with Task(staging, name) as task:
        texts, rejects = task.table("text", ExtractedText), task.table("rejects", Rejects)
        counts = {"pages": len(rows), "kept": 0, "rejected": 0, "html_bytes": 0, "text_bytes": 0}
        rules: dict[str, int] = {}

        def reject(row: dict[str, Any], rule: str, value: str, threshold: str) -> None:
            rejects.append(reject_row(row, "extracted_text", rule, value, threshold))
            counts["rejected"] += 1
            rules[rule] = rules.get(rule, 0) + 1

        for capture in read_captures(warc, set(rows), bounds.max_bytes):
            row = rows.pop(capture.offset, None) if capture.record_type != "corrupt" else None
            if row is None:
                continue
            try:
                if capture.payload is None:
                    raise BodyError("too_large", str(capture.payload_bytes), str(bounds.max_bytes))
                if not capture.payload:
                    raise BodyError("empty_body", "0", "1")
                body = decode_body(capture.payload, capture.http or {}, bounds.max_bytes)
                counts["html_bytes"] += len(body)
                if row["mime"] is None and (found := detect_mime(body[:4096])) not in _HTML:
                    raise BodyError("not_html", found, "text/html")
                page = extract(body, row["charset"], bounds)
                if len(page.text) < bounds.min_characters:
                    raise BodyError("no_text", str(len(page.text)), str(bounds.min_characters))
            except BodyError as error:
                reject(row, error.rule, error.value, error.threshold)
                continue
            size = len(page.text.encode("utf-8", "replace"))
            texts.append(
                {
                    **{c: row[c] for c in DOCUMENT},
                    "title": page.title,
                    "text": page.text,
                    "encoding": page.encoding,
                    "html_bytes": len(body),
                },
                size + 256,
            )
            counts["kept"] += 1
            counts["text_bytes"] += size
        for offset in sorted(rows):  # indexed, but no longer readable
            reject(rows[offset], "unreadable_record", "", "")
        task.stats.update(counts, rejects=dict(sorted(rules.items())))


def build_extracted_text(step: Step, config: Extraction) -> None:
    """One part a WARC file, over the engine's workers."""
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
    description="Main text of each page, its title, and the encoding it was read in.",
    kinds=("resiliparse", "parquet"),
    build=build_extracted_text,
    code_version="2",
    config=lambda recipe, _: recipe.extraction,
    per_crawl=True,
    inputs=("raw_warc", "filtered_urls"),
    tables={"text": ExtractedText, "rejects": Rejects},
    main_table="text",
    libraries=("resiliparse", "fastwarc", "polars"),
)
