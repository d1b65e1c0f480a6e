"""What the crawler requests and what it leaves: redirects of seeds, robots.txt, fragments, directives, pauses,
sitemaps."""

import gzip
import json
import time
from email.utils import formatdate

import pytest

from llm_assets.artifacts import materialize
from llm_assets.recipes import Recipe, WebCrawl
from llm_assets.warc import read_captures
from llm_assets.web.crawler import CrawlJob, crawl
from llm_assets.web.crawler.plan import write_earlier
from llm_assets.web.crawler.robots import robots_parser
from llm_assets.web.crawler.scope import CrawlScope
from llm_assets.web.crawler.spool import failures
from llm_assets.web.raw_warc import RAW_WARC
from llm_assets.web.retry_after import retry_after
from llm_assets.web.robots_directives import header_directives, meta_directives, product_token
from tests.support.corpus import corpus_workspace
from tests.support.scripted_site import CLOSED, HTML, ScriptedSite, html, redirect, run
from tests.support.small_site import links

A = "http://a.example"
WWW = "http://www.a.example"


# Redirected seeds


@pytest.mark.parametrize("scope", ["host", "prefix"])
def test_a_seed_that_redirects_to_www_is_crawled_there(tmp_path, scope):
    site = ScriptedSite({f"{A}/": redirect(f"{WWW}/"), f"{WWW}/": html(links("/x")), f"{WWW}/x": html(b"<p>x")})
    pages, failed = run(tmp_path, site.crawl(f"{A}/", scope=scope))
    assert pages == {f"{A}/": 301, f"{WWW}/": 200, f"{WWW}/x": 200} and failed == {}


def test_a_seed_without_www_is_followed_from_www_and_over_several_redirects(tmp_path):
    answers = {
        f"{WWW}/": redirect(f"{WWW}:8080/", 302),
        f"{WWW}:8080/": redirect(f"{A}/home", 307),
        f"{A}/home": html(links("/x")),
        f"{A}/x": html(b"<p>x"),
    }
    pages, failed = run(tmp_path, ScriptedSite(answers).crawl(f"{WWW}/"))
    assert pages == {f"{WWW}/": 302, f"{WWW}:8080/": 307, f"{A}/home": 200, f"{A}/x": 200} and failed == {}


def test_a_seed_that_redirects_to_another_host_is_not_followed_and_the_crawl_says_so(tmp_path):
    site = ScriptedSite({f"{A}/": redirect("http://b.example/"), "http://b.example/": html(b"<p>b")})
    pages, failed = run(tmp_path, site.crawl(f"{A}/"))
    assert pages == {f"{A}/": 301} and failed == {"http://b.example/": "out_of_scope"}
    assert not any("b.example" in url for url in site.urls)


@pytest.mark.parametrize(
    ("policy", "target", "followed"),
    [
        ("none", WWW, False),
        ("none", A.replace("http:", "https:"), True),
        ("www", WWW.replace("http:", "https:"), True),
        ("www", "http://shop.a.example", False),
        ("domain", "http://shop.a.example", True),
        ("domain", "http://b.example", False),
        ("any", "http://b.example", True),
    ],
)
def test_the_policy_of_redirected_seeds(policy, target, followed):
    scope = CrawlScope(WebCrawl(seeds=(f"{A}/",), seed_redirects=policy))
    assert (scope.includes(f"{target}/x") or scope.may_lead_to(f"{target}/x")) is followed


def test_a_redirect_widens_the_scope_to_another_host_but_to_no_folder_above():
    scope = CrawlScope(WebCrawl(seeds=(f"{A}/docs/index.html",), scope="prefix"))
    scope.follow(f"{A}/docs/index.html", f"{WWW}/")
    assert scope.includes(f"{WWW}/docs/x") and not scope.includes(f"{WWW}/blog/x")
    scope.follow(f"{A}/docs/index.html", f"{A}/manual/2/")
    assert scope.includes(f"{A}/manual/2/x") and not scope.includes(f"{A}/manual/1/")


def test_links_to_the_place_of_a_redirect_are_followed_whichever_answer_comes_first(tmp_path):
    """The page of the other seed links to www. before the redirect is known."""

    def slow(earlier):
        time.sleep(0.4)
        return redirect(f"{WWW}/")

    answers = {
        f"{A}/": slow,
        f"{WWW}/": html(b"<p>home"),
        f"{WWW}/x": html(b"<p>x"),
        "http://b.example/": html(links(f"{WWW}/x", "http://www.b.example/y")),
    }
    site = ScriptedSite(answers)
    pages, failed = run(tmp_path, site.crawl(f"{A}/", "http://b.example/"))
    assert pages[f"{WWW}/x"] == 200 and "http://www.b.example/y" not in pages and failed == {}


