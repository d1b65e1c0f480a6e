"""Opt-out signals: found in headers, elements and policies of sites, recorded for each capture, and obeyed."""

import time
import tracemalloc
from contextlib import nullcontext
from types import SimpleNamespace

import brotli
import polars as pl
import pytest

from llm_assets.artifacts import materialize
from llm_assets.artifacts.tables import polars_schema
from llm_assets.recipes import Recipe, UrlFilter, WarcFiles
from llm_assets.warc import read_captures
from llm_assets.web.capture_index import capture_row, record_site_signals
from llm_assets.web.opt_out_signals import PathRule, content_signals, page_signals, policy_of, rule_for, tdm_rules
from llm_assets.web.raw_warc import RAW_WARC
from llm_assets.web.schemas import SitePolicies
from tests.support.building import build
from tests.support.corpus import corpus_workspace
from tests.support.crawl_builds import rejects
from tests.support.scripted_site import ScriptedSite, html
from tests.support.small_recipe import CORPUS
from tests.support.small_site import links
from tests.support.warcs import page, story, write

URL = "http://a.example/page"


def signals_of(tmp_path, body=b"<p>text</p>", **headers):
    names = [("Content-Type", "text/html")] + [(name.replace("_", "-"), value) for name, value in headers.items()]
    write(tmp_path / "a.warc.gz", [page(URL, body, headers=names)])
    (capture,) = read_captures(tmp_path / "a.warc.gz")
    return [(signal.signal, signal.source, signal.opts_out) for signal in page_signals(capture)]


NOAI = [("noai", "meta", True)]


@pytest.mark.parametrize(
    ("body", "headers", "expected"),
    [
        (b"<p>", {"X_Robots_Tag": "noai"}, [("noai", "header", True)]),
        (
            b"<p>",
            {"X_Robots_Tag": "noindex, NoImageAI, noai"},
            [("noai", "header", True), ("noimageai", "header", True)],
        ),
        (b"<p>", {"X_Robots_Tag": "otherbot: noai"}, []),
        (b"<p>", {"X_Robots_Tag": "ai2bot: noai, noimageai"}, []),
        (b"<p>", {"X_Robots_Tag": "360Spider/2.1 (x): noai, noimageai"}, []),
        (b"<p>", {"X_Robots_Tag": "unavailable_after: 25-Jun-25 15:00:00 PST, noai"}, [("noai", "header", True)]),
        (
            b"<p>",
            {"X_Robots_Tag": "unavailable_after: Wed, 25 Jun 2025 15:00:00 GMT, noai"},
            [("noai", "header", True)],
        ),
        (b"<p>", {"X_Robots_Tag": "otherbot/2.1: noai, llm-assets/1.0: noimageai"}, [("noimageai", "header", True)]),
        (b"<p>", {"X_Robots_Tag": "noindex"}, []),
        (b"<meta name=robots content=noai>", {}, NOAI),
        (b"<META CONTENT='noai, noimageai' NAME=\"Robots\" />", {}, [*NOAI, ("noimageai", "meta", True)]),
        (b"<meta name=description content='about noai'>", {}, []),
        (b"<!-- <meta name=robots content=noai> -->", {}, []),
        (b"<p>The directive noai is new.</p>", {}, []),
        (b"<p>", {"tdm_reservation": "1"}, [("tdm_reservation", "header", True)]),
        (b"<p>", {"TDM_Reservation": "0"}, [("tdm_reservation", "header", False)]),
        (b"<p>", {"Content_Usage": "search=y, train-ai=n"}, [("ai_train", "header", True)]),
        (b"<p>", {"Content_Signal": "search=no, ai-train=yes"}, [("ai_train", "header", False)]),
        (b"<p>", {"Content_Signal": "ai-train=no, ai-train=yes"}, [("ai_train", "header", True)]),
        (b"<p>", {"Content_Signal": "ai-train=perhaps"}, []),
        (b"<meta name='tdm-reservation' content='1'>", {}, [("tdm_reservation", "meta", True)]),
        (
            b"<meta name='tdm-reservation' content='0'>",
            {"tdm_reservation": "1"},
            [("tdm_reservation", "meta", False)],
        ),
        (brotli.compress(b"<meta name=robots content=noai>"), {"Content_Encoding": "br"}, NOAI),
        (b"1f\r\n<meta name=robots content=noai>\r\n0\r\n\r\n", {"Transfer_Encoding": "chunked"}, NOAI),
    ],
)
def test_the_signals_of_a_page(tmp_path, body, headers, expected):
    """TDMRep, section 4: a page's element overrides its header."""
    assert signals_of(tmp_path, body, **headers) == expected


