"""The crawler over real HTTP, against the sample web's server."""

import ast
import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from datetime import UTC, datetime
from pathlib import Path

import polars as pl
import pytest

from llm_assets.artifacts import materialize
from llm_assets.recipes import Blocklists, Recipe, SampleWeb, WarcFiles, WebCrawl
from llm_assets.sample_web import SampleWebServer, make_web
from llm_assets.sample_web.pages import Page
from llm_assets.warc import read_captures, sha1_digest
from llm_assets.web.checks import has_captures, intact
from llm_assets.web.crawler import crawl, spider
from llm_assets.web.crawler.spider import failure_reason, in_scope
from llm_assets.web.crawler.spool import failures
from llm_assets.web.errors import EmptyCrawl, SourceError
from llm_assets.web.last_try import last_try, not_fetched
from llm_assets.web.opt_out import OptOutRules, read_opt_out
from llm_assets.web.raw_warc import RAW_WARC, chain
from tests.support.commands import environment_for
from tests.support.corpus import corpus_workspace
from tests.support.warcs import members, page, write

CLOCK = datetime(2026, 10, 5, 6, tzinfo=UTC)
HTML = {"Content-Type": "text/html"}


def site(pages: dict[str, bytes], host="small.example", robots=None):
    """A little web of one host behind a server of its own."""
    web = make_web(1, 0.05)
    own = type(web)(
        web.world,
        {
            f"http://{host}{path}": Page(f"http://{host}{path}", "article", body, headers=dict(HTML))
            for path, body in pages.items()
        },
        {host: robots} if robots else {},
        (f"http://{host}/",),
        [],
        CLOCK,
    )
    server = SampleWebServer(own)
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
    return server


def links(*urls):
    return b"<html><body>" + b"".join(f'<a href="{u}">x</a>'.encode() for u in urls) + b"</body></html>"


def run(tmp_path, server, earlier=(), **fields):
    source = WebCrawl(
        **{
            "seeds": ("http://small.example/",),
            "proxy": server.proxy,
            "delay": 0.0,
            "concurrency_per_host": 8,
            "clock": CLOCK,
            "retries": 1,
            **fields,
        }
    )
    files = crawl("test", source, tmp_path, list(earlier), lambda pages, queued: None)
    captures = [c for f in files for c in read_captures(f)]
    return {c.url: c for c in captures}, {(r["url"], r["reason"]) for r in failures(tmp_path / "spool").to_dicts()}


def test_links_are_followed_and_stored_in_order_of_url(tmp_path):
    server = site({"/": links("/b", "/a"), "/a": links("/c"), "/b": b"<p>b", "/c": b"<p>c"})
    captures, failed = run(tmp_path, server)
    paths = [u.removeprefix("http://small.example") for u in captures if not u.endswith("robots.txt")]
    assert paths == ["/", "/a", "/b", "/c"]
    assert failed == set()
    assert captures["http://small.example/b"].digest == sha1_digest(b"<p>b")


def test_the_records_are_warc_1_1_with_digests_and_requests(tmp_path):
    from warcio.archiveiterator import ArchiveIterator

    server = site({"/": b"<p>hello"})
    crawl(
        "test",
        WebCrawl(seeds=("http://small.example/",), proxy=server.proxy, delay=0, clock=CLOCK),
        tmp_path,
        [],
        lambda *_: None,
    )
    with open(tmp_path / "warc" / "test-00000.warc.gz", "rb") as stream:
        records = [
            (
                r.rec_type,
                r.rec_headers.protocol,
                r.rec_headers.get_header("WARC-Payload-Digest"),
                r.rec_headers.get_header("WARC-Block-Digest"),
                r.http_headers,
                r.digest_checker.passed,
            )
            for r in ArchiveIterator(stream, check_digests=True)
        ]
    kinds = [record[0] for record in records]
    assert kinds == ["warcinfo", "request", "response", "request", "response"]
    page = records[2]
    assert page[1] == "WARC/1.1" and page[2] == sha1_digest(b"<p>hello") and page[3].startswith("sha1:")
    assert records[1][4].protocol == "GET" and records[1][4].get_header("User-Agent").startswith("llm-assets")
    assert all(record[5] in (True, None) for record in records)


