"""Searches of Common Crawl's index: the right captures, and few bytes read for them."""

import hashlib
import io
from datetime import UTC, date, datetime

import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from llm_assets.recipes import CommonCrawlIndex
from llm_assets.web.errors import DownloadError, SourceError
from llm_assets.web.index_lookup import find_captures
from llm_assets.web.surt import domain_ranges, host_ranges, prefix_ranges
from tests.support.crawl_archive import SNAPSHOT, archive_files, archive_rows, index_file, index_of
from tests.support.file_server import FileServer

PATHS = f"/crawl-data/{SNAPSHOT}/cc-index-table.paths.gz"


def selection(server, **fields):
    return CommonCrawlIndex(snapshot=SNAPSHOT, base_url=server.url, backoff=0.0, retries=2, **fields)


def urls_found(server, folder, **fields):
    return list(find_captures(selection(server, **fields), folder)["url"])


def digest_share(url):
    return int(hashlib.md5(url.encode()).hexdigest(), 16) / 2**128


SELECTIONS = [
    ({"domains": ["example.org"]}, lambda row: row["url_host_registered_domain"] == "example.org"),
    ({"hosts": ["www.example.org"]}, lambda row: row["url_host_name"] == "www.example.org"),
    (
        {"domains": ["blog.example.org"], "hosts": ["other.example"]},
        lambda row: row["url_host_name"] in ("blog.example.org", "other.example"),
    ),
    ({"prefixes": ["https://example.org/docs/"]}, lambda row: row["url"].startswith("https://example.org/docs/")),
    ({"prefixes": ["example.org/news/2"]}, lambda row: row["url"] == "https://example.org/news/2"),
    ({"prefixes": ["http://example.org/"]}, lambda row: False),
    ({"domains": ["example.org"], "languages": ["de"]}, lambda row: row["url_host_name"] == "blog.example.org"),
    (
        {"domains": ["example.org"], "mimes": ["text/plain"], "statuses": [200]},
        lambda row: row["url_host_registered_domain"] == "example.org" and row["content_mime_detected"] == "text/plain",
    ),
    ({"domains": ["example.org"], "statuses": [206]}, lambda row: False),
    (
        {"domains": ["example.org"], "fetched_from": date(2026, 10, 6), "fetched_before": date(2026, 10, 7)},
        lambda row: (
            row["url_host_registered_domain"] == "example.org"
            and row["fetch_time"] >= datetime(2026, 10, 6, tzinfo=UTC)
        ),
    ),
    (
        {"domains": ["example.org"], "sample": 0.5},
        lambda row: row["url_host_registered_domain"] == "example.org" and digest_share(row["url"]) < 0.5,
    ),
    ({"index_files": 3, "languages": ["eng"]}, lambda row: (row["content_languages"] or "").startswith("eng")),
]


@pytest.mark.parametrize(("fields", "is_selected"), SELECTIONS)
def test_the_captures_are_those_that_meet_all_conditions_in_order_of_the_index(tmp_path, fields, is_selected):
    with FileServer(archive_files()) as server:
        urls = urls_found(server, tmp_path, **fields)
    rows = sorted(archive_rows(), key=lambda row: row["url_surtkey"])
    assert urls == [row["url"] for row in rows if is_selected(row)]


def test_what_is_read_is_a_small_part_of_the_index(tmp_path):
    files = archive_files()
    index_bytes = sum(len(data) for path, data in files.items() if path.endswith(".parquet"))
    with FileServer(files) as server:
        captures = find_captures(selection(server, hosts=["blog.example.org"]), tmp_path)
        assert set(captures["fetched_at"]) == {"2026-10-05T06:00:00Z", "2026-10-06T06:00:00Z"} and len(captures) == 6
        assert server.sent_bytes < index_bytes / 3, (server.sent_bytes, index_bytes)
        reads = [request for request in server.requests if request.path.endswith(".parquet")]
        assert len(reads) <= 6


