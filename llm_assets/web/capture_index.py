"""The capture index: the captures of WARC files, one row for each, without their bodies."""

from __future__ import annotations

import collections
import logging
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import polars as pl

from llm_assets.artifacts.step import Step, Task
from llm_assets.artifacts.store import Artifact
from llm_assets.artifacts.tables import INDEX_ROWS, polars_schema, read_table, scan_table
from llm_assets.sql import statement, stream
from llm_assets.warc import Capture, digest_hasher, digest_name, read_captures

from .opt_out_signals import POLICY_BYTES, decoded_head, page_signals, policy_of, signal_row, site_rules, site_signals
from .schemas import Captures, OptOutSignals, Revisits, SitePolicies
from .urls import doc_id, host_of, registered_domain, without_fragment

log = logging.getLogger(__name__)
SITE_SIGNALS = "site_signals"  # the task that records the signals of sites
PAYLOAD = ["url", "payload_digest"]  # what a revisit has in common with its original
EMPTY_DIGESTS = [digest_name(digest_hasher(algorithm)) for algorithm in ("md5", "sha1", "sha256", "sha512")]


def index_warc(path: Path, warc_file: str, crawl: str, task: Task) -> None:
    """Write the captures of one WARC file, corrupt stretches included, with their signals and policies of sites."""
    table = task.table("captures", Captures)
    signals, policies = task.table("opt_out_signals", OptOutSignals), task.table("site_policies", SitePolicies)
    counts = {"captures": 0, "corrupt": 0, "revisits": 0, "payload_bytes": 0, "digest_mismatches": 0}
    for capture in read_captures(path):
        row = capture_row(capture, warc_file, crawl)
        table.append(row)
        if capture.record_type == "response" and capture.status == 200:
            for signal in page_signals(capture):
                signals.append(signal_row(row, signal))
            if policy_of(row["url"]) is not None:
                policies.append(_policy_row(row, capture))
        counts["captures"] += 1
        counts["corrupt"] += capture.record_type == "corrupt"
        counts["revisits"] += capture.record_type == "revisit"
        counts["payload_bytes"] += capture.payload_bytes
        counts["digest_mismatches"] += digest_differs(capture)
    task.stats.update(counts, pages=counts["captures"], warc_bytes=path.stat().st_size)


def digest_differs(capture: Capture) -> bool:
    """Whether the digest that a record declares is not its payload's; False for an algorithm that is not known."""
    return capture.checked_digest is not None and capture.checked_digest != capture.declared_digest


def capture_row(capture: Capture, warc_file: str, crawl: str) -> dict[str, Any]:
    """One row of the capture index."""
    http = capture.http or {}
    has_http_head = capture.record_type != "resource" and capture.http is not None
    mime, charset = split_content_type(http.get("content-type") if has_http_head else capture.content_type)
    url = without_fragment(capture.url)
    host = host_of(url)
    digest = capture.digest or capture.declared_digest or ""
    identity = url or f"{warc_file}:{capture.offset}"
    return {
        "doc_id": doc_id(identity, digest),
        "crawl": crawl,
        "warc_file": warc_file,
        "warc_offset": capture.offset,
        "warc_length": capture.length,
        "record_type": capture.record_type,
        "url": url,
        "host": host,
        "registered_domain": registered_domain(host),
        "fetched_at": capture.date,
        "status": capture.status,
        "mime": mime,
        "charset": charset,
        "payload_bytes": capture.payload_bytes,
        "payload_digest": digest,
        "declared_digest": capture.declared_digest,
        "etag": http.get("etag"),
        "last_modified": http.get("last-modified"),
        "location": http.get("location"),
        "truncated": capture.truncated,
        "refers_to_uri": without_fragment(capture.refers_to_uri) if capture.refers_to_uri else None,
        "refers_to_date": capture.refers_to_date,
        "error": capture.error,
    }


def _policy_row(row: dict[str, Any], capture: Capture) -> dict[str, Any]:
    text = decoded_head(capture)[:POLICY_BYTES].decode("utf-8-sig", "replace")
    columns = ("url", "host", "warc_file", "warc_offset", "fetched_at", "payload_digest")
    return {**{name: row[name] for name in columns}, "text": text}


def split_content_type(value: str | None) -> tuple[str | None, str | None]:
    """Media type and charset of a Content-Type such as ``text/html; charset=UTF-8``, in lower case; None if absent."""
    if not value:
        return None, None
    mime, _, parameters = value.partition(";")
    charset = None
    for parameter in parameters.split(";"):
        name, _, setting = parameter.partition("=")
        if name.strip().lower() == "charset":
            charset = setting.strip().strip("\"'").lower() or None
    return mime.strip().lower() or None, charset