def test_robots_are_obeyed_and_told(tmp_path):
    server = site(
        {"/": links("/open", "/closed/x"), "/open": b"<p>", "/closed/x": b"<p>"},
        robots="User-agent: *\nDisallow: /closed/\n",
    )
    captures, failed = run(tmp_path, server)
    assert "http://small.example/closed/x" not in captures
    assert failed == {("http://small.example/closed/x", "robots")}


def test_a_crawl_delay_is_kept(tmp_path):
    server = site({"/": links("/a", "/b"), "/a": b"<p>", "/b": b"<p>"}, robots="User-agent: *\nCrawl-delay: 0.4\n")
    began = time.monotonic()
    captures, _ = run(tmp_path, server)
    assert len(captures) == 4
    assert time.monotonic() - began > 0.8  # a lower bound, so load cannot break it


@pytest.mark.parametrize(
    ("limit", "reason"), [({"max_pages": 4}, "page_limit"), ({"max_pages_per_host": 4}, "host_limit")]
)
def test_page_limits(tmp_path, limit, reason):
    server = site({"/": links(*[f"/{i}" for i in range(10)]), **{f"/{i}": b"<p>" for i in range(10)}})
    captures, failed = run(tmp_path, server, **limit)
    assert len(captures) == 4
    assert {r for _, r in failed} == {reason} and len(failed) == 8


def test_the_depth_limit(tmp_path):
    server = site({"/": links("/1"), "/1": links("/2"), "/2": links("/3"), "/3": b"<p>"})
    captures, _ = run(tmp_path, server, max_depth=2)
    assert "http://small.example/2" in captures and "http://small.example/3" not in captures


def test_redirects_are_stored_and_followed_within_scope(tmp_path):
    server = site({"/": links("/old", "/away"), "/new": b"<p>new"})
    for path, target in (("/old", "/new"), ("/away", "http://elsewhere.example/")):
        server.web.pages[f"http://small.example{path}"] = Page("", "redirect", b"", 301, {"Location": target})
    captures, failed = run(tmp_path, server)
    assert captures["http://small.example/old"].status == 301
    assert captures["http://small.example/new"].status == 200
    assert not any("elsewhere" in url for url in captures)
    assert failed == set()


def test_a_server_error_is_tried_again_and_stored_once(tmp_path):
    server = site({"/": links("/bad")})
    server.web.pages["http://small.example/bad"] = Page("", "x", b"down", 503, {})
    captures, _ = run(tmp_path, server, retries=2)
    assert captures["http://small.example/bad"].status == 503
    assert sum(path.endswith("/bad") for path, _ in server.requests) == 3


def test_a_response_beyond_the_limit_is_logged(tmp_path):
    server = site({"/": links("/big"), "/big": b"x" * 5_000})
    captures, failed = run(tmp_path, server, max_bytes=2_000)
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
def test_private_addresses_are_refused_unless_told(tmp_path, url):
    server = site({"/": b"<p>secret"})
    target = url.format(port=server.server_address[1])
    source = WebCrawl(seeds=(target,), delay=0, retries=0, timeout=5, clock=CLOCK)
    crawl("test", source, tmp_path / "refused", [], lambda *_: None)
    assert {r["reason"] for r in failures(tmp_path / "refused" / "spool").to_dicts()} == {"private_address"}
    assert server.requests == []


