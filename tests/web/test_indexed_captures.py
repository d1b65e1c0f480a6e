"""Crawls from Common Crawl's index: the named records and no others, whole or recorded as not stored."""

import subprocess
import sys
import time

import polars as pl
import pytest

from llm_assets.artifacts import materialize
from llm_assets.artifacts.tables import read_table
from llm_assets.recipes import CommonCrawlIndex, Recipe
from llm_assets.web.download import RetryPolicy
from llm_assets.web.errors import DownloadError, EmptyCrawl
from llm_assets.web.last_try import not_fetched
from llm_assets.web.raw_warc import RAW_WARC
from llm_assets.web.record_ranges import MAX_GAP_BYTES, MAX_REQUEST_BYTES, RecordFetch, RemoteRecord, group_neighbours
from tests.support.corpus import GRAPH, corpus_workspace
from tests.support.crawl_archive import (
    SNAPSHOT,
    archive_files,
    archive_records,
    archive_rows,
    index_of,
    page_urls,
    warc_path,
)
from tests.support.file_server import FileServer

BLOG = page_urls("blog.example.org")


def workspace_of(server, store=None, **fields):
    settings = {"hosts": ["blog.example.org"], "backoff": 0.0, "retries": 2, **fields}
    source = CommonCrawlIndex(snapshot=SNAPSHOT, base_url=server.url, **settings)
    return corpus_workspace(Recipe(name="t", crawls={"cc": source}), store)


def crawl(server, store=None, **fields):
    return materialize(RAW_WARC, "cc", workspace_of(server, store, **fields)).artifact


def record_requests(server):
    return [request for request in server.requests if request.path.endswith(".warc.gz")]


def remote_records():
    return [
        RemoteRecord(
            row["warc_filename"],
            row["warc_record_offset"],
            row["warc_record_length"],
            row["url"],
            row["content_digest"],
        )
        for row in archive_rows()
        if row["url"] in BLOG
    ]


def test_the_named_records_are_fetched_as_they_are_and_the_stage_behind_reads_them():
    files = archive_files()
    with FileServer(files) as server:
        workspace = workspace_of(server)
        for name in ("url_blocklists", "raw_warc", "filtered_urls"):
            materialize(GRAPH[name], "cc" if GRAPH[name].per_crawl else None, workspace)
        requests = record_requests(server)
        assert server.sent_bytes < sum(map(len, files.values())) / 10
    artifact = workspace.resolver().artifact("raw_warc", "cc")
    records = archive_records()
    (warc,) = artifact.path.glob("warc/*")
    in_archive_order = [*BLOG[0::2], *BLOG[1::2]]
    assert warc.name == f"{SNAPSHOT}-00000.warc.gz"
    assert warc.read_bytes() == b"".join(records[url] for url in in_archive_order)
    assert len(requests) == len(BLOG)  # larger records of other hosts lie between them
    assert list(read_table(artifact.table("captures"))["url"]) == in_archive_order
    located = read_table(artifact.table("located_captures"))
    assert list(located["url"]) == in_archive_order and set(located["warc_file"]) == {warc.name}
    assert set(located["source_file"]) == {warc_path(0), warc_path(1)}
    assert artifact.record.stats["crawl_failures"] == {}
    assert workspace.resolver().artifact("filtered_urls", "cc").record.rows["urls"] == len(BLOG)


def test_the_same_crawl_is_the_same_bytes_whatever_goes_wrong(tmp_path):
    with FileServer(archive_files()) as server:
        calm = crawl(server, tmp_path / "a", connections=1)
        server.trouble = ["busy", None, "drop", "cut", None, "busy", "drop", "busy"]
        rough = crawl(server, tmp_path / "b", connections=8)
        assert server.trouble == []
    assert calm.data_version == rough.data_version and calm.record.stats == rough.record.stats


def test_an_interrupted_fetch_does_not_repeat_a_request(tmp_path):
    with FileServer(archive_files()) as server:
        whole = crawl(server, tmp_path / "whole", connections=1)
        everything = {request.range for request in record_requests(server)}
        searched = len(server.requests) - len(everything)
        server.requests.clear()
        server.trouble = [None] * (searched + 2) + ["busy"] * 3
        with pytest.raises(DownloadError, match="HTTP 503"):
            crawl(server, tmp_path / "store", connections=1)
        before = record_requests(server)
        server.requests.clear()
        resumed = crawl(server, tmp_path / "store", connections=1)
        assert server.requests == record_requests(server)  # the index is not read again
        answered = {request.range for request in before[:2]}
        assert {request.range for request in server.requests} == everything - answered
    assert resumed.data_version == whole.data_version


FETCH = """
import sys
from pathlib import Path
from llm_assets.web.download import RetryPolicy
from llm_assets.web.record_ranges import RecordFetch, RemoteRecord
records = [RemoteRecord(*fields) for fields in {records!r}]
RecordFetch({url!r}, RetryPolicy(), 1, Path({target!r}), Path({journal!r})).run(records)
"""