@pytest.mark.parametrize(
    ("robots", "expected"),
    [
        ("User-agent: *\nContent-Signal: search=yes, ai-train=no\nAllow: /\n", [PathRule("/", "no", True)]),
        ("Content-Signal: ai-train=no\n", [PathRule("/", "no", True)]),
        ("User-agent: *\ncontent-signal: AI-Train=yes\n", [PathRule("/", "yes", False)]),
        ("User-agent: *\nContent-Signal: /art/ ai-train=no\n", [PathRule("/art/", "no", True)]),
        ("User-agent: *\nContent-Signal: search = yes; ai-train = no\n", [PathRule("/", "no", True)]),
        ("User-agent: *\nContent-Usage: train-ai=n\n", [PathRule("/", "n", True)]),
        ("User-agent: *\nContent-Usage: train-ai=y, train-genai=n\n", [PathRule("/", "n", True)]),
        ("User-agent: *\nContent-Usage: train-genai=perhaps, train-ai=n\n", [PathRule("/", "n", True)]),
        ("User-agent: otherbot\nContent-Signal: ai-train=no\n", []),
        (
            "User-agent: *\nContent-Signal: ai-train=yes\n\nUser-agent: LLM-assets/1.0\nContent-Signal: ai-train=no\n",
            [PathRule("/", "no", True)],
        ),
        (
            "User-agent: a\nUser-agent: LLM-assets\nDisallow: /x\nContent-Signal: ai-train=no\n",
            [PathRule("/", "no", True)],
        ),
        (
            "User-agent: *\nContent-Signal: ai-train=no\n\nUser-agent: llm-assets\nContent-Signal: ai-train=yes\n",
            [PathRule("/", "yes", False)],
        ),
        ("User-agent: *\nContent-Signal: search=yes, ai-input=no\n# Content-Signal: ai-train=no\n", []),
    ],
)
def test_the_content_signals_of_a_robots_txt(robots, expected):
    assert content_signals(robots) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('[{"location": "/art*", "tdm-reservation": 1}]', [PathRule("/art*", "1", True)]),
        ('[{"location": "/", "tdm-reservation": "1"}, {"location": "/free", "tdm-reservation": 0}]', None),
        ('{"location": "*", "tdm-reservation": 1}', [PathRule("*", "1", True)]),
        ("<html>not found", []),
        ('[1, {"tdm-reservation": 1}, {"location": "/", "tdm-reservation": true}]', []),
    ],
)
def test_the_rules_of_a_tdmrep_file(text, expected):
    rules = tdm_rules(text)
    assert rules == expected or expected is None
    if expected is None:
        assert rule_for(rules, "http://a.example/free/x").opts_out is False
        assert rule_for(rules, "http://a.example/other").opts_out is True


@pytest.mark.parametrize(
    ("pattern", "url", "matches"),
    [
        ("/", "http://a.example", True),
        ("/a", "http://a.example/abc", True),
        ("/a/", "http://a.example/abc", False),
        ("/*.pdf$", "http://a.example/x/y.pdf", True),
        ("/*.pdf$", "http://a.example/y.pdf?v=1", False),
        ("*?print", "http://a.example/y?print", True),
        ("/a$", "http://a.example/a", True),
        ("/a$", "http://a.example/ab", False),
        ("/a*a$", "http://a.example/a", False),
        ("/a*b*c", "http://a.example/axbxcx", True),
        ("/a*b*c", "http://a.example/acb", False),
        ("/a.b", "http://a.example/axb", False),
    ],
)
def test_patterns_of_paths(pattern, url, matches):
    assert (rule_for([PathRule(pattern, "1", True)], url) is not None) is matches


