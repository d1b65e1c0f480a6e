"""Refreshes, which the crawler follows as it follows other redirects."""

import pytest
from scrapy.http import HtmlResponse

from llm_assets.web.crawler.redirects import refresh_target
from tests.support.scripted_site import ScriptedSite, html, redirect, run
from tests.support.small_site import links

A = "http://a.example"
WWW = "http://www.a.example"


def refresh(url):
    return html(f"<meta http-equiv=refresh content='0;url={url}'>".encode())


@pytest.mark.parametrize(
    "answer",
    [
        html(f"<meta http-equiv=Refresh content='0; URL={WWW}/home#top'>".encode()),
        html(f"<META content=\"3;'{WWW}/home'\" HTTP-EQUIV='refresh'>".encode()),
        html(b"<p>moved", Refresh=f"0.5, {WWW}/home"),
    ],
    ids=["meta", "quoted", "header"],
)
def test_a_seed_that_refreshes_to_www_is_crawled_there(tmp_path, answer):
    """HTML standard, "shared declarative refresh steps": browsers show the other page."""
    site = ScriptedSite({f"{A}/": answer, f"{WWW}/home": html(links("/x")), f"{WWW}/x": html(b"<p>x")})
    pages, failed = run(tmp_path, site.crawl(f"{A}/"))
    assert pages == {f"{A}/": 200, f"{WWW}/home": 200, f"{WWW}/x": 200} and failed == {}


def test_a_refresh_to_another_host_is_recorded_and_one_of_the_page_itself_or_without_scripts_is_none(tmp_path):
    answers = {
        f"{A}/": html(b"<meta http-equiv=refresh content='60'>" + links("/a", "/b", "/c")),
        f"{A}/c": html(b"<meta http-equiv=refresh content='300; url='>"),
        f"{A}/a": html(b"<noscript><meta http-equiv=refresh content='0;url=/no-scripts'></noscript>"),
        f"{A}/b": html(b"<meta http-equiv=refresh content='0;url=http://b.example/'>"),
    }
    pages, failed = run(tmp_path, ScriptedSite(answers).crawl(f"{A}/"))
    assert set(pages) == set(answers) and failed == {"http://b.example/": "out_of_scope"}


def test_a_depth_of_0_is_the_seeds_and_what_they_refresh_to(tmp_path):
    answers = {
        f"{A}/": html(b"<meta http-equiv=refresh content='0; url=/home'>" + links("/a")),
        f"{A}/home": html(links("/b")),
        f"{A}/a": html(b"<p>a"),
        f"{A}/b": html(b"<p>b"),
    }
    pages, failed = run(tmp_path, ScriptedSite(answers).crawl(f"{A}/", max_depth=0))
    assert set(pages) == {f"{A}/", f"{A}/home"} and failed == {}


def test_links_behind_a_refresh_have_the_depth_of_those_behind_a_redirect(tmp_path):
    answers = {
        f"{A}/": refresh(f"{A}/en/"),
        f"{A}/en/": html(links("/a")),
        f"{A}/a": html(links("/b")),
        f"{A}/b": html(b"<p>b"),
    }
    pages, _ = run(tmp_path, ScriptedSite(answers).crawl(f"{A}/", max_depth=1))
    assert set(pages) == {f"{A}/", f"{A}/en/", f"{A}/a"}


def test_a_chain_of_refreshes_and_redirects_ends_where_one_of_redirects_does(tmp_path):
    """As Scrapy's REDIRECT_MAX_TIMES has it, after 20."""
    answers = {f"{A}/{n}": (redirect if n % 4 == 1 else refresh)(f"{A}/{n + 1}") for n in range(30)}
    pages, failed = run(tmp_path, ScriptedSite(answers).crawl(f"{A}/0"))
    assert set(pages) == {f"{A}/{n}" for n in range(21)} and failed == {f"{A}/21": "redirects"}


def target_of(content):
    return refresh_target(HtmlResponse(f"{A}/", headers={"Refresh": content}, body=b"", encoding="utf-8"))


def test_a_refresh_without_a_url_is_read_in_linear_time():
    """With backtracking, these digits and points take an hour."""
    assert target_of("1" * 150_000 + "." * 150_000 + "x") is None
    assert target_of(" " * 300_000 + "x") is None


def test_a_refresh_that_is_longer_than_any_url_is_an_error():
    assert target_of("0; url=/" + "a" * 9_000) == f"{A}/" + "a" * 9_000
    with pytest.raises(ValueError, match="it has 300,008 characters, more than 10,000"):
        target_of("0; url=/" + "a" * 300_000)