def test_only_a_seed_takes_the_scope_with_it(tmp_path):
    """A page that redirects to www. is refused, and the crawl says so."""
    site = ScriptedSite({f"{A}/": html(links("/old")), f"{A}/old": redirect(f"{WWW}/new")})
    pages, failed = run(tmp_path, site.crawl(f"{A}/"))
    assert pages == {f"{A}/": 200, f"{A}/old": 301} and failed == {f"{WWW}/new": "out_of_scope"}


def test_redirects_in_a_circle_and_to_other_schemes_are_recorded(tmp_path):
    answers = {f"{A}/": html(links("/mail", "/loop")), f"{A}/mail": redirect("mailto:me@a.example")}
    answers |= {f"{A}/loop": redirect("/loop?0")} | {f"{A}/loop?{n}": redirect(f"/loop?{n + 1}") for n in range(30)}
    _, failed = run(tmp_path, ScriptedSite(answers).crawl(f"{A}/"))
    assert failed.pop("mailto:me@a.example") == "not_http"
    assert set(failed.values()) == {"redirects"}


# robots.txt

DISALLOW_ALL = b"User-agent: *\nDisallow: /\n"
SITE = {f"{A}/": html(links("/a")), f"{A}/a": html(b"<p>a")}


@pytest.mark.parametrize("answer", [(503, {}, b""), (500, HTML, b"<h1>500"), CLOSED], ids=["503", "500", "closed"])
def test_a_robots_txt_that_cannot_be_read_forbids_everything(tmp_path, answer):
    """RFC 9309, section 2.3.1.4."""
    site = ScriptedSite({**SITE, f"{A}/robots.txt": answer})
    pages, failed = run(tmp_path, site.crawl(f"{A}/"))
    assert set(site.urls) == {f"{A}/robots.txt"} and pages == {} and failed == {f"{A}/": "robots"}
    (detail,) = failures(tmp_path / "spool")["detail"]
    assert "robots.txt cannot be read" in detail


@pytest.mark.parametrize("status", [400, 401, 403, 404, 410, 451])
def test_a_robots_txt_of_4xx_allows_everything_whatever_its_body_says(tmp_path, status):
    """RFC 9309, section 2.3.1.3."""
    site = ScriptedSite({**SITE, f"{A}/robots.txt": (status, {"Content-Type": "text/plain"}, DISALLOW_ALL)})
    assert run(tmp_path, site.crawl(f"{A}/")) == ({f"{A}/": 200, f"{A}/a": 200}, {})


def test_a_redirected_robots_txt_counts_and_one_in_a_circle_does_not(tmp_path):
    """RFC 9309, section 2.3.1.2: also across hosts."""
    elsewhere = {f"{A}/robots.txt": redirect("http://b.example/r"), "http://b.example/r": (200, {}, DISALLOW_ALL)}
    _, failed = run(tmp_path / "elsewhere", ScriptedSite({**SITE, **elsewhere}).crawl(f"{A}/"))
    assert failed == {f"{A}/": "robots"}
    site = ScriptedSite(
        {**SITE, f"{A}/robots.txt": redirect(f"{A}/robots.txt?")} | {f"{A}/robots.txt?": redirect("/r")}
    )
    site.answers |= {f"{A}/r": redirect("/r2"), f"{A}/r2": redirect("/r")}
    pages, _ = run(tmp_path / "circle", site.crawl(f"{A}/"))
    assert pages[f"{A}/a"] == 200


def test_a_retried_robots_txt_and_one_behind_a_mark_are_read(tmp_path):
    """A 503 that is gone at the second try forbids nothing; a byte order mark is no part of the first line."""
    body = b"\xef\xbb\xbfUser-agent: *\nDisallow: /a\n"
    site = ScriptedSite({**SITE, f"{A}/robots.txt": lambda earlier: (200, {}, body) if earlier else (503, {}, b"")})
    pages, failed = run(tmp_path, site.crawl(f"{A}/", retries=1))
    assert pages == {f"{A}/": 200} and failed == {f"{A}/a": "robots"}


