"""Fuzz targets of what sites publish for crawlers: robots.txt, opt-out signals and sitemaps."""

from __future__ import annotations

import gzip
from types import SimpleNamespace

from scrapy.http import Response

from llm_assets.host_names import normal_host
from llm_assets.warc import Capture
from llm_assets.web.capture_index import split_content_type
from llm_assets.web.crawler.robots import RobotsMiddleware
from llm_assets.web.crawler.scope import in_scope
from llm_assets.web.crawler.sitemaps import read_sitemap
from llm_assets.web.opt_out_signals import content_signals, page_signals, policy_of, rule_for, tdm_rules
from llm_assets.web.robots_directives import header_directives
from llm_assets.web.urls import doc_id, host_of, registered_domain, without_fragment

from .targets import Target

_SOURCE = SimpleNamespace(user_agent="llm-assets/1.0", obey_robots=True, max_bytes=1 << 20)


def read_robots(data: bytes) -> None:
    """Any bytes are rules that judge a URL. The first line is the path, the second the status of the answer."""
    path, _, rest = data.partition(b"\n")
    status, _, body = rest.partition(b"\n")
    spider = SimpleNamespace(plan=SimpleNamespace(source=_SOURCE), crawl_delays={})
    middleware = RobotsMiddleware(SimpleNamespace(spider=spider))
    answer = Response(
        "http://a.example/robots.txt", status=int(status) if status in (b"404", b"503") else 200, body=body
    )
    rules = middleware._parse("http://a.example", answer)
    url = f"http://a.example/{path.decode('utf-8', 'replace')}"
    if rules.parser is not None:
        assert rules.parser.can_fetch(url, "llm-assets") in (True, False)
        assert all(isinstance(sitemap, str) for sitemap in rules.parser.sitemaps)
    assert all(0 <= delay <= 60 for delay in spider.crawl_delays.values())
    text = body.decode("utf-8", "replace")
    for path_rules in (content_signals(text), tdm_rules(text)):
        rule_for(path_rules, url)


def read_signals(data: bytes) -> None:
    """Any header and any page have signals that a table can hold. The first line is the header."""
    header, _, head = data.partition(b"\n")
    value = header.decode("latin-1")
    http = {"x-robots-tag": value, "tdm-reservation": value[-2:]}
    for signal in page_signals(Capture(0, 0, "response", "http://a.example/", http=http, payload_head=head)):
        assert signal.value.encode() and isinstance(signal.opts_out, bool)
    assert header_directives(value, None) >= header_directives(value, ["llm-assets"])


def read_site_map(data: bytes) -> None:
    """Any bytes are the URLs of a sitemap, or none."""
    sitemap = read_sitemap(Response("http://a.example/sitemap.xml", body=data))
    if sitemap is not None:
        assert all(url.startswith(("http://", "https://")) for url in sitemap.urls)
        "".join(sitemap.urls).encode()


def read_url(data: bytes) -> None:
    """Any text is a URL with a host, an identity and a place in or out of a scope. The first line is the type."""
    mime, _, text = data.decode("utf-8", "replace").partition("\n")
    split_content_type(mime)
    for url in (text, f"http://{text}", f"http://a.example/{text}"):
        host = host_of(url)
        assert normal_host(host) == host
        registered_domain(host).encode()
        doc_id(without_fragment(url), "sha1:X")
        policy_of(url)
        for scope in ("host", "domain", "prefix"):
            in_scope(SimpleNamespace(scope=scope, seeds=("http://a.example/b/",)), url)
            in_scope(SimpleNamespace(scope=scope, seeds=(url,)), "http://a.example/b/")


def _robots() -> list[bytes]:
    return [
        b"a/b?c\n200\nUser-agent: *\nDisallow: /a\nAllow: /a/b$\nCrawl-delay: 5\nSitemap: http://a.example/s.xml\n",
        b"x\n200\nUser-Agent: llm-assets\nUser-Agent: other\nDisallow: /*x\nContent-Signal: /x ai-train=no,search=y\n",
        b'x\n200\n[{"location": "/x*", "tdm-reservation": 1, "tdm-policy": "http://a.example/p"}]',
        b"x\n404\nDisallow: /",
        b"x\n200\n\xef\xbb\xbfuser-agent:*\nrequest-rate: 1/5\nvisit-time: 0200-0630\ncrawl-delay: 1e999\nnoindex: /",
        *ROBOTS_FINDINGS,
    ]


def _sitemaps() -> list[bytes]:
    entry = "<url><loc>http://a.example/1</loc><lastmod>2026-01-01</lastmod></url>"
    urls = f'<?xml version="1.0"?><urlset xmlns="http://www.sitemaps.org/schemas/sitemap/0.9">{entry}</urlset>'.encode()
    return [
        urls,
        b"<sitemapindex><sitemap><loc>http://a.example/s.xml</loc></sitemap></sitemapindex>",
        gzip.compress(urls, mtime=0),
        b"http://a.example/1\nhttps://a.example/2\n",
        b'<!DOCTYPE x [<!ENTITY a "b">]><urlset><url><loc>&a;</loc><xhtml:link href="x"/></url><!-- c --></urlset>',
    ]


# A pattern that takes exponential time as a regular expression, a file that is nested too deep; comments without an
# end; addresses that urllib refuses.
ROBOTS_FINDINGS = [
    b"%s\n200\nUser-agent: *\nContent-Signal: /%s ai-train=no\n" % (b"a" * 2_000, b"*a" * 40 + b"*b"),
    b"x\n200\n" + b"[" * 100_000,
]
SIGNAL_FINDINGS = [b"\nnoai" + b"<!--" * 8_000]
URL_FINDINGS = [b"\n[z:1]:", b"\n[", b"\n[v1.x"]

_WEB = ("llm_assets.web", "protego")
TARGETS = {
    "robots": Target(read_robots, _robots, _WEB, 300),
    "signals": Target(
        read_signals,
        lambda: [
            b"noai, otherbot: nofollow, unavailable_after: 25 Jun 2026\n"
            b'<!-- c --><meta name="robots" content="noai,noimageai"><meta content=1 name=\'tdm-reservation\'>',
            *SIGNAL_FINDINGS,
        ],
        ("llm_assets.web",),
        200,
    ),
    "sitemaps": Target(read_site_map, _sitemaps, ("llm_assets.web", "scrapy.utils.sitemap"), 200),
    "urls": Target(
        read_url,
        lambda: [
            b'text/html; charset="utf-8"\nuser@m\xc3\xbcnchen.example:80/a%FCb?c#d',
            b"\n[::1]:8080/x",
            b"text/html;;charset\n127.0.0.1./",
            *URL_FINDINGS,
        ],
        ("llm_assets.web.urls", "llm_assets.web.crawler.scope", "llm_assets.web.opt_out_signals"),
        300,
    ),
}