def index_task(staging: Path, name: str, path: Path, warc_file: str, crawl: str, keep: str) -> None:
    """Worker: index one WARC file as task `name`.

    keep: ``reference`` leaves the file where it is, ``copy`` copies it into the artifact, ``own`` means that it is
    already in the artifact's ``warc/``.
    """
    with Task(staging, name) as task:
        source = path
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
    """Write the ``revisits`` table: each revisit with the location of its original, in this crawl or an earlier one."""
    if step.finished_task("revisits") is not None:
        return
    captures = step.table("captures")
    with step.task("revisits") as task:
        table = task.table("revisits", Revisits)
        originals = 0
        if captures:
            earlier_captures = [path for artifact in earlier for path in artifact.table("captures")]
            all_captures = captures + earlier_captures
            resolved = stream(
                statement("resolve_revisits"),
                INDEX_ROWS,
                all_files=all_captures,
                crawl=step.partition,
                empty_digests=EMPTY_DIGESTS,
            )
            collections.deque(table.frames(resolved), maxlen=0)
            responses = scan_table(captures).filter(pl.col("record_type") == "response")
            originals = responses.select(pl.len()).collect().item()
        task.stats["originals_in_crawl"] = originals


def record_site_signals(step: Step, earlier: list[Artifact]) -> None:
    """Write the opt-out signals that captures have from the policies of their sites.

    A policy that has not changed is a revisit; its text is that of an earlier crawl. Captures are read file by file;
    memory holds the address of each site's policies, and the rules of those sites that have any.
    """
    if step.finished_task(SITE_SIGNALS) is not None:
        return
    columns = ["doc_id", "url", "host", "warc_file", "warc_offset", "record_type", "status"]
    with step.task(SITE_SIGNALS) as task:
        table = task.table("opt_out_signals", OptOutSignals)
        rules = site_rules(_latest_policies(step, earlier))
        signals = {path.stem: path for path in _task_files(step, "opt_out_signals")}
        is_page = pl.col("status").is_null() | (pl.col("status") == 200) | (pl.col("record_type") == "revisit")
        of_site = pl.col("host").is_in(list(rules)) & (pl.col("record_type") != "corrupt") & is_page
        for path in sorted(_task_files(step, "captures"), key=lambda path: path.stem) if rules else []:
            of_tdm = scan_table(signals[path.stem]).filter(pl.col("signal") == "tdm_reservation")
            says_tdm = of_tdm.select("warc_file", "warc_offset", has_tdm=pl.lit(True))
            pages = scan_table(path).select(columns).filter(of_site)
            pages = pages.join(says_tdm, on=["warc_file", "warc_offset"], how="left", maintain_order="left")
            for row in site_signals(pages.with_columns(pl.col("has_tdm").fill_null(False)).collect(), rules):
                table.append(row)


def _latest_policies(step: Step, earlier: list[Artifact]) -> Iterator[pl.DataFrame]:
    """The policies of a crawl in frames of rows of SitePolicies: of each URL, the latest."""
    files, place = _task_files(step, "site_policies"), ["url", "fetched_at", "warc_file", "warc_offset"]
    stored = [path for artifact in earlier for path in artifact.table("site_policies")]
    columns = [*place, "payload_digest"]
    policies = read_table(files, columns, polars_schema(SitePolicies)).with_columns(is_unchanged=pl.lit(False))
    unchanged = _unchanged_policies(step, stored, columns) if stored else policies.head(0)
    every = pl.concat([policies, unchanged.with_columns(is_unchanged=pl.lit(True))])
    latest = every.sort(place[1:]).unique("url", keep="last", maintain_order=True)
    for path in files:
        yield scan_table(path).join(latest.lazy().filter(~pl.col("is_unchanged")), on=place, how="semi").collect()
    if len(unchanged):
        # The text is that of the last crawl that has stored this payload of the URL.
        texts = scan_table(stored).join(latest.lazy().filter("is_unchanged"), on=PAYLOAD, how="semi").collect()
        yield texts.unique(PAYLOAD, keep="last", maintain_order=True)


def _unchanged_policies(step: Step, stored: list[Path], columns: list[str]) -> pl.DataFrame:
    """The revisits of sites' policies whose text an earlier crawl has stored. stored: tables of SitePolicies."""
    frames = [pl.DataFrame(schema={name: polars_schema(Captures)[name] for name in columns})]  # for no files
    for path in _task_files(step, "captures"):
        revisits = scan_table(path).filter(pl.col("record_type") == "revisit").select(columns).collect()
        is_policy = [policy_of(url) is not None for url in revisits["url"]]
        frames.append(revisits.filter(pl.Series(is_policy, dtype=pl.Boolean)))
    return pl.concat(frames).lazy().join(scan_table(stored), on=PAYLOAD, how="semi").collect()


def _task_files(step: Step, table: str) -> list[Path]:
    """The files of a table that the tasks of a step have written, but for that of the sites' signals."""
    return [path for path in step.table(table) if path.stem != SITE_SIGNALS]