def test_rules_are_those_for_the_product_token(tmp_path):
    """RFC 9309, section 2.2.1: the words after the product name are a comment. "crawler" is a word of ours."""
    rules = b"User-agent: crawler\nDisallow: /\n\nUser-agent: LLM-Assets\nDisallow: /a\n\nUser-agent: *\nDisallow: /\n"
    site = ScriptedSite({**SITE, f"{A}/robots.txt": (200, {}, rules)})
    assert run(tmp_path, site.crawl(f"{A}/")) == ({f"{A}/": 200}, {f"{A}/a": "robots"})


def test_robots_txt_is_not_requested_where_it_is_not_obeyed(tmp_path):
    site = ScriptedSite({**SITE, f"{A}/robots.txt": (200, {}, DISALLOW_ALL)})
    pages, _ = run(tmp_path, site.crawl(f"{A}/", obey_robots=False))
    assert len(pages) == 2 and f"{A}/robots.txt" not in site.urls


# Fragments


def test_pages_are_stored_without_fragments_and_found_again(tmp_path):
    """A fragment is never sent (RFC 9110, section 4.2.5), so it must not identify the page."""
    etag = {"ETag": '"1"'}

    def page_a(earlier):
        conditional = any(url == f"{A}/a" and "If-None-Match" in headers for url, headers in site.requests)
        return (304, etag, b"") if conditional else html(b"<p>a", **etag)

    answers = {f"{A}/": html(links("/a#two", "/a", "/old#x")), f"{A}/a": page_a, f"{A}/old": redirect("/a#three")}
    site = ScriptedSite(answers)
    first = site.crawl(f"{A}/#top")
    assert first.seeds == (f"{A}/",)
    workspace = corpus_workspace(Recipe(name="t", crawls={"one": first}))
    earlier = materialize(RAW_WARC, "one", workspace).artifact
    write_earlier([earlier], str(tmp_path / "earlier.parquet"))
    site.answers[f"{A}/"] = html(links("/a", "/a#two", "/old"))
    source = first.replace(since="one")
    files = crawl(CrawlJob("test", source, tmp_path, (earlier,)), lambda pages, queued: None)
    kinds = {capture.url: capture.record_type for file in files for capture in read_captures(file)}
    kinds.pop(f"{A}/robots.txt")
    assert kinds == {f"{A}/": "response", f"{A}/a": "revisit", f"{A}/old": "revisit"} or kinds == {
        f"{A}/": "response",
        f"{A}/a": "revisit",
        f"{A}/old": "response",
    }


# Directives


@pytest.mark.parametrize(
    ("meta", "header", "followed"),
    [
        ("<meta name=robots content=none>", None, False),
        ("<meta name=ROBOTS content='NOINDEX, NoFollow'>", None, False),
        ("<meta name=robots content='noindex nofollow'>", None, False),
        ("<meta name=llm-assets content=nofollow>", None, False),
        ("<meta name=googlebot content=nofollow>", None, True),
        ("<meta name=robots content=noindex>", None, True),
        ("<meta name=description content='the nofollow attribute'>", None, True),
        ("", "nofollow", False),
        ("", "none", False),
        ("", "noindex, nofollow", False),
        ("", "otherbot: nofollow", True),
        ("", "otherbot: noindex, nofollow", True),
        ("", "LLM-assets: nofollow", False),
        ("", "otherbot: noindex, llm-assets: none", False),
        ("", "unavailable_after: 25 Jun 2010 15:00:00 PST, nofollow", False),
        ("", "max-snippet: 20", True),
    ],
)
def test_links_of_a_page_that_asks_not_to_follow_them_are_not_followed(tmp_path, meta, header, followed):
    headers = {"X_Robots_Tag": header} if header else {}
    page = b"<html><head>" + meta.encode() + b"</head><body><a href=/a>x</a></body></html>"
    site = ScriptedSite({f"{A}/": html(page, **headers), f"{A}/a": html(b"<p>a")})
    pages, _ = run(tmp_path, site.crawl(f"{A}/"))
    assert (f"{A}/a" in pages) is followed


def test_a_seed_has_its_scheme_in_lower_case():
    assert WebCrawl(seeds=("HTTP://A.example/X",)).seeds == ("http://A.example/X",)


def test_a_group_of_robots_txt_for_a_version_of_the_crawler_is_one_for_the_crawler():
    """RFC 9309, section 2.2.1: the product token counts."""
    rules = robots_parser("User-agent: LLM-assets/1.0 (+x)\r\nDisallow: /private\r\n\r\nUser-agent: *\r\nAllow: /\r\n")
    assert not rules.can_fetch(f"{A}/private", "llm-assets") and rules.can_fetch(f"{A}/x", "llm-assets")


