"""The crawler over HTTP, against servers of small sites."""

import ast
import json
import os
import time
from pathlib import Path

import pytest

from llm_assets.artifacts import materialize
from llm_assets.recipes import Blocklists, Recipe, WebCrawl
from llm_assets.sample_web.pages import Page
from llm_assets.warc import read_captures, sha1_digest
from llm_assets.web.crawler import CrawlJob, crawl, spider
from llm_assets.web.crawler.scope import failure_reason, in_scope
from llm_assets.web.crawler.spool import failures
from llm_assets.web.opt_out import OptOutRules, read_opt_out
from llm_assets.web.raw_warc import RAW_WARC
from tests.support.corpus import corpus_workspace
from tests.support.small_site import CLOCK, HTML, SEED, links, serve_site, site_crawl


def run_crawl(source, folder, earlier=(), on_progress=lambda pages, queued: None):
    return crawl(CrawlJob("test", source, folder, tuple(earlier)), on_progress)


def crawl_site(folder, server, **fields):
    """Crawl a site; returns captures by URL, and (URL, reason) of the failures."""
    settings = {"concurrency_per_host": 8, "retries": 1, "timeout": WebCrawl.model_fields["timeout"].default, **fields}
    files = run_crawl(site_crawl(server, **settings), folder)
    captures = [capture for file in files for capture in read_captures(file)]
    failed = {(row["url"], row["reason"]) for row in failures(folder / "spool").to_dicts()}
    return {capture.url: capture for capture in captures}, failed


def test_links_are_followed_and_stored_in_order_of_url(tmp_path):
    server = serve_site({"/": links("/b", "/a"), "/a": links("/c"), "/b": b"<p>b", "/c": b"<p>c"})
    captures, failed = crawl_site(tmp_path, server)
    paths = [url.removeprefix("http://small.example") for url in captures if not url.endswith("robots.txt")]
    assert paths == ["/", "/a", "/b", "/c"]
    assert failed == set()
    assert captures["http://small.example/b"].digest == sha1_digest(b"<p>b")


def test_the_records_are_warc_1_1_with_digests_and_requests(tmp_path):
    from warcio.archiveiterator import ArchiveIterator

    server = serve_site({"/": b"<p>hello"})
    run_crawl(WebCrawl(seeds=(SEED,), proxy=server.proxy, delay=0, clock=CLOCK), tmp_path)
    with open(tmp_path / "warc" / "test-00000.warc.gz", "rb") as stream:
        records = [
            (record.rec_type, record.rec_headers, record.http_headers, record.digest_checker.passed)
            for record in ArchiveIterator(stream, check_digests=True)
        ]
    assert [record_type for record_type, *_ in records] == ["warcinfo", "request", "response", "request", "response"]
    _, page_headers, _, _ = records[2]
    assert page_headers.protocol == "WARC/1.1"
    assert page_headers.get_header("WARC-Payload-Digest") == sha1_digest(b"<p>hello")
    assert page_headers.get_header("WARC-Block-Digest").startswith("sha1:")
    _, _, request, _ = records[1]
    assert request.protocol == "GET" and request.get_header("User-Agent").startswith("llm-assets")
    assert all(passed in (True, None) for *_, passed in records)


def test_robots_txt_is_obeyed_and_the_failure_is_logged(tmp_path):
    server = serve_site(
        {"/": links("/open", "/closed/x"), "/open": b"<p>", "/closed/x": b"<p>"},
        robots="User-agent: *\nDisallow: /closed/\n",
    )
    captures, failed = crawl_site(tmp_path, server)
    assert "http://small.example/closed/x" not in captures
    assert failed == {("http://small.example/closed/x", "robots")}


def test_a_crawl_delay_is_kept(tmp_path):
    robots = "User-agent: *\nCrawl-delay: 0.4\n"
    server = serve_site({"/": links("/a", "/b"), "/a": b"<p>", "/b": b"<p>"}, robots=robots)
    start = time.monotonic()
    captures, _ = crawl_site(tmp_path, server)
    assert len(captures) == 4
    assert time.monotonic() - start > 0.8  # a lower bound, so load cannot break it


