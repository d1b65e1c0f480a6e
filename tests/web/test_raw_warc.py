"""The stage `raw_warc`: crawls that continue others, empty and damaged crawls, identity, and recovery after a kill."""

import json
import random
import signal
import subprocess
import sys
import time

import polars as pl
import pytest

from llm_assets.artifacts import materialize
from llm_assets.recipes import Blocklists, Recipe, SampleWeb, WarcFiles, WebCrawl
from llm_assets.sample_web import make_web
from llm_assets.sample_web.pages import Page
from llm_assets.warc import sha1_digest
from llm_assets.web.checks import has_captures, intact
from llm_assets.web.errors import EmptyCrawl, SourceError
from llm_assets.web.last_try import last_try, not_fetched
from llm_assets.web.raw_warc import RAW_WARC, continued_crawls
from tests.support.commands import environment_for
from tests.support.corpus import corpus_workspace
from tests.support.small_site import CLOCK, SEED, links, serve_site, site_crawl
from tests.support.warcs import members, page, write


def recipe(**crawls):
    return Recipe(name="t", crawls=crawls)


def read_table(artifact, name):
    return pl.concat([pl.read_parquet(path) for path in artifact.table(name)])


def captures_by_path(artifact):
    """[record type, status] of every page of the small site, by path."""
    path = pl.col("url").str.strip_prefix("http://small.example")
    rows = read_table(artifact, "captures").select(path, "record_type", "status").iter_rows()
    return {path: [record_type, status] for path, record_type, status in rows if path != "/robots.txt"}


def test_a_crawl_that_continues_another_stores_only_what_changed():
    workspace = corpus_workspace(recipe(one=SampleWeb(scale=0.05), two=SampleWeb(scale=0.05, day=2, since="one")))
    materialize(RAW_WARC, "one", workspace)
    later = materialize(RAW_WARC, "two", workspace).artifact
    captures = read_table(later, "captures")
    pages_1, pages_2 = make_web(1, 0.05, 1).pages, make_web(1, 0.05, 2).pages
    revisits = captures.filter(pl.col("record_type") == "revisit")
    revisited = set(revisits["url"]) - {"http://hobbynotes.example/robots.txt"}
    expected = {url: page for url, page in pages_2.items() if page.in_crawl and page.status == 200}
    unchanged = {url for url, page in expected.items() if url in pages_1 and page.body == pages_1[url].body}
    assert revisited and revisited <= unchanged
    full_responses = captures.filter((pl.col("record_type") == "response") & (pl.col("status") == 200))
    assert full_responses.filter(pl.col("url").is_in(list(revisited))).is_empty()
    assert revisits["refers_to_date"].unique().to_list() == ["2026-10-05T06:00:00Z"]
    # Everything is still reached, because the links of an unchanged page come from the earlier crawl.
    assert {url for url in expected if not url.endswith((".png", ".css", ".pdf"))} <= set(captures["url"])
    originals = read_table(later, "revisits")
    assert originals["original_crawl"].unique().to_list() == ["one"] and originals["original_offset"].null_count() == 0


def test_earlier_crawls_come_oldest_first_whatever_their_names():
    """For a page that changed, the conditional request names the version of the latest crawl."""
    server = serve_site({"/": b"<p>first"})
    bodies = {"z-oldest": b"<p>first", "a-second": b"<p>second", "m-third": b"<p>third"}
    first = WebCrawl(seeds=(SEED,), proxy=server.proxy, delay=0.0, clock=CLOCK)
    crawls = {
        "z-oldest": first,
        "a-second": first.replace(since="z-oldest"),
        "m-third": first.replace(since="a-second"),
    }
    workspace = corpus_workspace(recipe(**crawls))
    assert continued_crawls(workspace.recipe, "m-third") == ["z-oldest", "a-second"]
    for name, body in bodies.items():
        server.web.pages[SEED].body = body
        captures = read_table(materialize(RAW_WARC, name, workspace).artifact, "captures")
        pages = captures.filter(pl.col("url") == SEED)
        assert pages["record_type"].to_list() == ["response"] and pages["payload_digest"].item() == sha1_digest(body)
    later = recipe(**crawls, last=crawls["m-third"].replace(since="m-third"))
    revisits = read_table(materialize(RAW_WARC, "last", corpus_workspace(later)).artifact, "revisits")
    assert revisits.filter(pl.col("url") == SEED)["original_crawl"].to_list() == ["m-third"]


