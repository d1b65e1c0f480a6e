"""The spider and its middlewares: scope, limits, private addresses, opt-outs, conditional requests, the spool."""

from __future__ import annotations

import itertools
import json
import os
import threading
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import scrapy
from scrapy import signals
from scrapy.exceptions import DontCloseSpider, IgnoreRequest
from scrapy.http import Request, Response
from scrapy.linkextractors import LinkExtractor
from scrapy.resolver import CachingThreadedResolver
from scrapy.responsetypes import responsetypes
from scrapy.utils.python import to_unicode
from twisted.internet.error import DNSLookupError, TCPTimedOutError, TimeoutError
from twisted.python.failure import Failure

from llm_assets.recipes import WebCrawl
from llm_assets.warc import Capture, read_capture_at, sha1_digest

from ..opt_out import OptOutRules
from ..urls import host_of, is_private_address, is_private_host, registered_domain
from .plan import CrawlPlan, read_earlier
from .spool import REVISIT_NOT_MODIFIED, REVISIT_SAME_DIGEST, Spool, exchange, warc_date

MAX_CRAWL_DELAY = 60.0  # seconds; a robots.txt that asks for more would stall the crawl
RETRIED = {429, 500, 502, 503, 504, 522, 524, 408}
PROGRESS_SECONDS = 1.0
KNOWN_BATCH = 1_000  # pages of earlier crawls that wait in memory at a time


class PrivateAddress(IgnoreRequest):
    """A host on this machine or in its network."""


class OptedOut(IgnoreRequest):
    """A URL that the user's opt-out list names."""


class LimitReached(IgnoreRequest):
    """A page limit of the source."""

    def __init__(self, reason: str, detail: str):
        super().__init__(detail)
        self.reason = reason


class OutOfScope(IgnoreRequest):
    """A redirect that leaves the crawl's scope."""


class PublicOnlyResolver(CachingThreadedResolver):
    """Refuses names that resolve to private addresses, at the look-up that the connection is made with."""

    def getHostByName(self, name: str, timeout: Any = ()) -> Any:
        def check(address: str) -> str:
            if is_private_address(address):
                raise PrivateAddress(f"{name} resolves to the private address {address}")
            return address

        return super().getHostByName(name, timeout).addCallback(check)


class ScopeMiddleware:
    """Farthest from the network: what is out of bounds costs no request, not even one for its robots.txt."""

    def __init__(self, plan: CrawlPlan):
        self.source = plan.source
        self.opt_out = OptOutRules(plan.opt_out)

    @classmethod
    def from_crawler(cls, crawler: Any) -> ScopeMiddleware:
        return cls(crawler.spider.plan)

    def process_request(self, request: Request) -> None:
        host = host_of(request.url)
        if not request.url.startswith(("http://", "https://")):
            raise IgnoreRequest("not http")
        if not request.meta.get("dont_obey_robotstxt") and not in_scope(self.source, request.url):
            raise OutOfScope(request.url)
        rule = self.opt_out.rule_for(request.url)
        if rule is not None:
            raise OptedOut(f"the opt-out list names {rule}")
        if not self.source.allow_private and is_private_host(host):
            raise PrivateAddress(f"{host} is a private address")