@pytest.mark.parametrize(
    ("limit", "reason"), [({"max_pages": 4}, "page_limit"), ({"max_pages_per_host": 4}, "host_limit")]
)
def test_page_limits_are_kept(tmp_path, limit, reason):
    pages = {f"/{number}": b"<p>" for number in range(10)}
    captures, failed = crawl_site(tmp_path, serve_site({"/": links(*pages), **pages}), **limit)
    assert len(captures) == 4
    assert {failure for _, failure in failed} == {reason} and len(failed) == 8


def test_the_depth_limit_is_kept(tmp_path):
    server = serve_site({"/": links("/1"), "/1": links("/2"), "/2": links("/3"), "/3": b"<p>"})
    captures, _ = crawl_site(tmp_path, server, max_depth=2)
    assert "http://small.example/2" in captures and "http://small.example/3" not in captures


def test_redirects_are_stored_and_followed_within_scope(tmp_path):
    server = serve_site({"/": links("/old", "/away"), "/new": b"<p>new"})
    for path, target in (("/old", "/new"), ("/away", "http://elsewhere.example/")):
        server.web.pages[f"http://small.example{path}"] = Page("", "redirect", b"", 301, {"Location": target})
    captures, failed = crawl_site(tmp_path, server)
    assert captures["http://small.example/old"].status == 301
    assert captures["http://small.example/new"].status == 200
    assert not any("elsewhere" in url for url in captures)
    # What a redirect leads to is no link that was merely not followed: the page that was asked for is missing.
    assert failed == {("http://elsewhere.example/", "out_of_scope")}


def test_a_server_error_is_retried_and_stored_once(tmp_path):
    server = serve_site({"/": links("/bad")})
    server.web.pages["http://small.example/bad"] = Page("", "x", b"down", 503, {})
    captures, _ = crawl_site(tmp_path, server, retries=2)
    assert captures["http://small.example/bad"].status == 503
    assert sum(path.endswith("/bad") for path, _ in server.requests) == 3


def test_a_response_beyond_the_size_limit_is_logged(tmp_path):
    server = serve_site({"/": links("/big"), "/big": b"x" * 5_000})
    captures, failed = crawl_site(tmp_path, server, max_bytes=2_000)
    assert ("http://small.example/big", "too_large") in failed
    assert "http://small.example/big" not in captures


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1:{port}/",
        "http://localhost:{port}/",
        "http://[::1]:{port}/",
        "http://169.254.169.254/",
        "http://10.0.0.1/",
    ],
)
def test_private_addresses_are_refused_by_default(tmp_path, url):
    server = serve_site({"/": b"<p>secret"})
    target = url.format(port=server.server_address[1])
    run_crawl(WebCrawl(seeds=(target,), delay=0, retries=0, timeout=5, clock=CLOCK), tmp_path / "refused")
    assert {row["reason"] for row in failures(tmp_path / "refused" / "spool").to_dicts()} == {"private_address"}
    assert server.requests == []


def test_a_name_that_resolves_to_a_private_address_is_refused(tmp_path):
    """The crawler checks the address that the connection would use, not the name."""
    loopback_lines = [line for line in Path("/etc/hosts").read_text().splitlines() if line.startswith("127.")]
    names = [name for line in loopback_lines for name in line.split()[1:] if "localhost" not in name]
    name = [*names, os.uname().nodename][0]
    run_crawl(WebCrawl(seeds=(f"http://{name}/",), delay=0, retries=0, timeout=5, clock=CLOCK), tmp_path)
    rows = failures(tmp_path / "spool").to_dicts()
    assert {row["reason"] for row in rows} <= {"private_address", "dns"} and rows


def test_private_addresses_are_crawled_with_allow_private(tmp_path):
    server = serve_site({"/": b"<p>mine"}, host="127.0.0.1")
    server.web.pages = {f"{server.proxy}/": Page("", "x", b"<p>mine", headers=dict(HTML))}
    files = run_crawl(WebCrawl(seeds=(f"{server.proxy}/",), delay=0, allow_private=True, clock=CLOCK), tmp_path)
    captures = [capture for file in files for capture in read_captures(file)]
    assert any(capture.status == 200 and capture.payload_bytes == 7 for capture in captures)


