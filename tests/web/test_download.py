"""Downloads over HTTP from a server that drops connections, truncates bodies and refuses requests."""

import gzip
import hashlib
import time
from email.utils import formatdate

import polars as pl
import pytest

from llm_assets.artifacts import ExternalInputError, materialize
from llm_assets.recipes import Blocklists, BlocklistSource, CommonCrawl, Recipe, WarcFiles
from llm_assets.web.blocklists import URL_BLOCKLISTS
from llm_assets.web.download import RetryPolicy, download
from llm_assets.web.errors import DownloadError, SourceError
from llm_assets.web.raw_warc import RAW_WARC
from tests.support.corpus import corpus_workspace
from tests.support.file_server import FileServer
from tests.support.warcs import members, page

DATA = bytes(range(256)) * 2_000


def fetch(server, tmp_path, **options):
    return download(f"{server.url}/f", tmp_path / "out", RetryPolicy(backoff=0.0, **options))


@pytest.mark.parametrize("trouble", [[], ["busy"], ["drop"], ["cut"], ["drop", "busy", "cut", "drop"]])
def test_the_file_arrives_whole_in_spite_of_failures(tmp_path, trouble):
    with FileServer({"/f": DATA}, trouble) as server:
        assert fetch(server, tmp_path).read_bytes() == DATA
    assert not list(tmp_path.glob("*.partial")) and not list(tmp_path.glob("*.etag"))


def test_a_dropped_download_continues_where_it_broke_off(tmp_path):
    with FileServer({"/f": DATA}, ["drop"]) as server:
        fetch(server, tmp_path)
        assert server.requests[0].range is None
        assert server.requests[1].range == f"bytes={len(DATA) // 3}-"


def test_without_range_support_the_download_starts_again(tmp_path):
    with FileServer({"/f": DATA}, ["drop"], ranges=False) as server:
        assert fetch(server, tmp_path).read_bytes() == DATA


def test_a_file_that_changed_meanwhile_is_downloaded_from_the_start(tmp_path):
    with FileServer({"/f": DATA}) as server:
        (tmp_path / "out.partial").write_bytes(b"old" * 100)
        (tmp_path / "out.etag").write_text('"v0"')
        assert fetch(server, tmp_path).read_bytes() == DATA


def test_a_partial_file_that_is_already_complete_is_used(tmp_path):
    with FileServer({"/f": DATA}) as server:
        (tmp_path / "out.partial").write_bytes(DATA)
        (tmp_path / "out.etag").write_text('"v1"')
        assert fetch(server, tmp_path).read_bytes() == DATA


def test_retries_are_limited_and_the_error_counts_them(tmp_path):
    with (
        FileServer({"/f": DATA}, ["busy"] * 9) as server,
        pytest.raises(DownloadError, match=r"/f: HTTP 503; gave up after 3 tries"),
    ):
        fetch(server, tmp_path, retries=2)


def test_a_status_that_will_not_change_is_not_retried(tmp_path):
    with FileServer({}) as server:
        with pytest.raises(DownloadError, match="HTTP 404"):
            fetch(server, tmp_path)
        assert len(server.requests) == 1


def test_backoff_doubles_to_a_minute(tmp_path):
    waits = []
    with FileServer({"/f": DATA}) as server:
        server.files.clear()
        server.server_close()
        with pytest.raises(DownloadError):
            policy = RetryPolicy(retries=8, backoff=1.0, sleep=waits.append)
            download(f"{server.url}/f", tmp_path / "out", policy)
    assert waits == [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 60.0, 60.0]


@pytest.mark.parametrize("hours", [-2, 2])
def test_a_server_that_is_busy_for_a_minute_is_waited_for_whatever_its_clock_says(tmp_path, hours):
    """It asks for a pause of a second each time."""
    now, waits = time.time() + 3_600 * hours, []

    def wait(seconds):
        waits.append(seconds)
        if sum(waits) >= 60:
            server.trouble.clear()

    with FileServer({"/f": DATA}, ["busy"] * 20) as server:
        server.now, server.retry_after = lambda: now, formatdate(now + 1, usegmt=True)
        download(f"{server.url}/f", tmp_path / "out", RetryPolicy(sleep=wait))
    assert waits == [1.0, 2.0, 4.0, 8.0, 16.0, 32.0]


def test_a_server_is_not_asked_again_before_the_date_that_it_names(tmp_path):
    now, waits = time.time() - 7_200, []
    with FileServer({"/f": DATA}, ["busy"]) as server:
        server.now, server.retry_after = lambda: now, formatdate(now + 40, usegmt=True)
        download(f"{server.url}/f", tmp_path / "out", RetryPolicy(sleep=waits.append))
    assert waits == [40.0]