class StoreMiddleware:
    """Nearest to the network: what passes here is what was really sent and received."""

    def __init__(self, crawler: Any):
        self.crawler = crawler
        self.plan: CrawlPlan = crawler.spider.plan
        self.source = self.plan.source
        self.spool: Spool = crawler.spider.spool
        self.earlier = read_earlier(self.plan.earlier)
        self.in_flight: dict[str, int] = {}
        self.delays: dict[str, float] = {}
        self.known_pages = iter(sorted(url for url in self.earlier if _is_page(url) and in_scope(self.source, url)))
        self.told = 0.0

    @classmethod
    def from_crawler(cls, crawler: Any) -> StoreMiddleware:
        middleware = cls(crawler)
        crawler.signals.connect(middleware.robots_parsed, signal=signals.robots_parsed)
        crawler.signals.connect(middleware.ask_for_known_pages, signal=signals.spider_idle)
        return middleware

    def ask_for_known_pages(self, spider: WebSpider) -> None:
        """When every link is followed: ask for the pages of earlier crawls that no link led to.

        So a page that is no longer linked is found to be served still (304, 200) or gone (404). Scrapy's filter of
        duplicates drops what this crawl has asked for already.
        """
        batch = list(itertools.islice(self.known_pages, KNOWN_BATCH))
        for url in batch:
            self.crawler.engine.crawl(Request(url, callback=spider.leave_links, errback=spider.failed))
        if batch:
            raise DontCloseSpider

    def robots_parsed(self, robotparser: Any, request: Request) -> None:
        delay = robotparser.crawl_delay(self.source.user_agent)
        if delay:
            self.delays[host_of(request.url)] = min(float(delay), MAX_CRAWL_DELAY)

    def process_request(self, request: Request) -> Response | None:
        url = request.url
        host = host_of(url)
        robots = bool(request.meta.get("dont_obey_robotstxt"))
        if url in self.spool.stored:
            return self._stored(request)
        if not robots:
            flying = sum(self.in_flight.values())
            if len(self.spool.stored) + flying >= self.source.max_pages:
                raise LimitReached("page_limit", f"{self.source.max_pages} pages")
            if self.spool.by_host.get(host, 0) + self.in_flight.get(host, 0) >= self.source.max_pages_per_host:
                raise LimitReached("host_limit", f"{self.source.max_pages_per_host} pages of {host}")
        known = self.earlier.get(url)
        if known is not None:
            if known.etag:
                request.headers["If-None-Match"] = known.etag
            if known.last_modified:
                request.headers["If-Modified-Since"] = known.last_modified
        if host in self.delays:
            slot = self.crawler.engine.downloader.slots.get(self.crawler.engine.downloader.get_slot_key(request))
            if slot is not None and slot.delay < self.delays[host]:
                slot.delay = self.delays[host]
                slot.jitter = 0.0
        self.in_flight[host] = self.in_flight.get(host, 0) + 1
        return None

    def _landed(self, request: Request) -> None:
        host = host_of(request.url)
        self.in_flight[host] = max(0, self.in_flight.get(host, 0) - 1)

    def process_exception(self, request: Request, exception: Exception) -> None:
        if not isinstance(exception, IgnoreRequest):
            self._landed(request)

    def process_response(self, request: Request, response: Response) -> Response:
        if "spool" in response.flags:
            return response
        self._landed(request)
        if response.status in RETRIED and request.meta.get("retry_times", 0) < self.source.retries:
            return response  # the retry middleware asks again; only the last answer is stored
        known = self.earlier.get(request.url)
        if response.status == 304 and known is None:
            self.spool.fail(request.url, "unexpected_304", "304 without a conditional request")
            return response
        digest = known.digest if response.status == 304 and known else sha1_digest(response.body)
        revisit = known is not None and (response.status == 304 or (response.status == 200 and digest == known.digest))
        headers = [
            (to_unicode(name, "latin-1"), to_unicode(value, "latin-1"))
            for name, values in response.headers.items()
            for value in values
        ]
        protocol = response.protocol or "HTTP/1.1"
        status_line = f"{protocol} {response.status} {REASONS.get(response.status, '')}".rstrip()
        members = exchange(
            request.url,
            warc_date(self.source.clock),
            self._request_head(request),
            status_line,
            headers,
            response.body,
            digest,
            refers_to=(request.url, known.fetched_at) if revisit and known else None,
            profile=REVISIT_NOT_MODIFIED if response.status == 304 else REVISIT_SAME_DIGEST,
            ip_address=str(response.ip_address) if response.ip_address and not self.source.proxy else None,
        )
        self.spool.add(request.url, members)
        self._tell()
        if response.status == 304 and known is not None:
            return self._from_capture(request, read_capture_at(Path(known.warc), known.offset))
        return response

    def _request_head(self, request: Request) -> tuple[str, list[tuple[str, str]]]:
        parts = request.url.split("/", 3)
        headers = [
            (to_unicode(n, "latin-1"), to_unicode(v, "latin-1"))
            for n, vs in request.headers.items()
            for v in vs
            if n.lower() != b"proxy-authorization"
        ]
        return f"{request.method} /{parts[3] if len(parts) > 3 else ''} HTTP/1.1", [("Host", parts[2]), *headers]

    def _stored(self, request: Request) -> Response:
        """The answer to a request that an interrupted run of this crawl has stored already."""
        capture = self.spool.read(request.url)
        known = self.earlier.get(request.url)
        if capture.record_type == "revisit" and known is not None:
            capture = read_capture_at(Path(known.warc), known.offset) or capture
        return self._from_capture(request, capture)

    def _from_capture(self, request: Request, capture: Capture | None) -> Response:
        assert capture is not None
        headers = scrapy.http.headers.Headers(
            {k: v for k, v in (capture.http or {}).items() if k != "transfer-encoding"}
        )
        body = capture.payload or b""
        kind = responsetypes.from_args(headers=headers, url=request.url, body=body)
        return kind(
            request.url, status=capture.status or 200, headers=headers, body=body, request=request, flags=["spool"]
        )

    def _tell(self, force: bool = False) -> None:
        if force or time.monotonic() - self.told > PROGRESS_SECONDS:
            self.told = time.monotonic()
            stats = self.crawler.stats
            queued = stats.get_value("scheduler/enqueued", 0) - stats.get_value("scheduler/dequeued", 0)
            print(json.dumps({"pages": len(self.spool.stored), "queued": queued}), flush=True)