def test_a_limit_takes_the_first_captures_and_does_not_search_further(tmp_path):
    with FileServer(archive_files()) as server:
        everything = urls_found(server, tmp_path / "all", index_files=3)
        searched = len(server.requests)
        first = urls_found(server, tmp_path / "first", index_files=3, limit=5)
        assert first == everything[:5]
        assert {request.path for request in server.requests[searched:]} == {PATHS, f"/{index_file(0)}"}


@pytest.mark.parametrize("limit", [5, 20, 60])
def test_a_limit_counts_records_and_not_how_often_the_index_lists_them(tmp_path, limit):
    """Three files of the index with 16 records each, listed three times."""
    rows = archive_rows()
    with FileServer(archive_files() | index_of(row for row in rows for _ in range(3))) as server:
        urls = urls_found(server, tmp_path, index_files=3, limit=limit)
    assert urls == [row["url"] for row in sorted(rows, key=lambda row: row["url_surtkey"])][:limit]


def test_the_files_to_search_are_chosen_by_their_names(tmp_path):
    with FileServer(archive_files()) as server:
        captures = find_captures(selection(server, index_files=1), tmp_path / "1")
        again = find_captures(selection(server, index_files=1), tmp_path / "2")
        assert captures.equals(again) and 0 < len(captures) < 3_000
        with pytest.raises(SourceError, match=r"lists 3 files of subset=warc, fewer than 4"):
            find_captures(selection(server, index_files=4), tmp_path / "3")


def test_an_interrupted_search_continues_at_the_next_file(tmp_path):
    files = archive_files()
    with FileServer(files) as server:
        last = server.files.pop(f"/{index_file(2)}")
        with pytest.raises(SourceError):
            urls_found(server, tmp_path, index_files=3)
        server.files[f"/{index_file(2)}"] = last
        searched = len(server.requests)
        assert len(urls_found(server, tmp_path, index_files=3)) > 4_000
        assert {request.path for request in server.requests[searched:]} == {f"/{index_file(2)}"}


def test_a_missing_file_of_the_index_is_an_error_that_names_it(tmp_path):
    with FileServer(archive_files()) as server:
        del server.files[f"/{index_file(1)}"]
        with pytest.raises(SourceError, match=rf"{index_file(1)}: HTTP 404 .*captures in it would be missed"):
            urls_found(server, tmp_path, domains=["example.org"])


@pytest.mark.parametrize("trouble", ["busy", "drop", "cut"])
def test_failed_requests_are_repeated(tmp_path, trouble):
    with FileServer(archive_files()) as server:
        expected = urls_found(server, tmp_path / "calm", domains=["example.org"])
        server.trouble = [None, trouble, None, trouble, trouble]
        assert urls_found(server, tmp_path / "rough", domains=["example.org"]) == expected
        assert server.trouble == []


def test_a_server_that_stays_busy_is_an_error_that_names_the_file(tmp_path):
    problem = rf"{index_file(0)}: HTTP 503; gave up after 3 tries"
    with FileServer(archive_files(), [None] + ["busy"] * 9) as server, pytest.raises(DownloadError, match=problem):
        urls_found(server, tmp_path, domains=["example.org"])


@pytest.mark.parametrize(
    ("path", "data", "problem"),
    [
        (f"/{index_file(0)}", b"PAR1" + bytes(100) + b"PAR1", r"part-00000.*: cannot be read as a file of the index"),
        (PATHS, b"\x1f\x8b\x08", r"cc-index-table\.paths\.gz: not a gzip list"),
    ],
)
def test_damaged_files_are_named(tmp_path, path, data, problem):
    with FileServer(archive_files() | {path: data}) as server, pytest.raises(SourceError, match=problem):
        urls_found(server, tmp_path, domains=["example.org"])


def test_a_column_that_an_old_index_lacks_is_named(tmp_path):
    files = archive_files()
    for number in range(3):
        table = pq.read_table(io.BytesIO(files[f"/{index_file(number)}"])).drop_columns(["content_languages"])
        pq.write_table(table, buffer := io.BytesIO())
        files[f"/{index_file(number)}"] = buffer.getvalue()
    with FileServer(files) as server, pytest.raises(SourceError, match=r"part-00000.*content_languages"):
        urls_found(server, tmp_path, domains=["example.org"])


