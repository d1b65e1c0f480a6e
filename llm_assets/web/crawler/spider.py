"""The spider, Scrapy's settings for it, and the main function of a crawler process."""

from __future__ import annotations

import json
import os
import re
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import scrapy
from scrapy.http import HtmlResponse, Request, Response
from scrapy.linkextractors import LinkExtractor
from scrapy.utils.response import get_base_url
from twisted.python.failure import Failure

from ..opt_out_signals import TDMREP_JSON
from ..robots_directives import header_directives, meta_directives, product_token
from ..urls import origin_of, without_fragment
from .plan import CrawlPlan
from .redirects import FragmentlessRedirects, RefreshDepth, refresh_target
from .robots import DEFAULT_SITEMAP, RobotsMiddleware, SitemapsElsewhere
from .scope import (
    OPTIONAL,
    SEED,
    SITEMAP,
    CrawlScope,
    ProxyMiddleware,
    PublicOnlyResolver,
    Refusal,
    ScopeMiddleware,
    failure_reason,
)
from .sitemaps import read_sitemap
from .spool import Spool
from .store import MIN_DELAY, RETRIED_STATUSES, StoreMiddleware

_BASE = re.compile(r"(?i)<base\b[^>]*+(?:>|\Z)")  # an element without an end is the rest of the page: linear time
MAX_SITEMAP_DEPTH = 3  # of sitemap indexes that name others


class WebSpider(scrapy.Spider):
    """Follows links in scope, breadth first; StoreMiddleware stores every answer.

    origins: of the pages so far. crawl_delays: of robots.txt, by host, in seconds. waiting: links (URL → depth) that
    come into scope if a seed redirects to their host; they wait for it, so that what is crawled does not depend on
    which answer came first.
    """

    name = "llm-assets"

    def __init__(self, plan: CrawlPlan, spool: Spool, **arguments: Any):
        super().__init__(**arguments)
        self.plan, self.spool = plan, spool
        self.scope = CrawlScope(plan.source)
        self.crawl_delays: dict[str, float] = {}
        self.waiting: dict[str, int] = {}
        self.origins: set[str] = set()
        self.links = LinkExtractor(canonicalize=False, tags=("a", "area"), strip=True)
        self.agent = product_token(plan.source.user_agent)

    async def start(self) -> AsyncIterator[Request]:
        for seed in self.plan.source.seeds:
            yield Request(seed, errback=self.failed, meta={SEED: seed})
        if self.plan.source.sitemaps:
            for origin in dict.fromkeys(map(origin_of, self.plan.source.seeds)):
                yield self._sitemap_request(f"{origin}/sitemap.xml", DEFAULT_SITEMAP)

    def parse(self, response: Response) -> Iterator[Request]:
        """Requests for the links of a page, in page order."""
        if response.status != 200 or not isinstance(response, HtmlResponse):
            return
        self.origins.add(origin_of(response.url))
        response = _with_readable_base(response)
        yield from self._refresh(response)
        if "nofollow" in self._directives(response):
            return
        depth = response.meta.get("depth", 0) + 1
        if depth > self.plan.source.max_depth:
            return
        for link in self.links.extract_links(response):
            url = without_fragment(link.url)
            if link.nofollow:
                continue
            if self.scope.includes(url):
                yield self._page_request(url)
            elif self.scope.may_lead_to(url):
                self.waiting[url] = min(depth, self.waiting.get(url, depth))

    def _refresh(self, response: HtmlResponse) -> Iterator[Request]:
        """The request for what a page loads in its place, which is a redirect as one with status 301 is.

        Refreshes and other redirects in a row count together, up to Scrapy's limit.
        """
        try:
            target = refresh_target(response)
            if target is None:
                return
            redirects = response.meta.get("redirect_times", 0) + 1
            if redirects > self.settings.getint("REDIRECT_MAX_TIMES"):
                detail = f"a refresh of {response.url}, the last of too many in a row"
                self.spool.fail(target, "redirects", detail)
                return
            urls = [*response.meta.get("redirect_urls", []), response.url]
            meta = {"redirect_times": redirects, "redirect_urls": urls}
            if SEED in response.meta:
                meta[SEED] = response.meta[SEED]
            yield Request(target, errback=self.failed, meta=meta)
        except ValueError as error:
            self.spool.fail(response.url, "other", f"its refresh leads to no URL: {error}")

    def _directives(self, response: Response) -> set[str]:
        """What a page asks of this crawler, in its headers and its meta elements."""
        directives: set[str] = set()
        for value in response.headers.getlist("X-Robots-Tag"):
            directives |= header_directives(value.decode("latin-1"), [self.agent])
        for meta in response.xpath("//meta[@name and @content]"):
            if meta.attrib["name"].strip().lower() in ("robots", self.agent):
                directives |= meta_directives(meta.attrib["content"])
        return directives

    def released_links(self) -> list[Request]:
        """Requests for the waiting links that have come into scope."""
        urls = sorted(url for url in self.waiting if self.scope.includes(url))
        return [Request(url, errback=self.failed, meta={"depth": self.waiting.pop(url)}) for url in urls]

    def tdm_requests(self) -> list[Request]:
        """Requests for the TDMRep policies of the origins of pages. Each is made once: the next call gives none."""
        urls = [f"{origin}{TDMREP_JSON}" for origin in sorted(self.origins)] if self.plan.source.tdm_policies else []
        self.origins.clear()
        meta = {OPTIONAL: True}
        return [Request(url, callback=self.ignore_links, errback=self.ignore_failure, meta=meta) for url in urls]

    def ignore_failure(self, failure: Failure) -> None:
        """Few sites have the file, and that one has none is no failure of the crawl."""

    def ignore_links(self, response: Response) -> None:
        """Follow no links of pages that nothing links to any more: they are no longer part of the site."""

    def request_sitemaps(self, urls: list[str]) -> None:
        """Request the sitemaps that a robots.txt names."""
        for url in urls:
            self._schedule(self._sitemap_request, without_fragment(url), "named")

    def _schedule(self, make_request: Callable[..., Request], url: str, *arguments: Any) -> None:
        """Request a URL that a site's file names. A URL that cannot be requested is a failure, and the others count."""
        try:
            request = make_request(url, *arguments)
        except ValueError as error:  # such as "Port out of range"
            self.spool.fail(url, "other", f"not a URL: {error}")
        else:
            self.crawler.engine.crawl(request)

    def _page_request(self, url: str) -> Request:
        return Request(url, errback=self.failed)

    def _sitemap_request(self, url: str, kind: str, depth: int = 0) -> Request:
        meta = {SITEMAP: kind, "sitemap_depth": depth}
        return Request(url, callback=self.parse_sitemap, errback=self.failed, meta=meta)

    def parse_sitemap(self, response: Response) -> None:
        """Request what a sitemap names. Its pages count as seeds: no link leads to them."""
        if response.status != 200:
            return
        sitemap = read_sitemap(response)
        if sitemap is None:
            self.spool.fail(response.url, "not_a_sitemap", "neither XML of sitemaps.org nor a list of URLs")
            return
        depth = response.meta["sitemap_depth"] + 1
        for url in map(without_fragment, sitemap.urls):
            if sitemap.is_index and depth <= MAX_SITEMAP_DEPTH:
                self._schedule(self._sitemap_request, url, "named", depth)
            elif not sitemap.is_index and self.scope.includes(url):
                self._schedule(self._page_request, url)

    def failed(self, failure: Failure) -> None:
        """Log a URL that the crawl met and did not store."""
        error = failure.value
        url = failure.request.url  # type: ignore[attr-defined]
        if not isinstance(error, SitemapsElsewhere):
            detail = str(error) if isinstance(error, Refusal) else f"{type(error).__name__}: {error}"
            self.spool.fail(url, failure_reason(error), detail)