def test_a_crawl_without_a_page_fails_and_the_next_run_starts_from_scratch():
    """The site is down, then up: the second run asks the network, and serves nothing from the first."""
    server = serve_site({"/": links("/a"), "/a": b"<p>a"})
    pages = dict(server.web.pages)
    server.web.pages[SEED] = Page("", "x", b"down", 503, {})
    workspace = corpus_workspace(recipe(mine=site_crawl(server)))
    with pytest.raises(EmptyCrawl, match=r"crawl mine stored no page: 1 × status 503 \(http://small.example/\)"):
        materialize(RAW_WARC, "mine", workspace)
    resolution = workspace.resolver().resolve("raw_warc", "mine")
    assert resolution.artifact is None
    assert "status 503" in last_try(workspace.store.staging(resolution.identity)).message
    server.web.pages.update(pages)
    requests_before = len(server.requests)
    artifact = materialize(RAW_WARC, "mine", workspace).artifact
    assert captures_by_path(artifact) == {"/": ["response", 200], "/a": ["response", 200]}
    requested = {path for path, _ in server.requests[requests_before:]}
    assert requested >= {SEED, f"{SEED}robots.txt"}
    assert {path.name for path in artifact.path.iterdir()}.isdisjoint({"last_try.json", "last_failures.parquet"})


def test_the_failures_of_an_empty_crawl_can_be_looked_up():
    server = serve_site({"/": b"<p>"}, robots="User-agent: *\nDisallow: /\n")
    private = WebCrawl(seeds=("http://127.0.0.1:9/",), delay=0.0, retries=0)
    refusing = WebCrawl(seeds=("http://127.0.0.1:9/x",), delay=0.0, retries=0, allow_private=True)
    workspace = corpus_workspace(recipe(closed=site_crawl(server), private=private, refusing=refusing))
    for crawl_name, reason in (("closed", "robots"), ("private", "private_address"), ("refusing", "connection")):
        with pytest.raises(EmptyCrawl, match=rf"crawl {crawl_name} stored no page: 1 × {reason} \(http://"):
            materialize(RAW_WARC, crawl_name, workspace)
    (failure,) = not_fetched(workspace, "small.example", ["closed", "private", "refusing"])
    assert (failure.crawl, failure.url, failure.reason) == ("closed", SEED, "robots") and failure.at
    assert not_fetched(workspace, "http://127.0.0.1:9/x", ["refusing"])[0].reason == "connection"


def test_the_failures_of_a_built_crawl_are_counted_and_can_be_looked_up():
    robots = "User-agent: *\nDisallow: /shut/\n"
    server = serve_site({"/": links("/a", "/shut/b"), "/a": b"<p>a"}, robots=robots)
    workspace = corpus_workspace(recipe(mine=site_crawl(server)))
    artifact = materialize(RAW_WARC, "mine", workspace).artifact
    assert has_captures(artifact, {}, None).summary == "3 captures, 0 corrupt stretches; not fetched: 1 robots"
    (failure,) = not_fetched(workspace, "http://small.example/shut/b", ["mine"])
    assert (failure.reason, failure.at) == ("robots", None)


def test_a_continuing_crawl_requests_pages_that_are_no_longer_linked():
    """Of three unlinked pages, one still exists, one is gone and one has changed; no link on them is followed."""
    bodies = {"/": links("/kept", "/gone", "/new"), "/kept": b"<p>kept", "/gone": b"<p>gone", "/new": b"<p>old"}
    server = serve_site(bodies)
    source = site_crawl(server)
    later = source.replace(since="one")
    workspace = corpus_workspace(recipe(one=source, two=later, three=later.replace(max_pages=4)))
    materialize(RAW_WARC, "one", workspace)
    server.web.pages[SEED].body = b"<p>no link"
    server.web.pages["http://small.example/new"].body = links("/hidden")
    del server.web.pages["http://small.example/gone"]
    captures = captures_by_path(materialize(RAW_WARC, "two", workspace).artifact)
    assert captures.pop("/kept")[0] == "revisit"
    assert captures == {"/": ["response", 200], "/gone": ["response", 404], "/new": ["response", 200]}
    # Page limits apply to them too: robots.txt, the seed, and the first two of the three.
    limited = materialize(RAW_WARC, "three", workspace).artifact
    assert list(captures_by_path(limited)) == ["/", "/gone", "/kept"]
    assert limited.record.stats["crawl_failures"] == {"page_limit": 1}


def test_the_treatment_of_unlinked_pages_is_part_of_the_identity_of_continuing_crawls_only():
    source = WebCrawl(seeds=(SEED,))
    crawls = recipe(one=source, two=source.replace(since="one"))
    fields = [type(RAW_WARC.config(crawls, name)).model_fields for name in ("one", "two")]
    assert "unlinked_pages" not in fields[0] and "unlinked_pages" in fields[1]