def test_signals_are_recorded_for_each_capture_and_obeyed_unless_the_recipe_says_otherwise(tmp_path):
    def a_page(url, number, **headers):
        names = [(name.replace("_", "-"), value) for name, value in headers.items()]
        return page(url, story(number), headers=[("Content-Type", "text/html"), *names])

    text = [("Content-Type", "text/plain")]
    write(
        tmp_path / "crawl" / "a.warc.gz",
        [
            a_page("http://free.example/", 1),
            a_page("http://header.example/", 2, X_Robots_Tag="noai"),
            a_page("http://signal.example/", 3),
            a_page("http://tdm.example/art/1", 4),
            a_page("http://tdm.example/free", 5),
            a_page("http://tdm.example/art/2", 6, tdm_reservation="0"),
        ],
    )
    write(  # the policies are in another file of the crawl
        tmp_path / "crawl" / "b.warc.gz",
        [
            page("http://signal.example/robots.txt", b"User-agent: *\nContent-Signal: ai-train=no\n", headers=text),
            page(
                "http://tdm.example/.well-known/tdmrep.json",
                b'[{"location": "/art/", "tdm-reservation": 1}]',
                headers=[("Content-Type", "application/json")],
            ),
        ],
    )
    crawls = {"c": WarcFiles(path=str(tmp_path / "crawl"))}

    def refused(**fields):
        recipe = Recipe(name="t", crawls=crawls, url_filter=UrlFilter(**fields))
        artifacts = {artifact.record.asset: artifact for artifact in build(recipe, CORPUS, ("c",), 2).values()}
        rows = rejects(artifacts).filter(pl.col("rule") == "opt_out_signal")
        return dict(rows.sort("url").select("url", "value").iter_rows())

    everything = {
        "http://header.example/": "noai=noai (header)",
        "http://signal.example/": "ai_train=no (robots_txt)",
        "http://tdm.example/art/1": "tdm_reservation=1 (tdmrep_json)",
    }
    assert refused() == everything
    assert refused(obey_opt_outs=("noai",)) == {"http://header.example/": everything["http://header.example/"]}
    assert refused(obey_opt_outs=()) == {}


def test_the_crawler_requests_tdmrep_once_a_host_and_stores_it_only_if_it_exists():
    a, b = "http://a.example", "http://b.example"
    policy = (200, {"Content-Type": "application/json"}, b'[{"location": "/x", "tdm-reservation": 1}]')
    site = ScriptedSite(
        {
            f"{a}/": html(links("/x", f"{b}/")),
            f"{a}/x": html(b"<p>x"),
            f"{b}/": html(b"<p>b"),
            f"{a}/.well-known/tdmrep.json": policy,
            f"{a}/robots.txt": (200, {"ETag": '"1"'}, b"User-agent: *\nContent-Signal: ai-train=no\n"),
        }
    )
    source = site.crawl(f"{a}/", scope="any")
    workspace = corpus_workspace(Recipe(name="t", crawls={"one": source, "two": source.replace(since="one")}))

    def recorded(crawl):
        artifact = materialize(RAW_WARC, crawl, workspace).artifact
        captures = pl.concat([pl.read_parquet(path) for path in artifact.table("captures")])
        signals = pl.concat([pl.read_parquet(path) for path in artifact.table("opt_out_signals")])
        joined = signals.join(captures, on="doc_id").filter(~pl.col("url").str.contains("robots|well-known"))
        return set(captures["url"]), set(joined.select("url", "signal").iter_rows())

    urls, signals = recorded("one")
    assert site.urls.count(f"{a}/.well-known/tdmrep.json") == site.urls.count(f"{b}/.well-known/tdmrep.json") == 1
    assert f"{a}/.well-known/tdmrep.json" in urls and f"{b}/.well-known/tdmrep.json" not in urls
    assert signals == {(f"{a}/", "ai_train"), (f"{a}/x", "ai_train"), (f"{a}/x", "tdm_reservation")}
    # Of an unchanged policy, the later crawl stores a revisit; a page that is new has the signals all the same.
    site.answers[f"{a}/x"] = html(b"<p>new")
    urls, again = recorded("two")
    assert f"{a}/robots.txt" in urls and again == signals