def test_directives_and_product_tokens():
    assert header_directives("noai, otherbot: noimageai", None) == {"noai", "noimageai"}
    assert meta_directives("None; NOAI") == {"noindex", "nofollow", "noai"}
    assert product_token("llm-assets/0.1 (+x)") == "llm-assets" and product_token("1x") == "1x"


# Pauses


@pytest.mark.parametrize("status", [429, 503])
@pytest.mark.parametrize("as_date", [False, True])
def test_nothing_is_sent_to_a_host_before_the_time_of_its_retry_after(tmp_path, status, as_date):
    times = {}

    def busy(earlier):
        times.setdefault("first", time.time())
        if earlier:
            times["second"] = time.time()
            return html(b"<p>a")
        clock = time.time() - 7_200  # the site's
        dates = {"Date": formatdate(clock, usegmt=True), "Retry-After": formatdate(clock + 1, usegmt=True)}
        return status, dates if as_date else {"Retry-After": "1"}, b"busy"

    site = ScriptedSite({f"{A}/": busy})
    pages, failed = run(tmp_path, site.crawl(f"{A}/", retries=1))
    assert pages == {f"{A}/": 200} and failed == {}
    assert times["second"] - times["first"] > 0.9  # a lower bound, so load cannot break it


def test_a_pause_concerns_all_pages_of_the_host(tmp_path):
    times = {}

    def note(url, answer):
        def answered(earlier):
            times[url] = time.time()
            return answer

        return answered

    answers = {f"{A}/": html(links("/busy", "/b", "/c")), f"{A}/busy": note("busy", (429, {"Retry-After": "1"}, b""))}
    site = ScriptedSite(answers | {f"{A}/{name}": note(name, html(b"<p>")) for name in "bc"})
    pages, _ = run(tmp_path, site.crawl(f"{A}/", concurrency_per_host=1))
    assert pages[f"{A}/busy"] == 429 and min(times["b"], times["c"]) - times["busy"] > 0.9


def test_a_host_that_asks_for_too_long_a_pause_is_left_and_the_crawl_says_so(tmp_path):
    site = ScriptedSite({f"{A}/": html(links("/busy", "/x")), f"{A}/busy": (503, {"Retry-After": "86400"}, b"")})
    pages, failed = run(tmp_path, site.crawl(f"{A}/", retries=3, concurrency_per_host=1))
    assert pages == {f"{A}/": 200, f"{A}/busy": 503} and failed == {f"{A}/x": "retry_after"}
    assert site.urls.count(f"{A}/busy") == 1


@pytest.mark.parametrize("value", ["", "soon", "-5", "1.5", "Wed, 99 Nov 2026"])
def test_a_retry_after_that_says_nothing_is_passed_over(value):
    assert retry_after(value, "") is None
    assert retry_after(" 120 ", "") == 120 and retry_after("Wed, 21 Oct 2015 07:28:00 GMT", "") == 0


# Sitemaps


def urlset(*urls, tag="urlset", entry="url"):
    entries = "".join(f"<{entry}><loc>{url}</loc></{entry}>" for url in urls)
    return f'<?xml version="1.0"?><{tag} xmlns="http://www.sitemaps.org/schemas/sitemap/0.9">{entries}</{tag}>'.encode()


XML = {"Content-Type": "application/xml"}


def test_sitemaps_are_read_as_seeds_where_the_recipe_asks(tmp_path):
    answers = {
        f"{A}/": html(b"<p>no link"),
        f"{A}/sitemap.xml": (200, XML, urlset(f"{A}/a", f"{A}/a#part", "http://b.example/")),
        f"{A}/a": html(links("/b")),
        f"{A}/b": html(links("/c")),
        f"{A}/c": html(b"<p>c"),
    }
    without, _ = run(tmp_path / "without", ScriptedSite(answers).crawl(f"{A}/"))
    assert set(without) == {f"{A}/"}
    pages, failed = run(tmp_path / "with", ScriptedSite(answers).crawl(f"{A}/", sitemaps=True, max_depth=1))
    assert set(pages) == {f"{A}/", f"{A}/sitemap.xml", f"{A}/a", f"{A}/b"} and failed == {}


