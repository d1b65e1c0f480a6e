"""URLs as crawls hold them: no text stops a stage, and every capture has a verdict."""

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm_assets.web.opt_out_signals import PathRule, policy_of, rule_for
from llm_assets.web.urls import doc_id, host_of, is_private_host, registered_domain
from tests.support.crawl_builds import build_crawl, rejects, warc_crawl
from tests.support.warcs import page, raw_record, story, write

ODD_URLS = [
    "http://a.example/M%FCnchen",
    "http://a.example/%E4%EE?%C3%28#%FF",
    "http://a.example/%00%zz%",
    "http://[::1/robots.txt",
    "http://[no address]/robots.txt",
    "http://\u2100.example/robots.txt",  # its normal form has a slash
    "http://a.example:99999/.well-known/tdmrep.json",
    "http://a.example:port/robots.txt",
    f"http://{'ü' * 80}.example/",
    "http://a..example/",
    "http:///robots.txt",
    "urn:x:robots.txt",
    "not a url",
]


def test_every_capture_of_a_crawl_of_odd_urls_has_a_verdict(tmp_path):
    # RFC 3986 section 2.1 lets an escape stand for any byte, and WARC-Target-URI is what the crawler asked for.
    good = [page(f"http://host.example/{i}", story(i)) for i in range(2)]
    path = write(tmp_path / "warc" / "a.warc", good, gzip=False)
    with path.open("ab") as stream:
        for url in ODD_URLS:
            record = raw_record(url, b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n\r\nContent-Signal: ai-train=no")
            stream.write(record)
    artifacts = build_crawl(warc_crawl(tmp_path / "warc"), workers=1)  # kept + rejected = captures
    assert artifacts["raw_warc"].record.rows["captures"] == len(good) + len(ODD_URLS)
    refused = rejects(artifacts).filter(pl.col("rule") == "opt_out_signal")
    assert set(refused["host"]) == {"a.example"}  # the only host with a robots.txt


@pytest.mark.parametrize("url", ODD_URLS)
def test_the_policy_of_a_site_needs_a_site(url):
    # Otherwise the answer to such a URL would be the policy of all captures without a host.
    assert (policy_of(url) is not None) == (
        url in ("http://a.example:99999/.well-known/tdmrep.json", "http://a.example:port/robots.txt")
    )


@given(st.text(max_size=30), st.sampled_from(["", "http://", "http://[", "https://a.example/", "//", "urn:"]))
def test_no_text_stops_what_reads_urls(text, start):
    url = start + text
    host = host_of(url)
    registered_domain(host), is_private_host(host), doc_id(url, ""), policy_of(url)
    rule_for([PathRule("/*x", "no", True)], url)