def _with_readable_base(response: HtmlResponse) -> HtmlResponse:
    """A page without its base element, unless that has a URL that can be read. Browsers pass over any other."""
    try:
        get_base_url(response)
    except ValueError:
        return response.replace(body=_BASE.sub("", response.text))
    return response


def settings(plan: CrawlPlan) -> dict[str, Any]:
    """Scrapy's settings for a plan."""
    source = plan.source
    # Through a proxy, names are not resolved on this machine.
    any_address = source.allow_private or source.proxy
    public_only = f"{PublicOnlyResolver.__module__}.{PublicOnlyResolver.__name__}"
    return {
        "USER_AGENT": source.user_agent,
        "ROBOTSTXT_OBEY": False,  # RobotsMiddleware does it
        "CONCURRENT_REQUESTS": source.concurrency,
        "CONCURRENT_REQUESTS_PER_DOMAIN": source.concurrency_per_host,
        "DOWNLOAD_DELAY": max(source.delay, MIN_DELAY),
        "DOWNLOAD_TIMEOUT": source.timeout,
        "DOWNLOAD_MAXSIZE": source.max_bytes,
        "DOWNLOAD_WARNSIZE": 0,
        "DOWNLOAD_FAIL_ON_DATALOSS": True,
        "RETRY_TIMES": source.retries,
        "RETRY_HTTP_CODES": sorted(RETRIED_STATUSES),
        "DEPTH_LIMIT": 0,  # none, and it has no way to follow no links; `parse` has its own
        "DEPTH_PRIORITY": 1,
        "SCHEDULER_DISK_QUEUE": "scrapy.squeues.PickleFifoDiskQueue",
        "SCHEDULER_MEMORY_QUEUE": "scrapy.squeues.FifoMemoryQueue",
        "COOKIES_ENABLED": False,
        "TELNETCONSOLE_ENABLED": False,
        "HTTPERROR_ALLOW_ALL": True,
        "METAREFRESH_ENABLED": False,
        "LOG_LEVEL": "WARNING",
        "TWISTED_DNS_RESOLVER": "scrapy.resolver.CachingThreadedResolver" if any_address else public_only,
        "SPIDER_MIDDLEWARES": {"scrapy.spidermiddlewares.depth.DepthMiddleware": None, RefreshDepth: 900},
        "DOWNLOADER_MIDDLEWARES": {
            ScopeMiddleware: 50,
            RobotsMiddleware: 100,
            "scrapy.downloadermiddlewares.redirect.RedirectMiddleware": None,
            FragmentlessRedirects: 600,
            ProxyMiddleware: 760,
            StoreMiddleware: 950,
            "scrapy.downloadermiddlewares.offsite.OffsiteMiddleware": None,
        },
    }


def main(plan_path: str) -> int:
    """Run the crawl of a plan to its end, and exit when the parent process does; returns the exit status."""
    from scrapy.crawler import CrawlerProcess

    def exit_with_parent() -> None:
        while os.read(0, 1):  # ends when the parent's end of our stdin closes
            pass
        os._exit(3)

    threading.Thread(target=exit_with_parent, daemon=True).start()
    plan = CrawlPlan.model_validate_json(Path(plan_path).read_text())
    spool = Spool(Path(plan.spool))
    process = CrawlerProcess(settings(plan))
    crawler = process.create_crawler(WebSpider)
    process.crawl(crawler, plan=plan, spool=spool)
    process.start()
    spool.close()
    reason = crawler.stats.get_value("finish_reason") if crawler.stats else None
    print(json.dumps({"pages": len(spool.stored), "queued": 0, "finished": reason}), flush=True)
    return 0 if reason == "finished" else 1