def test_the_sitemaps_that_robots_txt_names_replace_the_default_one(tmp_path):
    robots = f"User-agent: *\nDisallow: /shut\n\nSitemap: {A}/index.xml\nSitemap: {A}/list.txt\n".encode()
    answers = {
        f"{A}/": html(b"<p>"),
        f"{A}/robots.txt": (200, {}, robots),
        f"{A}/index.xml": (200, XML, urlset(f"{A}/one.xml.gz", tag="sitemapindex", entry="sitemap")),
        f"{A}/one.xml.gz": (200, {"Content-Type": "application/gzip"}, gzip.compress(urlset(f"{A}/a", f"{A}/shut"))),
        f"{A}/list.txt": (200, {"Content-Type": "text/plain"}, f"{A}/b\n".encode()),
        f"{A}/sitemap.xml": (200, XML, urlset(f"{A}/c")),
        **{f"{A}/{name}": html(b"<p>") for name in "abc"},
    }
    pages, failed = run(tmp_path, ScriptedSite(answers).crawl(f"{A}/", sitemaps=True))
    assert {f"{A}/a", f"{A}/b"} < set(pages) and f"{A}/c" not in pages and failed == {f"{A}/shut": "robots"}


def test_an_entry_that_is_no_url_loses_no_other_entry(tmp_path):
    # sitemaps.org asks for URLs as in RFC 3986; what a site wrote instead is its own, and concerns no other entry.
    broken = f"{A}:99999/"
    answers = {
        f"{A}/": html(b"<p>"),
        f"{A}/robots.txt": (200, {}, f"Sitemap: {broken}s.xml\nSitemap: {A}/index.xml\n".encode()),
        f"{A}/index.xml": (200, XML, urlset(f"{broken}t.xml", f"{A}/one.xml", tag="sitemapindex", entry="sitemap")),
        f"{A}/one.xml": (200, XML, urlset(f"{broken}page", f"{A}/a")),
        f"{A}/a": html(b"<p>"),
    }
    pages, failed = run(tmp_path, ScriptedSite(answers).crawl(f"{A}/", sitemaps=True))
    assert f"{A}/a" in pages and failed == {f"{broken}{name}": "other" for name in ("s.xml", "t.xml", "page")}


@pytest.mark.parametrize("body", [b"<html><body>none", b"", b"\x1f\x8b\x08broken", b"no urls", b"<urlset><url>"])
def test_an_answer_that_is_no_sitemap_is_recorded(tmp_path, body):
    site = ScriptedSite({f"{A}/": html(b"<p>"), f"{A}/sitemap.xml": (200, XML, body)})
    pages, failed = run(tmp_path, site.crawl(f"{A}/", sitemaps=True))
    assert pages[f"{A}/"] == 200
    assert failed == ({f"{A}/sitemap.xml": "not_a_sitemap"} if b"<urlset>" not in body else {})


def test_plans_carry_the_new_fields():
    source = WebCrawl(seeds=(f"{A}/",))
    assert json.loads(source.model_dump_json())["seed_redirects"] == "www" and not source.sitemaps


def test_what_is_no_url_in_a_sitemap_or_a_robots_txt_costs_nothing_else(tmp_path):
    """Scrapy raises ValueError for such a request, which would end the reading of the list."""
    robots = f"Sitemap: /relative.xml\nSitemap: {A}/list.txt\n".encode()
    answers = {
        f"{A}/": html(b"<p>"),
        f"{A}/robots.txt": (200, {}, robots),
        f"{A}/list.txt": (200, {"Content-Type": "text/plain"}, f"http://[bad/\n{A}:x/\n{A}/b\n".encode()),
        f"{A}/b": html(b"<p>"),
    }
    pages, failed = run(tmp_path, ScriptedSite(answers).crawl(f"{A}/", sitemaps=True, scope="any"))
    assert pages[f"{A}/b"] == 200
    assert failed == {"/relative.xml": "other", "http://[bad/": "other", f"{A}:x/": "other"}


def test_a_base_element_that_is_no_url_is_passed_over(tmp_path):
    """As in browsers (HTML, section 4.2.3): the links are those of the page without it."""
    answers = {f"{A}/": html(b"<base href='http://[bad'><a href='/b'>b</a>"), f"{A}/b": html(b"<p>")}
    pages, failed = run(tmp_path, ScriptedSite(answers).crawl(f"{A}/"))
    assert pages == {f"{A}/": 200, f"{A}/b": 200} and failed == {}