def _is_page(url: str) -> bool:
    """Whether a stored URL was asked for as a page: robots.txt comes with the first page of its host."""
    return url.partition("://")[2].partition("/")[2] != "robots.txt"


def in_scope(source: WebCrawl, url: str) -> bool:
    """Whether a link is followed, by the source's scope."""
    if source.scope == "any":
        return True
    host = host_of(url)
    for seed in source.seeds:
        if source.scope == "host" and host == host_of(seed):
            return True
        if source.scope == "domain" and registered_domain(host) == registered_domain(host_of(seed)):
            return True
        if source.scope == "prefix" and url.partition("://")[2].startswith(_folder(seed)):
            return True
    return False


def _folder(seed: str) -> str:
    """``host/a/`` for ``http://host/a/b.html``."""
    host, _, path = seed.partition("://")[2].partition("/")
    return f"{host}/{path.rpartition('/')[0]}/".replace("//", "/")


class WebSpider(scrapy.Spider):
    """Follows links in scope, breadth first, and stores every answer (through StoreMiddleware)."""

    name = "llm-assets"

    def __init__(self, plan: CrawlPlan, spool: Spool, **arguments: Any):
        super().__init__(**arguments)
        self.plan, self.spool = plan, spool
        self.links = LinkExtractor(canonicalize=False, tags=("a", "area"), strip=True)

    async def start(self) -> AsyncIterator[Request]:
        for seed in self.plan.source.seeds:
            yield Request(seed, errback=self.failed)

    def parse(self, response: Response) -> Iterator[Request]:
        """Links of a page, in page order."""
        if response.status != 200 or not isinstance(response, scrapy.http.HtmlResponse):
            return
        if any(
            "nofollow" in value.lower()
            for value in response.xpath("//meta[translate(@name,'ROBTS','robts')='robots']/@content").getall()
        ):
            return
        for link in self.links.extract_links(response):
            if not link.nofollow and in_scope(self.plan.source, link.url):
                yield Request(link.url, errback=self.failed)

    def leave_links(self, response: Response) -> None:
        """Of a page that no link leads to, the links are no part of the site as it is now: none is followed."""

    def failed(self, failure: Failure) -> None:
        """Log a URL that was met and not stored."""
        error = failure.value
        url = failure.request.url  # type: ignore[attr-defined]
        if isinstance(error, OutOfScope):
            return
        self.spool.fail(url, failure_reason(error), f"{type(error).__name__}: {error}")


def failure_reason(error: BaseException) -> str:
    """The word for a download error, of CrawlFailures.reason."""
    if isinstance(error, LimitReached):
        return error.reason
    if isinstance(error, OptedOut):
        return "opted_out"
    if isinstance(error, PrivateAddress) or "private address" in str(error):
        return "private_address"
    if isinstance(error, IgnoreRequest):
        return "robots" if "robots" in str(error) else "not_http"
    name = type(error).__name__
    if "Cancelled" in name or "maxsize" in str(error).lower():
        return "too_large"
    if isinstance(error, (TimeoutError, TCPTimedOutError)) or "Timeout" in name:
        return "timeout"
    if isinstance(error, DNSLookupError) or "Resolve" in name or "DNS" in name:
        return "dns"
    if "Connect" in name or "Response" in name or "Download" in name:
        return "connection"
    return "other"