def test_a_server_without_ranges_is_refused_before_it_sends_the_file(tmp_path):
    files = archive_files()
    with FileServer(files, ranges=False) as server, pytest.raises(DownloadError, match="the server ignores Range"):
        urls_found(server, tmp_path, domains=["example.org"])


def test_a_record_that_is_listed_twice_is_found_once(tmp_path):
    rows = archive_rows()
    with FileServer(index_of([*rows, *rows])) as server:
        assert len(urls_found(server, tmp_path, domains=["example.org"])) == 18


@pytest.mark.parametrize(
    ("prefix", "as_in_the_index"),
    [
        ("https://Example.org/Über uns/ü%41", "https://example.org/%C3%9Cber%20uns/%C3%BC%41"),
        ("HTTP://Example.ORG/A", "http://example.org/A"),
        ("bücher.example/?q=ä&x=[1]", "xn--bcher-kva.example/?q=%C3%A4&x=[1]"),
    ],
)
def test_prefixes_are_percent_encoded_as_captured_urls_are(prefix, as_in_the_index):
    assert CommonCrawlIndex(snapshot=SNAPSHOT, prefixes=[prefix]).prefixes == (as_in_the_index,)


@pytest.mark.parametrize(
    ("fields", "problem"),
    [
        ({"prefixes": ["https://example.org/a#b"]}, "has a fragment"),
        ({"domains": ["example.org"], "statuses": [404]}, "status 404: .*subset=crawldiagnostics, which is not read"),
    ],
)
def test_what_the_searched_part_of_the_index_never_holds_is_refused(fields, problem):
    with pytest.raises(ValidationError, match=problem):
        CommonCrawlIndex(snapshot=SNAPSHOT, **fields)


LABELS = st.from_regex(r"(www\d?|[a-z][a-z0-9-]{0,5}[a-z0-9]|x)", fullmatch=True)
HOSTS = st.lists(LABELS, min_size=2, max_size=4).map(".".join)
SEGMENTS = st.from_regex(r"[A-Za-z0-9_~%(-][A-Za-z0-9_.~();=%-]{0,7}", fullmatch=True)
PATHS_OF_URLS = st.lists(SEGMENTS, max_size=4).map("/".join)


@given(HOSTS, PATHS_OF_URLS, st.sampled_from(["", ":80", ":8080"]), st.sampled_from(["http", "https"]), st.data())
def test_ranges_contain_the_keys_of_all_their_urls(host, path, port, scheme, data):
    """The keys are those of the library that Common Crawl's index follows."""
    surt = pytest.importorskip("surt", reason="surt is a peer of the test extra")
    url = f"{scheme}://{host}{port}/{path}"
    key = surt.surt(url)
    labels = host.split(".")
    above = ".".join(labels[data.draw(st.integers(0, len(labels) - 1)) :])
    prefix = url[: data.draw(st.integers(len(f"{scheme}://{host}{port}/"), len(url)))]
    for ranges in (domain_ranges(host), domain_ranges(above), host_ranges(host), prefix_ranges(prefix)):
        assert any(first <= key < end for first, end in ranges), (key, ranges)


@pytest.mark.parametrize(
    ("ranges", "expected"),
    [
        (domain_ranges("example.org"), [("org,example)", "org,example;")]),
        (domain_ranges("www2.com"), [("com,www2)", "com,www2;"), ("com)", "com*"), ("com:", "com;")]),
        (host_ranges("www.Example.org"), [("org,example)", "org,example*"), ("org,example:", "org,example;")]),
        (prefix_ranges("https://a.org/Docs/v1.2/"), [("org,a)/docs/v1.2", "org,a)/docs/v1.3")]),
        (prefix_ranges("https://a.org/"), [("org,a)", "org,a*")]),
        (prefix_ranges("https://a.org/a%20b/c"), [("org,a)/a", "org,a)/b")]),
    ],
)
def test_ranges_are_narrow(ranges, expected):
    assert ranges == expected