def test_a_name_that_resolves_to_a_private_address_is_refused(tmp_path):
    """The check is made on the address the connection would use, not on the name."""
    hosts = Path("/etc/hosts").read_text()
    names = [
        n for line in hosts.splitlines() if line.startswith("127.") for n in line.split()[1:] if "localhost" not in n
    ] + [os.uname().nodename]
    source = WebCrawl(seeds=(f"http://{names[0]}/",), delay=0, retries=0, timeout=5, clock=CLOCK)
    crawl("test", source, tmp_path, [], lambda *_: None)
    rows = failures(tmp_path / "spool").to_dicts()
    assert {r["reason"] for r in rows} <= {"private_address", "dns"} and rows


def test_told_to_it_crawls_a_private_address(tmp_path):
    server = site({"/": b"<p>mine"}, host="127.0.0.1")
    server.web.pages = {f"http://127.0.0.1:{server.server_address[1]}/": Page("", "x", b"<p>mine", headers=dict(HTML))}
    files = crawl(
        "test",
        WebCrawl(seeds=(f"{server.proxy}/",), delay=0, allow_private=True, clock=CLOCK),
        tmp_path,
        [],
        lambda *_: None,
    )
    assert any(c.status == 200 and c.payload_bytes == 7 for f in files for c in read_captures(f))


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


def recipe(**crawls):
    return Recipe(name="t", crawls=crawls)


def test_a_later_crawl_asks_only_for_what_changed():
    ws = corpus_workspace(recipe(one=SampleWeb(scale=0.05), two=SampleWeb(scale=0.05, day=2, since="one")))
    materialize(RAW_WARC, "one", ws)
    later = materialize(RAW_WARC, "two", ws).artifact
    captures = pl.concat([pl.read_parquet(p) for p in later.table("captures")])
    web1, web2 = make_web(1, 0.05, 1), make_web(1, 0.05, 2)
    revisited = set(captures.filter(pl.col("record_type") == "revisit")["url"]) - {
        "http://hobbynotes.example/robots.txt"
    }
    same = {
        u
        for u, p in web2.pages.items()
        if u in web1.pages and p.body == web1.pages[u].body and p.in_crawl and p.status == 200
    }
    assert revisited and revisited <= same
    assert not captures.filter(
        (pl.col("record_type") == "response") & (pl.col("status") == 200) & pl.col("url").is_in(list(revisited))
    ).height
    assert captures.filter(pl.col("record_type") == "revisit")["refers_to_date"].unique().to_list() == [
        "2026-10-05T06:00:00Z"
    ]
    # Everything is still reached: links of an unchanged page come from the earlier crawl.
    assert {
        u for u, p in web2.pages.items() if p.in_crawl and p.status == 200 and not u.endswith((".png", ".css", ".pdf"))
    } <= set(captures["url"])
    revisits = pl.concat([pl.read_parquet(p) for p in later.table("revisits")])
    assert revisits["original_crawl"].unique().to_list() == ["one"] and revisits["original_offset"].null_count() == 0


def test_earlier_crawls_come_oldest_first_whatever_their_names(tmp_path):
    """Of a page that changed, the latest crawl's version is what the server is asked about."""
    server = site({"/": b"<p>first"})
    bodies = {"z-oldest": b"<p>first", "a-second": b"<p>second", "m-third": b"<p>third"}
    first = WebCrawl(seeds=("http://small.example/",), proxy=server.proxy, delay=0.0, clock=CLOCK)
    crawls = {
        "z-oldest": first,
        "a-second": first.replace(since="z-oldest"),
        "m-third": first.replace(since="a-second"),
    }
    ws = corpus_workspace(recipe(**crawls))
    assert chain(ws.recipe, "m-third") == ["z-oldest", "a-second"]
    for name, body in bodies.items():
        server.web.pages["http://small.example/"].body = body
        artifact = materialize(RAW_WARC, name, ws).artifact
        captures = pl.concat([pl.read_parquet(path) for path in artifact.table("captures")])
        pages = captures.filter(pl.col("url") == "http://small.example/")
        assert pages["record_type"].to_list() == ["response"] and pages["payload_digest"].item() == sha1_digest(body)
    later = recipe(**crawls, last=crawls["m-third"].replace(since="m-third"))
    artifact = materialize(RAW_WARC, "last", corpus_workspace(later)).artifact
    revisits = pl.concat([pl.read_parquet(path) for path in artifact.table("revisits")])
    assert revisits.filter(pl.col("url") == "http://small.example/")["original_crawl"].to_list() == ["m-third"]


