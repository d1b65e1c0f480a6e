"""URL rules: for each a capture that it rejects, with the rule, the value and the threshold."""

from pathlib import Path

import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from llm_assets.artifacts.tables import polars_schema
from llm_assets.curation.url_filter import judge
from llm_assets.recipes import UrlFilter
from llm_assets.web.schemas import BlocklistDomains, BlocklistWords, Captures, OptOut
from llm_assets.web.urls import host_of, registered_domain


def capture(url="http://plain.example/page.html", **fields):
    host = host_of(url)
    return {
        "doc_id": "0" * 24,
        "crawl": "c",
        "warc_file": "f",
        "warc_offset": 0,
        "warc_length": 1,
        "record_type": "response",
        "url": url,
        "host": host,
        "registered_domain": registered_domain(host),
        "fetched_at": "",
        "status": 200,
        "mime": "text/html",
        "charset": None,
        "payload_bytes": 1,
        "payload_digest": "",
        "etag": None,
        "last_modified": None,
        "location": None,
        "truncated": None,
        "refers_to_uri": None,
        "refers_to_date": None,
        "error": None,
        **fields,
    }


LISTS = {
    "domains": (
        BlocklistDomains,
        [("bad.example", "adult", "l"), ("adfarm.example", "ads", "l"), ("xn--bcher-kva.example", "malware", "l")],
    ),
    "words": (
        BlocklistWords,
        [
            ("porn", "hard_words", "hard_word", "l"),
            ("sexy", "soft_words", "soft_word", "l"),
            ("casino", "soft_words", "soft_word", "l"),
            ("tür", "hard_words", "hard_word", "l"),
            ("freeporn.x", "substrings", "substring", "l"),
        ],
    ),
    "opt_out": (
        OptOut,
        [("shy.example", "domain", "shy.example"), ("part.example/private/", "prefix", "part.example")],
    ),
}


@pytest.fixture
def verdict(tmp_path):
    """A function from captures to their verdicts: rule, value and threshold, or KEPT."""
    for name, (model, rows) in LISTS.items():
        pl.DataFrame(rows, schema=polars_schema(model), orient="row").write_parquet(tmp_path / f"{name}.parquet")

    def judge_captures(*captures, **rules):
        rows = [{**c, "warc_offset": i} for i, c in enumerate(captures)]
        pl.DataFrame(rows, schema=polars_schema(Captures)).write_parquet(tmp_path / "captures.parquet")
        files = [[Path(tmp_path / f"{name}.parquet")] for name in LISTS]
        judged = judge(tmp_path / "captures.parquet", *files, UrlFilter(**rules))
        return judged.select("rule", "value", "threshold").rows()

    return judge_captures