PATHS = [f"crawl-data/CC-MAIN-2026-43/segments/1/warc/CC-{i:05d}.warc.gz" for i in range(5)]


def common_crawl(trouble=()):
    files = {
        f"/{path}": b"".join(members([page(f"http://site{i}.example/{j}") for j in range(3)]))
        for i, path in enumerate(PATHS)
    }
    files["/crawl-data/CC-MAIN-2026-43/warc.paths.gz"] = gzip.compress("\n".join([*PATHS, ""]).encode())
    return FileServer(files, trouble)


def crawl(server, **fields):
    source = CommonCrawl(snapshot="CC-MAIN-2026-43", base_url=server.url, backoff=0.0, **fields)
    return materialize(RAW_WARC, "cc", corpus_workspace(Recipe(name="t", crawls={"cc": source}))).artifact


@pytest.mark.parametrize("trouble", [[], ["busy", None, "drop", "cut"]])
def test_common_crawl_files_are_downloaded_and_indexed(trouble):
    with common_crawl(trouble) as server:
        artifact = crawl(server, files=2)
    assert artifact.record.rows["captures"] == 6
    assert [p.name for p in sorted(artifact.path.glob("warc/*"))] == ["CC-00000.warc.gz", "CC-00001.warc.gz"]


def test_paths_are_selected_by_name_or_number():
    with common_crawl() as server:
        artifact = crawl(server, files=None, paths=(PATHS[3], "1"))
    assert sorted(p.name for p in artifact.path.glob("warc/*")) == ["CC-00001.warc.gz", "CC-00003.warc.gz"]


@pytest.mark.parametrize(
    ("fields", "problem"),
    [
        ({"files": 9}, "lists 5 WARC files, but the recipe asks for 9"),
        ({"files": None, "paths": ("17",)}, "there is no number 17"),
        ({"files": None, "paths": ("other",)}, "no entry 'other'"),
    ],
)
def test_entries_that_do_not_exist_are_named(fields, problem):
    with common_crawl() as server, pytest.raises(SourceError, match=problem):
        crawl(server, **fields)


def test_a_list_that_is_not_gzip_is_named():
    with common_crawl() as server:
        server.files["/crawl-data/CC-MAIN-2026-43/warc.paths.gz"] = b"<html>moved</html>"
        with pytest.raises(SourceError, match=r"warc\.paths\.gz: not a gzip list"):
            crawl(server)


def test_a_list_with_paths_outside_the_folder_is_refused():
    with common_crawl() as server:
        server.files["/crawl-data/CC-MAIN-2026-43/warc.paths.gz"] = gzip.compress(b"../../etc/passwd\n")
        with pytest.raises(SourceError, match=r"line 1: .* is not a relative path"):
            crawl(server)


def test_warc_files_at_a_url_are_downloaded_into_the_store(tmp_path):
    data = b"".join(members([page(f"http://host.example/{j}") for j in range(3)]))
    digest = hashlib.sha256(data).hexdigest()
    with FileServer({"/a.warc.gz": data}, ["drop"]) as server:
        source = WarcFiles(path=f"{server.url}/a.warc.gz", sha256=digest)
        artifact = materialize(RAW_WARC, "c", corpus_workspace(Recipe(name="t", crawls={"c": source}))).artifact
        assert artifact.record.rows["captures"] == 3
        assert artifact.file("warc/a.warc.gz").read_bytes() == data
        wrong = WarcFiles(path=f"{server.url}/a.warc.gz", sha256="0" * 64)
        with pytest.raises(DownloadError, match="its SHA-256 is not 0000"):
            materialize(RAW_WARC, "c", corpus_workspace(Recipe(name="t", crawls={"c": wrong})))


def test_a_blocklist_at_a_url_is_downloaded(tmp_path):
    with FileServer({"/hosts": gzip.compress(b"0.0.0.0 bad.example\n")}) as server:
        lists = Blocklists(
            sources=(BlocklistSource(name="feed", category="malware", format="hosts", path=f"{server.url}/hosts"),)
        )
        recipe = Recipe(name="t", crawls={}, blocklists=lists)
        artifact = materialize(URL_BLOCKLISTS, None, corpus_workspace(recipe)).artifact
    assert pl.read_parquet(artifact.table("domains")).to_dicts() == [
        {"domain": "bad.example", "category": "malware", "source": "feed"}
    ]


def test_failed_downloads_are_retried_and_missing_sources_are_not():
    for stage in (RAW_WARC, URL_BLOCKLISTS):
        assert stage.retry is not None and stage.retry.on == (DownloadError,)
    assert issubclass(SourceError, ExternalInputError) and not issubclass(SourceError, DownloadError)