def own_crawl(server, **fields):
    settings = {"proxy": server.proxy, "delay": 0.0, "retries": 0, "timeout": 5.0, "clock": CLOCK, **fields}
    return WebCrawl(seeds=("http://small.example/",), **settings)


def captured(artifact):
    """Record type and status of every page, by path."""
    table = pl.concat([pl.read_parquet(path) for path in artifact.table("captures")])
    rows = table.select(pl.col("url").str.strip_prefix("http://small.example"), "record_type", "status").iter_rows()
    return {url: found for url, *found in rows if url != "/robots.txt"}


def test_a_crawl_without_a_page_is_no_result_and_is_asked_for_again():
    """The site is down, then up: the second try asks the network, and serves nothing from the first."""
    server = site({"/": links("/a"), "/a": b"<p>a"})
    up = dict(server.web.pages)
    server.web.pages["http://small.example/"] = Page("", "x", b"down", 503, {})
    ws = corpus_workspace(recipe(mine=own_crawl(server)))
    with pytest.raises(EmptyCrawl, match=r"crawl mine stored no page: 1 × status 503 \(http://small.example/\)"):
        materialize(RAW_WARC, "mine", ws)
    resolution = ws.resolver().resolve("raw_warc", "mine")
    assert resolution.artifact is None
    assert "status 503" in last_try(ws.store.staging(resolution.identity)).message
    server.web.pages.update(up)
    asked = len(server.requests)
    artifact = materialize(RAW_WARC, "mine", ws).artifact
    assert captured(artifact) == {"/": ["response", 200], "/a": ["response", 200]}
    assert {path for path, _ in server.requests[asked:]} >= {"http://small.example/", "http://small.example/robots.txt"}
    assert {path.name for path in artifact.path.iterdir()}.isdisjoint({"last_try.json", "last_failures.parquet"})


def test_the_failures_of_an_empty_crawl_are_found():
    server = site({"/": b"<p>"}, robots="User-agent: *\nDisallow: /\n")
    private = WebCrawl(seeds=("http://127.0.0.1:9/",), delay=0.0, retries=0)
    refusing = WebCrawl(seeds=("http://127.0.0.1:9/x",), delay=0.0, retries=0, allow_private=True)
    ws = corpus_workspace(recipe(closed=own_crawl(server), private=private, refusing=refusing))
    for crawl_name, reason in (("closed", "robots"), ("private", "private_address"), ("refusing", "connection")):
        with pytest.raises(EmptyCrawl, match=rf"crawl {crawl_name} stored no page: 1 × {reason} \(http://"):
            materialize(RAW_WARC, crawl_name, ws)
    (found,) = not_fetched(ws, "small.example", ["closed", "private", "refusing"])
    assert (found.crawl, found.url, found.reason) == ("closed", "http://small.example/", "robots") and found.at
    assert not_fetched(ws, "http://127.0.0.1:9/x", ["refusing"])[0].reason == "connection"


def test_what_a_crawl_left_out_is_told_beside_what_it_stored():
    server = site({"/": links("/a", "/shut/b"), "/a": b"<p>a"}, robots="User-agent: *\nDisallow: /shut/\n")
    ws = corpus_workspace(recipe(mine=own_crawl(server)))
    artifact = materialize(RAW_WARC, "mine", ws).artifact
    assert has_captures(artifact, {}, None).summary == "3 captures, 0 corrupt stretches; not fetched: 1 robots"
    (found,) = not_fetched(ws, "http://small.example/shut/b", ["mine"])
    assert (found.reason, found.at) == ("robots", None)