@pytest.mark.parametrize(
    ("scope", "seed", "url", "inside"),
    [
        ("host", "http://a.example/x", "http://a.example/y", True),
        ("host", "http://a.example/", "http://www.a.example/", False),
        ("domain", "http://www.bbc.co.uk/", "http://news.bbc.co.uk/", True),
        ("domain", "http://a.co.uk/", "http://b.co.uk/", False),
        ("prefix", "http://a.example/docs/index.html", "http://a.example/docs/x/y", True),
        ("prefix", "http://a.example/docs/index.html", "http://a.example/blog/", False),
        ("any", "http://a.example/", "http://z.example/", True),
    ],
)
def test_scopes(scope, seed, url, inside):
    assert in_scope(WebCrawl(seeds=(seed,), scope=scope), url) is inside


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("ResponseNeverReceived", "connection"),
        ("CannotResolveHostError", "dns"),
        ("DownloadTimeoutError", "timeout"),
        ("DownloadCancelledError", "too_large"),
        ("Strange", "other"),
    ],
)
def test_reasons_of_failures(name, reason):
    assert failure_reason(type(name, (Exception,), {})()) == reason


def test_a_killed_crawl_that_continues_another_requests_the_rest_of_the_unlinked_pages(tmp_path):
    """What the killed run stored is served from the spool; the rest is requested."""
    pages = {f"/{number}": b"<p>%d" % number for number in range(6)}
    server = serve_site({"/": links(*pages), **pages})
    source = site_crawl(server)
    recipe = Recipe(name="t", crawls={"one": source})
    earlier = materialize(RAW_WARC, "one", corpus_workspace(recipe)).artifact
    server.web.pages["http://small.example/"].body = b"<p>no link"
    later = source.replace(since="one")

    def warc_bytes(folder):
        return [path.read_bytes() for path in run_crawl(later, folder, [earlier])]

    uninterrupted = warc_bytes(tmp_path / "whole")
    warc_bytes(tmp_path / "killed")
    spool = tmp_path / "killed" / "spool"
    (spool / "sealed.json").unlink()
    exchanges = spool / "exchanges.warc.gz"
    last_stored = list(read_captures(exchanges))[4]
    os.truncate(exchanges, last_stored.offset + last_stored.length + 20)  # inside the next exchange
    requests_before = len(server.requests)
    assert warc_bytes(tmp_path / "killed") == uninterrupted
    assert 0 < len(server.requests) - requests_before < 6


@pytest.mark.parametrize(
    ("url", "rule"),
    [
        ("http://shy.example/", "shy.example"),
        ("https://a.b.shy.example:8080/x", "shy.example"),
        ("http://notshy.example/", None),
        ("http://part.example/private/x", "part.example/private/"),
        ("http://part.example:81/private/x?y", "part.example/private/"),
        ("http://part.example/public", None),
        ("http://sub.part.example/private/x", None),
    ],
)
def test_the_opt_out_rule_of_a_url(tmp_path, url, rule):
    opt_out_list = tmp_path / "list.txt"
    opt_out_list.write_text("shy.example\npart.example/private/\n")
    assert OptOutRules(read_opt_out(Blocklists(opt_out=str(opt_out_list)))).rule_for(url) == rule


def test_a_page_that_a_later_run_stored_is_no_failure(tmp_path):
    server = serve_site({"/": links("/a"), "/a": b"<p>a"})
    (tmp_path / "spool").mkdir()
    row = {"url": "http://small.example/a", "reason": "connection", "detail": "it was down"}
    (tmp_path / "spool" / "failures.jsonl").write_text(json.dumps(row) + "\n" + '{"url": "torn')
    captures, failed = crawl_site(tmp_path, server)
    assert "http://small.example/a" in captures and failed == set()


def test_the_crawler_uses_no_private_attribute_of_scrapy():
    attributes = []
    for path in sorted(Path(spider.__file__).parent.glob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if not isinstance(node, ast.Attribute) or not node.attr.startswith("_") or node.attr.startswith("__"):
                continue
            if not (isinstance(node.value, ast.Name) and node.value.id in ("self", "cls", "os")):
                attributes.append(f"{path.name}: {node.attr}")
    assert attributes == []


def test_progress_reports_stored_pages_and_waiting_urls(tmp_path):
    pages = {f"/{number}": b"<p>" for number in range(14)}
    server = serve_site({"/": links(*pages), **pages})
    source = WebCrawl(seeds=(SEED,), proxy=server.proxy, delay=0.2, concurrency=1, clock=CLOCK)
    reports = []
    run_crawl(source, tmp_path, on_progress=lambda pages, queued: reports.append((pages, queued)))
    assert reports[-1] == (16, 0) and max(queued for _, queued in reports) > 3