REASONS = {
    200: "OK",
    201: "Created",
    204: "No Content",
    301: "Moved Permanently",
    302: "Found",
    303: "See Other",
    304: "Not Modified",
    307: "Temporary Redirect",
    308: "Permanent Redirect",
    400: "Bad Request",
    401: "Unauthorized",
    403: "Forbidden",
    404: "Not Found",
    410: "Gone",
    429: "Too Many Requests",
    500: "Internal Server Error",
    502: "Bad Gateway",
    503: "Service Unavailable",
}


def settings(plan: CrawlPlan) -> dict[str, Any]:
    """Scrapy's settings for a plan."""
    source = plan.source
    return {
        "USER_AGENT": source.user_agent,
        "ROBOTSTXT_OBEY": source.obey_robots,
        "ROBOTSTXT_USER_AGENT": source.user_agent,
        "CONCURRENT_REQUESTS": source.concurrency,
        "CONCURRENT_REQUESTS_PER_DOMAIN": source.concurrency_per_host,
        "DOWNLOAD_DELAY": source.delay,
        "DOWNLOAD_TIMEOUT": source.timeout,
        "DOWNLOAD_MAXSIZE": source.max_bytes,
        "DOWNLOAD_WARNSIZE": 0,
        "DOWNLOAD_FAIL_ON_DATALOSS": True,
        "RETRY_TIMES": source.retries,
        "RETRY_HTTP_CODES": sorted(RETRIED),
        "DEPTH_LIMIT": source.max_depth,
        "DEPTH_PRIORITY": 1,
        "SCHEDULER_DISK_QUEUE": "scrapy.squeues.PickleFifoDiskQueue",
        "SCHEDULER_MEMORY_QUEUE": "scrapy.squeues.FifoMemoryQueue",
        "COOKIES_ENABLED": False,
        "TELNETCONSOLE_ENABLED": False,
        "HTTPERROR_ALLOW_ALL": True,
        "METAREFRESH_ENABLED": False,
        "LOG_LEVEL": "WARNING",
        "TWISTED_DNS_RESOLVER": "scrapy.resolver.CachingThreadedResolver"
        if source.allow_private or source.proxy
        else f"{__name__}.PublicOnlyResolver",
        "DOWNLOADER_MIDDLEWARES": {
            ScopeMiddleware: 50,
            ProxyMiddleware: 760,
            StoreMiddleware: 950,
            "scrapy.downloadermiddlewares.offsite.OffsiteMiddleware": None,
        },
    }


class ProxyMiddleware:
    """Sends every request through the source's proxy, and none through one from the environment."""

    def __init__(self, proxy: str | None):
        self.proxy = proxy

    @classmethod
    def from_crawler(cls, crawler: Any) -> ProxyMiddleware:
        return cls(crawler.spider.plan.source.proxy)

    def process_request(self, request: Request) -> None:
        if self.proxy is None:
            request.meta.pop("proxy", None)
        else:
            request.meta["proxy"] = self.proxy


def main(path: str) -> int:
    """Run the crawl of a plan to its end; leave when the parent process does (its end of our stdin closes)."""
    from scrapy.crawler import CrawlerProcess

    def leave_with_parent() -> None:
        while os.read(0, 1):
            pass
        os._exit(3)

    threading.Thread(target=leave_with_parent, daemon=True).start()
    plan = CrawlPlan.model_validate_json(Path(path).read_text())
    spool = Spool(Path(plan.spool))
    process = CrawlerProcess(settings(plan))
    crawler = process.create_crawler(WebSpider)
    process.crawl(crawler, plan=plan, spool=spool)
    process.start()
    spool.close()
    reason = crawler.stats.get_value("finish_reason") if crawler.stats else None
    print(json.dumps({"pages": len(spool.stored), "queued": 0, "finished": reason}), flush=True)
    return 0 if reason == "finished" else 1