def test_pages_that_are_no_longer_linked_are_asked_for_by_a_crawl_that_continues():
    """Of three pages without a link one is served still, one is gone, one has changed; the links of none are followed."""
    first = {"/": links("/kept", "/gone", "/new"), "/kept": b"<p>kept", "/gone": b"<p>gone", "/new": b"<p>old"}
    server = site(first)
    source = own_crawl(server)
    ws = corpus_workspace(
        recipe(one=source, two=source.replace(since="one"), three=source.replace(since="one", max_pages=4))
    )
    materialize(RAW_WARC, "one", ws)
    server.web.pages["http://small.example/"].body = b"<p>no link"
    server.web.pages["http://small.example/new"].body = links("/hidden")
    del server.web.pages["http://small.example/gone"]
    later = captured(materialize(RAW_WARC, "two", ws).artifact)
    assert {url: (kind, status) for url, (kind, status) in later.items() if url != "/kept"} == {
        "/": ("response", 200),
        "/gone": ("response", 404),
        "/new": ("response", 200),
    }
    assert later["/kept"][0] == "revisit"
    # Page limits hold for them too: robots.txt, the seed, and two of the three, in order.
    limited = materialize(RAW_WARC, "three", ws).artifact
    assert list(captured(limited)) == ["/", "/gone", "/kept"]
    assert limited.record.stats["crawl_failures"] == {"page_limit": 1}


def test_what_becomes_of_unlinked_pages_is_in_the_identity_of_continuing_crawls_alone():
    source = WebCrawl(seeds=("http://small.example/",))
    chosen = recipe(one=source, two=source.replace(since="one"))
    fields = [type(RAW_WARC.config(chosen, name)).model_fields for name in ("one", "two")]
    assert "unlinked" not in fields[0] and "unlinked" in fields[1]


def test_a_killed_crawl_that_continues_asks_for_the_rest_of_the_unlinked_pages(tmp_path):
    """What the killed try stored is served from there; what it did not is asked for."""
    pages = {f"/{i}": b"<p>%d" % i for i in range(6)}
    server = site({"/": links(*pages), **pages})
    source = own_crawl(server)
    earlier = materialize(RAW_WARC, "one", corpus_workspace(recipe(one=source))).artifact
    server.web.pages["http://small.example/"].body = b"<p>no link"
    later = source.replace(since="one")

    def digests(folder):
        return [path.read_bytes() for path in crawl("two", later, folder, [earlier], lambda *_: None)]

    whole = digests(tmp_path / "whole")
    digests(tmp_path / "killed")
    spool = tmp_path / "killed" / "spool"
    (spool / "sealed.json").unlink()
    exchanges = spool / "exchanges.warc.gz"
    kept = [capture for capture in read_captures(exchanges)][4]
    os.truncate(exchanges, kept.offset + kept.length + 20)  # within the exchange after it
    asked = len(server.requests)
    assert digests(tmp_path / "killed") == whole
    assert 0 < len(server.requests) - asked < 6