KEPT = (None, None, None)


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({}, KEPT),
        ({"record_type": "corrupt", "error": "data error", "status": None}, ("corrupt_record", "data error", "")),
        (
            {
                "record_type": "revisit",
                "refers_to_uri": "http://plain.example/",
                "refers_to_date": "2026-10-05T06:00:00Z",
            },
            ("revisit", "http://plain.example/ 2026-10-05T06:00:00Z", ""),
        ),
        ({"status": None}, ("malformed_http", "", "an HTTP status line")),
        ({"status": 404}, ("status", "404", "200")),
        ({"status": 301}, ("status", "301", "200")),
        ({"mime": "image/png"}, ("mime", "image/png", "text/html application/xhtml+xml")),
        ({"mime": None}, KEPT),
        ({"mime": "application/xhtml+xml"}, KEPT),
        ({"record_type": "resource", "status": None}, KEPT),
        ({"url": "http://bad.example/"}, ("adult", "bad.example", "")),
        ({"url": "http://WWW.Deep.BAD.example./x"}, ("adult", "bad.example", "")),
        ({"url": "http://notbad.example/"}, KEPT),
        ({"url": "http://bücher.example/"}, ("malware", "xn--bcher-kva.example", "")),
        ({"url": "http://shy.example/anything"}, ("opt_out", "shy.example", "")),
        ({"url": "https://sub.shy.example/"}, ("opt_out", "shy.example", "")),
        ({"url": "http://part.example/private/x"}, ("opt_out", "part.example/private/", "")),
        ({"url": "http://part.example/public/x"}, KEPT),
        ({"url": "http://plain.example/watch/PORN-video"}, ("hard_word", "porn", "1")),
        ({"url": "http://plain.example/%70orn/"}, ("hard_word", "porn", "1")),
        ({"url": "http://plain.example/T%C3%9CR"}, ("hard_word", "tür", "1")),
        ({"url": "http://plain.example/pornographic-studies"}, KEPT),
        ({"url": "http://plain.example/sexy-hat"}, KEPT),
        ({"url": "http://plain.example/sexy-sexy-hat"}, KEPT),
        ({"url": "http://plain.example/Sexy_Casino"}, ("soft_word", "casino sexy", "2")),
        ({"url": "http://plain.example/myfreeporn.xy"}, ("substring", "freeporn.x", "1")),
        ({"url": "http://plain.example/myfreepornZxy"}, KEPT),
    ],
)
def test_a_capture_is_judged_by_the_first_rule_that_it_breaks(verdict, fields, expected):
    assert verdict(capture(**fields)) == [expected]


def test_the_recipe_sets_the_soft_word_limit(verdict):
    assert verdict(capture(url="http://plain.example/sexy-hat"), soft_word_limit=1) == [("soft_word", "sexy", "1")]


def test_every_capture_has_one_verdict_in_file_order(verdict):
    verdicts = verdict(
        capture(),
        capture(url="http://bad.example/porn-sexy-casino"),
        capture(url="http://shy.example/porn", status=404),
        capture(),
    )
    assert verdicts == [KEPT, ("adult", "bad.example", ""), ("status", "404", "200"), KEPT]


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        # Latin-1, windows-1251 and a truncated UTF-8 sequence: crawls have such URLs (internetarchive/surt#19).
        ("M%FCnchen", KEPT),
        ("%E4%EE", KEPT),
        ("%C3%28", KEPT),
        ("%00%7F", KEPT),
        ("porn-%FC", ("hard_word", "porn", "1")),
        ("%FC/%70orn%E4", ("hard_word", "porn", "1")),
        # A byte that is no UTF-8 takes no neighbour with it (Encoding standard, "UTF-8 decoder": the byte after a
        # truncated sequence is read again).
        ("%C3porn", ("hard_word", "porn", "1")),
        ("%E2%82porn%F0", ("hard_word", "porn", "1")),
        ("t%C3%BCr%FC", ("hard_word", "tür", "1")),
        ("%FCfreeporn.x%FC", ("substring", "freeporn.x", "1")),
    ],
)
def test_escapes_that_are_no_utf8_hide_nothing(verdict, path, expected):
    assert verdict(capture(url=f"http://plain.example/{path}")) == [expected]


@given(st.lists(st.lists(st.one_of(st.binary(max_size=6), st.text(max_size=6)), max_size=6), min_size=1, max_size=20))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_no_escaped_bytes_hide_a_word_or_stop_the_query(verdict, urls):
    # An escape may stand for any byte (RFC 3986, section 2.1).
    paths = [
        "".join(part if isinstance(part, str) else "".join(f"%{byte:02X}" for byte in part) for part in parts)
        for parts in urls
    ]
    captures = [capture(url=f"http://plain.example/{path} porn") for path in paths]
    assert verdict(*captures) == [("hard_word", "porn", "1")] * len(paths)


def test_percent_and_broken_urls_do_not_stop_the_query(verdict):
    assert verdict(
        capture(url="http://plain.example/%zz%"), capture(url="not a url", host=""), capture(url="http://[::1/")
    ) == [KEPT, KEPT, KEPT]