def test_opted_out_urls_are_never_requested(tmp_path):
    """Neither as a link, nor as a redirect's target, nor for robots.txt. The list is no part of the identity."""
    bodies = {"/": links("/a", "/private/b", "/old", "http://sub.shy.example/"), "/a": b"<p>a", "/private/b": b"<p>b"}
    server = serve_site(bodies)
    server.web.pages["http://small.example/old"] = Page("", "redirect", b"", 301, {"Location": "/private/c"})
    source = site_crawl(server, scope="any")
    workspace = corpus_workspace(recipe(mine=source))
    identity = workspace.resolver().resolve("raw_warc", "mine").identity
    (tmp_path / "data").mkdir(exist_ok=True)
    (tmp_path / "data" / "opt_out.txt").write_text("# asked by mail\nshy.example\nhttp://small.example/private/\n???\n")
    assert workspace.resolver().resolve("raw_warc", "mine").identity == identity
    opt_out_list = tmp_path / "list.txt"
    opt_out_list.write_text("small.example\n")
    with_list = recipe(mine=source).replace(blocklists=Blocklists(opt_out=str(opt_out_list)))
    assert corpus_workspace(with_list).resolver().resolve("raw_warc", "mine").identity.digest == identity.digest
    artifact = materialize(RAW_WARC, "mine", workspace).artifact
    assert captures_by_path(artifact) == {"/": ["response", 200], "/a": ["response", 200], "/old": ["response", 301]}
    assert not [path for path, _ in server.requests if "private" in path or "shy.example" in path]
    assert set(read_table(artifact, "crawl_failures").select("url", "reason").iter_rows()) == {
        ("http://small.example/private/b", "opted_out"),
        ("http://small.example/private/c", "opted_out"),
        ("http://sub.shy.example/", "opted_out"),
    }


def test_the_source_alone_identifies_a_crawl(tmp_path):
    """Neither the recipe's name nor other crawls count, and a moved folder of WARC files is the same crawl."""
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
    with pytest.raises(SourceError, match="no crawl 'missing'; available: elsewhere; register one"):
        RAW_WARC.config(registered, "missing")


def test_a_damaged_crawl_fails_its_check_and_an_empty_one_is_refused(tmp_path):
    first, second, third = members([page(f"http://host.example/{number}") for number in range(3)])
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


def test_two_crawls_of_the_same_web_give_the_same_bytes(tmp_path):
    workspace = corpus_workspace(recipe(one=SampleWeb(scale=0.05)))
    first = materialize(RAW_WARC, "one", workspace).artifact
    workspace.store.root = tmp_path / "other-store"
    assert materialize(RAW_WARC, "one", workspace).artifact.record.files == first.record.files


CRAWL_SCRIPT = """
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


def kill_after(script, folder, spool_bytes, wait):
    """Run a crawl until its spool has some bytes, wait, and kill it; returns the size of the spool."""
    process = subprocess.Popen(
        [sys.executable, str(script)],
        env=environment_for(folder),
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    process.stdout.readline()
    spool = None
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline and (spool is None or spool.stat().st_size < spool_bytes):
        spool = next(folder.glob("artifacts/.staging/raw_warc/one/*/spool/exchanges.warc.gz"), None)
        time.sleep(0.005)
    time.sleep(wait)
    process.send_signal(signal.SIGKILL)
    process.wait()
    time.sleep(0.3)  # the crawler process notices that its parent is gone
    return spool.stat().st_size


def run_to_end(script, folder):
    command = [sys.executable, str(script)]
    return subprocess.run(command, env=environment_for(folder), capture_output=True, text=True, timeout=120)


def test_a_crawl_killed_three_times_ends_with_the_same_bytes(tmp_path):
    script = tmp_path / "crawl.py"
    script.write_text(CRAWL_SCRIPT)
    rng, spool_sizes = random.Random(3), []
    for attempt in range(1, 4):
        spool_sizes.append(kill_after(script, tmp_path / "killed", 20_000 * attempt, rng.uniform(0, 0.1)))
    assert spool_sizes == sorted(spool_sizes) and spool_sizes[0] > 0
    resumed = run_to_end(script, tmp_path / "killed")
    uninterrupted = run_to_end(script, tmp_path / "clean")
    assert resumed.returncode == uninterrupted.returncode == 0, resumed.stderr + uninterrupted.stderr
    assert resumed.stdout == uninterrupted.stdout
    record = next((tmp_path / "killed").glob("artifacts/raw_warc/one/*/artifact.json"))
    assert json.loads(record.read_text())["rows"]["captures"] > 100