def test_what_the_opt_out_list_names_is_never_asked_for(tmp_path):
    """Not as a link, not as a redirect's target, not for its robots.txt; and the list bears no identity."""
    server = site(
        {"/": links("/a", "/private/b", "/old", "http://sub.shy.example/"), "/a": b"<p>a", "/private/b": b"<p>b"}
    )
    server.web.pages["http://small.example/old"] = Page("", "redirect", b"", 301, {"Location": "/private/c"})
    source = own_crawl(server, scope="any")
    ws = corpus_workspace(recipe(mine=source))
    before = ws.resolver().resolve("raw_warc", "mine").identity
    (tmp_path / "data").mkdir(exist_ok=True)
    (tmp_path / "data" / "opt_out.txt").write_text("# asked by mail\nshy.example\nhttp://small.example/private/\n???\n")
    assert ws.resolver().resolve("raw_warc", "mine").identity == before
    listed = tmp_path / "list.txt"
    listed.write_text("small.example\n")
    named = recipe(mine=source).replace(blocklists=Blocklists(opt_out=str(listed)))
    assert corpus_workspace(named).resolver().resolve("raw_warc", "mine").identity.digest == before.digest
    artifact = materialize(RAW_WARC, "mine", ws).artifact
    assert captured(artifact) == {"/": ["response", 200], "/a": ["response", 200], "/old": ["response", 301]}
    assert not [path for path, _ in server.requests if "private" in path or "shy.example" in path]
    failed = pl.concat([pl.read_parquet(path) for path in artifact.table("crawl_failures")])
    assert {tuple(row) for row in failed.select("url", "reason").iter_rows()} == {
        ("http://small.example/private/b", "opted_out"),
        ("http://small.example/private/c", "opted_out"),
        ("http://sub.shy.example/", "opted_out"),
    }


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
def test_opt_out_rules(tmp_path, url, rule):
    listed = tmp_path / "list.txt"
    listed.write_text("shy.example\npart.example/private/\n")
    assert OptOutRules(read_opt_out(Blocklists(opt_out=str(listed)))).rule_for(url) == rule


def test_a_page_stored_at_a_later_try_is_no_failure(tmp_path):
    server = site({"/": links("/a"), "/a": b"<p>a"})
    (tmp_path / "spool").mkdir()
    row = {"url": "http://small.example/a", "reason": "connection", "detail": "it was down"}
    (tmp_path / "spool" / "failures.jsonl").write_text(json.dumps(row) + "\n" + '{"url": "torn')
    captures, failed = run(tmp_path, server)
    assert "http://small.example/a" in captures and failed == set()


def test_a_crawl_is_told_by_its_source_alone(tmp_path):
    """Neither the recipe's name nor other crawls bear identity; a moved folder of WARC files is the same crawl."""
    write(tmp_path / "one" / "a.warc.gz", [page("http://host.example/")])
    write(tmp_path / "two" / "a.warc.gz", [page("http://host.example/")])
    first = materialize(RAW_WARC, "c", corpus_workspace(recipe(c=WarcFiles(path=str(tmp_path / "one"))))).artifact
    moved = Recipe(name="other", crawls={"c": WarcFiles(path=str(tmp_path / "two")), "d": SampleWeb()})
    again = materialize(RAW_WARC, "c", corpus_workspace(moved))
    assert again.cached and again.artifact.record.identity == first.record.identity
    assert again.artifact.file("warc/a.warc.gz") == tmp_path / "two" / "a.warc.gz"


def test_a_crawl_outside_the_recipe_is_built_from_the_registry():
    registered = recipe().replace(other_crawls={"elsewhere": SampleWeb(scale=0.05)})
    assert RAW_WARC.config(registered, "elsewhere").source == SampleWeb(scale=0.05)
    with pytest.raises(SourceError, match="no crawl 'missing'; there are elsewhere; register one"):
        RAW_WARC.config(registered, "fictitious")


