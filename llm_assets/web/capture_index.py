"""The capture index: what a WARC file holds, one row a capture, without its bodies."""

from __future__ import annotations

import base64
import logging
import os
import shutil
from pathlib import Path
from typing import Any

from llm_assets.artifacts.step import Step, Task
from llm_assets.artifacts.store import Artifact
from llm_assets.sql import query, statement
from llm_assets.warc import Capture, read_captures

from .schemas import Captures, Revisits
from .urls import doc_id, host_of, registered_domain

log = logging.getLogger(__name__)


def index_warc(path: Path, warc_file: str, crawl: str, task: Task) -> None:
    """Write the rows of one WARC file into the part's ``captures`` table; corrupt stretches become rows too."""
    table = task.table("captures", Captures)
    counts = {"captures": 0, "corrupt": 0, "revisits": 0, "payload_bytes": 0, "digest_mismatches": 0}
    for capture in read_captures(path):
        table.append(capture_row(capture, warc_file, crawl))
        counts["captures"] += 1
        counts["corrupt"] += capture.record_type == "corrupt"
        counts["revisits"] += capture.record_type == "revisit"
        counts["payload_bytes"] += capture.payload_bytes
        counts["digest_mismatches"] += digest_differs(capture.declared_digest, capture.digest)
    task.stats.update(counts, pages=counts["captures"], warc_bytes=path.stat().st_size)


def digest_differs(declared: str | None, found: str) -> bool:
    """Whether a record's own SHA-1 (in base32, or in hexadecimal as some writers have it) is not that of its payload."""
    algorithm, _, value = (declared or "").partition(":")
    if algorithm.lower() != "sha1" or not found:
        return False
    expected = found.partition(":")[2]
    return value.upper() != expected and value.lower() != base64.b32decode(expected).hex()


def capture_row(capture: Capture, warc_file: str, crawl: str) -> dict[str, Any]:
    """One row of the capture index."""
    http = capture.http or {}
    content_type = (
        http.get("content-type")
        if capture.record_type != "resource" and capture.http is not None
        else capture.content_type
    )
    mime, charset = split_content_type(content_type)
    host = host_of(capture.url)
    digest = capture.digest or (capture.declared_digest or "")
    identity = capture.url or f"{warc_file}:{capture.offset}"
    return {
        "doc_id": doc_id(identity, digest),
        "crawl": crawl,
        "warc_file": warc_file,
        "warc_offset": capture.offset,
        "warc_length": capture.length,
        "record_type": capture.record_type,
        "url": capture.url,
        "host": host,
        "registered_domain": registered_domain(host),
        "fetched_at": capture.date,
        "status": capture.status,
        "mime": mime,
        "charset": charset,
        "payload_bytes": capture.payload_bytes,
        "payload_digest": digest,
        "etag": http.get("etag"),
        "last_modified": http.get("last-modified"),
        "location": http.get("location"),
        "truncated": capture.truncated,
        "refers_to_uri": capture.refers_to_uri,
        "refers_to_date": capture.refers_to_date,
        "error": capture.error,
    }


def split_content_type(value: str | None) -> tuple[str | None, str | None]:
    """``text/html; charset=UTF-8`` as (media type in lower case, charset in lower case); None where absent."""
    if not value:
        return None, None
    mime, _, parameters = value.partition(";")
    charset = None
    for parameter in parameters.split(";"):
        name, _, setting = parameter.partition("=")
        if name.strip().lower() == "charset":
            charset = setting.strip().strip("\"'").lower() or None
    return mime.strip().lower() or None, charset


def index_task(staging: Path, name: str, path: str, warc_file: str, crawl: str, keep: str) -> None:
    """Worker: index one WARC file as part `name`.

    keep: ``reference`` leaves the file where it is, ``copy`` copies it into the artifact, ``own`` means that it lies
    in the artifact's ``warc/`` already.
    """
    with Task(staging, name) as task:
        source = Path(path)
        if keep == "copy":
            target = staging / "warc" / warc_file
            target.parent.mkdir(parents=True, exist_ok=True)
            temporary = target.with_name(f".{target.name}.{os.getpid()}.tmp")
            shutil.copyfile(source, temporary)
            os.replace(temporary, target)
            source = target
        index_warc(source, warc_file, crawl, task)
        if keep == "reference":
            task.reference(f"warc/{warc_file}", source)
        else:
            task.add_file(f"warc/{warc_file}")


def resolve_revisits(step: Step, earlier: list[Artifact]) -> None:
    """Write the ``revisits`` table: each revisit with the place of its original, in this crawl or an earlier one."""
    if step.finished_task("revisits") is not None:
        return
    here = [str(p) for p in sorted((step.staging / "captures").glob("*.parquet"))]
    with step.task("revisits") as task:
        table = task.table("revisits", Revisits)
        if here:
            before = [str(p) for artifact in earlier for p in artifact.table("captures")]
            table.frame(query(statement("resolve_revisits"), files=here, all_files=here + before, crawl=step.partition))
        task.stats["originals_here"] = (
            query("SELECT count(*) AS n FROM read_parquet($files) WHERE record_type = 'response'", files=here)["n"][0]
            if here
            else 0
        )