def test_a_killed_fetch_does_not_repeat_a_request(tmp_path):
    records = remote_records()
    target, journal = tmp_path / "out.warc.gz", tmp_path / "journal.jsonl"
    fields = [(r.file, r.offset, r.length, r.url, r.digest) for r in records]
    with FileServer(archive_files(), [None, None, None, "stall"]) as server:
        script = FETCH.format(records=fields, url=server.url, target=str(target), journal=str(journal))
        child = subprocess.Popen([sys.executable, "-c", script])
        assert server.stalled.wait(60)
        while journal.read_text().count("\n") < 3:  # what is in flight at the kill is lost
            time.sleep(0.01)
        child.kill()
        child.wait()
        with open(target, "ab") as stream:
            stream.write(b"written, but not yet in the journal")
        with open(journal, "a") as stream:
            stream.write("[1, 12")
        server.requests.clear()
        assert RecordFetch(server.url, RetryPolicy(), 1, target, journal).run(records) == []
        assert len(server.requests) == len(records) - 3
    assert target.read_bytes() == b"".join(archive_records()[record.url] for record in records)


def test_records_that_are_not_what_the_index_says_are_recorded():
    rows = {row["url"]: row for row in archive_rows() if row["url"] in BLOG}
    first, second, third = BLOG[0], BLOG[2], BLOG[4]  # in one file, in this order
    rows[second]["content_digest"] = "A" * 32
    rows[BLOG[1]]["warc_filename"] = warc_path(7)
    rows[BLOG[3]]["warc_record_offset"] += 3
    data = bytearray(archive_files()[f"/{warc_path(0)}"])
    end = rows[third]["warc_record_offset"] + rows[third]["warc_record_length"]
    files = archive_files() | index_of(rows.values()) | {f"/{warc_path(0)}": bytes(data[: end - 10])}
    with FileServer(files) as server:
        workspace = workspace_of(server)
        outcome = materialize(RAW_WARC, "cc", workspace)
    artifact = outcome.artifact
    failures = {url: (reason, detail) for url, _, reason, detail in read_table(artifact.table("crawl_failures")).rows()}
    assert {url: reason for url, (reason, _) in failures.items()} == {
        second: "digest_mismatch",
        BLOG[1]: "not_in_archive",
        BLOG[3]: "damaged",
        third: "damaged",
    }
    assert f"the index says {'A' * 32}" in failures[second][1] and "HTTP 404" in failures[BLOG[1]][1]
    assert "the file ends inside the record" in failures[third][1]
    assert artifact.record.stats["crawl_failures"] == {"damaged": 2, "digest_mismatch": 1, "not_in_archive": 1}
    assert set(read_table(artifact.table("captures"))["url"]) == {first, BLOG[5]}
    assert not_fetched(workspace, second, ["cc"])[0].reason == "digest_mismatch"
    assert artifact.record.stats["corrupt"] == 0


def test_a_row_without_a_place_is_recorded():
    rows = [row for row in archive_rows() if row["url"] in BLOG]
    rows[0]["warc_filename"], rows[1]["warc_filename"] = "../x.warc.gz", None
    rows[2]["warc_record_length"], rows[3]["warc_record_length"] = 0, 2_000_000_000
    with FileServer(archive_files() | index_of(rows)) as server:
        artifact = crawl(server)
    failures = read_table(artifact.table("crawl_failures"))
    assert set(failures["url"]) == {row["url"] for row in rows[:4]} and set(failures["reason"]) == {"damaged"}
    assert artifact.record.rows["captures"] == 2


@pytest.mark.parametrize(
    ("fields", "missing", "problem"),
    [
        ({"hosts": ["nobody.example"]}, False, f"the index of {SNAPSHOT} has no capture that matches"),
        ({}, True, r"stored no page: 6 × not_in_archive \(.*HTTP 404.*; the next run tries again"),
    ],
)
def test_a_crawl_without_a_page_is_an_error_that_says_why(fields, missing, problem):
    with FileServer(archive_files()) as server:
        if missing:
            server.files = {path: data for path, data in server.files.items() if not path.endswith(".warc.gz")}
        workspace = workspace_of(server, **fields)
        with pytest.raises(EmptyCrawl, match=problem):
            materialize(RAW_WARC, "cc", workspace)
        assert bool(not_fetched(workspace, BLOG[0], ["cc"])) == missing
        server.files = archive_files()
        if missing:
            assert materialize(RAW_WARC, "cc", workspace).artifact.record.rows["captures"] == len(BLOG)


def test_neighbours_are_fetched_with_one_request():
    def record(file, offset, length=100):
        return RemoteRecord(file, offset, length, "http://a.example/")

    near, far = MAX_GAP_BYTES + 100, 2 * MAX_GAP_BYTES + 300
    records = [record("a", 0), record("a", near), record("a", far), record("b", far), record("b", far + 100)]
    assert [len(group.records) for group in group_neighbours(records)] == [2, 1, 2]
    large = [record("a", number * MAX_REQUEST_BYTES // 4, MAX_REQUEST_BYTES // 4) for number in range(9)]
    assert [len(group.records) for group in group_neighbours(large)] == [4, 4, 1]


def test_what_the_table_of_found_captures_says_comes_from_the_index():
    with FileServer(archive_files()) as server:
        artifact = crawl(server)
    row = read_table(artifact.table("located_captures")).filter(pl.col("url") == BLOG[1]).row(0, named=True)
    (source,) = [row for row in archive_rows() if row["url"] == BLOG[1]]
    assert (row["languages"], row["mime"], row["status"]) == ("deu", source["content_mime_detected"], 200)
    assert (row["source_offset"], row["source_length"]) == (
        source["warc_record_offset"],
        source["warc_record_length"],
    )
    assert row["fetched_at"] == "2026-10-06T06:00:00Z" and row["payload_digest"] == source["content_digest"]