def test_an_empty_crawl_and_a_damaged_one_are_told(tmp_path):
    first, second, third = members([page(f"http://host.example/{i}") for i in range(3)])
    (tmp_path / "c").mkdir()
    (tmp_path / "c" / "a.warc.gz").write_bytes(first + second[: len(second) // 2] + third)
    artifact = materialize(RAW_WARC, "c", corpus_workspace(recipe(c=WarcFiles(path=str(tmp_path / "c"))))).artifact
    outcome = has_captures(artifact, {}, None)
    assert outcome.passed and outcome.numbers == {"captures": 3, "corrupt": 1, "not_fetched": 0}
    outcome = intact(artifact, {}, None)
    assert not outcome.passed and outcome.numbers == {"corrupt": 1, "digest_mismatches": 0}
    assert outcome.failures[0]["warc_file"] == "a.warc.gz"
    (tmp_path / "c" / "a.warc.gz").write_bytes(b"")
    empty = corpus_workspace(recipe(c=WarcFiles(path=str(tmp_path / "c"))))
    with pytest.raises(EmptyCrawl, match="crawl c holds no page: no capture in 1 WARC files"):
        materialize(RAW_WARC, "c", empty)
    assert empty.resolver().resolve("raw_warc", "c").artifact is None


def test_the_crawler_uses_nothing_private_of_scrapy():
    folder = Path(spider.__file__).parent
    attributes = [
        f"{path.name}: {node.attr}"
        for path in sorted(folder.glob("*.py"))
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Attribute) and node.attr.startswith("_") and not node.attr.startswith("__")
        if not (isinstance(node.value, ast.Name) and node.value.id in ("self", "cls", "os"))
    ]
    assert attributes == []


def test_progress_tells_what_waits(tmp_path):
    server = site({"/": links(*[f"/{i}" for i in range(14)]), **{f"/{i}": b"<p>" for i in range(14)}})
    source = WebCrawl(seeds=("http://small.example/",), proxy=server.proxy, delay=0.2, concurrency=1, clock=CLOCK)
    told = []
    crawl("test", source, tmp_path, [], lambda pages, queued: told.append((pages, queued)))
    assert told[-1] == (16, 0) and max(queued for _, queued in told) > 3


def test_two_crawls_of_the_same_web_give_the_same_bytes(tmp_path):
    ws = corpus_workspace(recipe(one=SampleWeb(scale=0.05)))
    first = materialize(RAW_WARC, "one", ws).artifact
    ws.store.root = tmp_path / "other-store"
    assert materialize(RAW_WARC, "one", ws).artifact.record.files == first.record.files


KILLED = """
import sys
from llm_assets.artifacts import Graph, Store, Workspace, materialize
from llm_assets.compute import LocalEngine
from llm_assets.recipes import Recipe, SampleWeb
from llm_assets.settings import load_settings
from llm_assets.web.raw_warc import RAW_WARC
if __name__ == "__main__":
    print("ready", flush=True)
    recipe = Recipe(name="t", crawls={"one": SampleWeb(scale=0.1)})
    workspace = Workspace(recipe, Store(load_settings().store), Graph([RAW_WARC]), LocalEngine(1))
    print(materialize(RAW_WARC, "one", workspace).artifact.data_version, flush=True)
"""


def test_a_killed_crawl_goes_on_and_ends_with_the_same_bytes(tmp_path):
    script = tmp_path / "crawl.py"
    script.write_text(KILLED)
    rng, stored = random.Random(3), []
    for _ in range(3):
        process = subprocess.Popen(
            [sys.executable, str(script)],
            env=environment_for(tmp_path / "killed"),
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        process.stdout.readline()
        spool = None
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline and (spool is None or spool.stat().st_size < 20_000 * (len(stored) + 1)):
            spool = next((tmp_path / "killed").glob("artifacts/.staging/raw_warc/one/*/spool/exchanges.warc.gz"), None)
            time.sleep(0.005)
        time.sleep(rng.uniform(0, 0.1))
        process.send_signal(signal.SIGKILL)
        process.wait()
        time.sleep(0.3)  # the crawler process notices that its parent is gone
        stored.append(spool.stat().st_size)
    assert stored == sorted(stored) and stored[0] > 0
    done = subprocess.run(
        [sys.executable, str(script)],
        env=environment_for(tmp_path / "killed"),
        capture_output=True,
        text=True,
        timeout=120,
    )
    clean = subprocess.run(
        [sys.executable, str(script)],
        env=environment_for(tmp_path / "clean"),
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == clean.returncode == 0, done.stderr + clean.stderr
    assert done.stdout == clean.stdout
    assert (
        json.loads(next((tmp_path / "killed").glob("artifacts/raw_warc/one/*/artifact.json")).read_text())["rows"][
            "captures"
        ]
        > 100
    )