def test_a_crawl_without_files_follows_one_with_policies(tmp_path):
    file = tmp_path / "a.parquet"
    policy = {"url": f"{URL}/robots.txt", "host": "a.example", "warc_file": "w", "warc_offset": 0, "text": "noai"}
    pl.DataFrame([{**policy, "fetched_at": "", "payload_digest": "d"}], polars_schema(SitePolicies)).write_parquet(file)
    signals = []
    task = nullcontext(SimpleNamespace(table=lambda *_: signals))
    step = SimpleNamespace(finished_task=lambda _: None, task=lambda _: task, table=lambda _: [])
    record_site_signals(step, [SimpleNamespace(table=lambda _: [file])])
    assert signals == []


@pytest.mark.parametrize("url", ["http://[bad/robots.txt", "http://[x]/tdmrep.json", "http://[v1.x/x"])
def test_a_page_whose_url_cannot_be_read_is_indexed(tmp_path, url):
    """urllib raises for an unclosed bracket; one such URL stopped the index of its whole file."""
    path = write(tmp_path / "a.warc.gz", [page(url, b"<p>text</p>")])
    (capture,) = read_captures(path)
    row = capture_row(capture, "a.warc.gz", "crawl")
    assert row["host"] == "" and policy_of(row["url"]) is None and page_signals(capture) == []
    assert rule_for([PathRule("/", "no", True)], url) is not None  # its path is taken as the root


def test_a_pattern_of_many_stars_is_matched_in_linear_time():
    """As a regular expression it takes more steps than the universe has had time for."""
    rule = PathRule("/" + "*a" * 40 + "*b", "no", True)
    assert rule_for([rule], "http://a.example/" + "a" * 2_000) is None
    assert rule_for([rule], "http://a.example/" + "a" * 2_000 + "b/c") == rule


def test_comments_without_an_end_are_searched_in_linear_time(tmp_path):
    began = time.process_time()
    assert signals_of(tmp_path, b"<p>noai</p>" + b"<!--" * 100_000 + b'<meta name="robots" content="noai">') == []
    assert time.process_time() - began < 3


def test_of_contradictory_lines_the_opt_out_counts():
    rules = content_signals("User-agent: *\nContent-Signal: ai-train=no\nContent-Signal: ai-train=yes\n")
    assert rule_for(rules, URL).opts_out


@pytest.mark.parametrize(
    "text", ["a" * 500_000, "a " * 250_000, "a=" + " " * 500_000, "ai-train" + " " * 500_000], ids=lambda text: text[:4]
)
def test_settings_are_read_in_linear_time(text):
    """Searched from each of its letters, a word of 500,000 takes an hour."""
    assert content_signals(f"User-agent: *\nContent-Signal: {text}") == []


@pytest.mark.parametrize(
    "text", [b"<meta " * 160_000, b"<meta " + b"a" * 1_000_000, b"<meta a='" + b"a" * 1_000_000], ids=lambda t: t[-2:]
)
def test_elements_without_an_end_are_no_elements_and_are_read_in_linear_time(tmp_path, text):
    """Each is in the first mebibyte of a page that mentions noai."""
    assert signals_of(tmp_path, b"<meta name=robots content=noai>" + text) == NOAI


def test_an_attribute_of_many_digits_is_no_error(tmp_path):
    """html.unescape raises for a reference to a character by a number of more than 4,300 digits."""
    text = b"<meta name=robots content='noai &#" + b"9" * 10_000 + b"'>"
    assert signals_of(tmp_path, text) == NOAI


def test_groups_of_other_crawlers_take_no_memory():
    """Each crawler's own copy of each rule took a gigabyte."""
    robots = "".join(f"User-agent: bot{number}\n" for number in range(3_000))
    robots += "User-agent: *\n" + "Content-Signal: ai-train=no\n" * 3_000
    tracemalloc.start()
    try:
        assert len(content_signals(robots)) == 3_000
        assert tracemalloc.get_traced_memory()[1] < 10 << 20
    finally:
        tracemalloc.stop()


def test_a_tdmrep_file_that_is_nested_too_deep_has_no_rules():
    assert tdm_rules("[" * 200_000) == []
