"""The middleware that stores every answer in the spool, makes requests conditional, and keeps the page limits."""

from __future__ import annotations

import itertools
import json
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from scrapy import signals
from scrapy.exceptions import DontCloseSpider
from scrapy.http import Request, Response
from scrapy.http.headers import Headers
from scrapy.responsetypes import responsetypes
from scrapy.utils.python import to_unicode
from twisted.python.failure import Failure

from llm_assets.warc import Capture, read_capture_at, sha1_digest

from ..opt_out_signals import policy_of
from ..retry_after import retry_after
from ..urls import host_of
from .exchange import REVISIT_NOT_MODIFIED, REVISIT_SAME_DIGEST, Exchange, Revisit, warc_date
from .plan import CrawlPlan, EarlierCapture, read_earlier
from .scope import OPTIONAL, LimitReached, Refusal
from .spool import Spool

if TYPE_CHECKING:
    from .spider import WebSpider

PAUSE_STATUSES = {429, 503}  # those with which Retry-After names when to come back
# Seconds. Without any delay, Scrapy's downloader sends all that waits for a host at once, whatever its limit, and does
# not wait for `lastseen`.
MIN_DELAY = 0.001
RETRIED_STATUSES = {429, 500, 502, 503, 504, 522, 524, 408}
PROGRESS_SECONDS = 1.0
EARLIER_BATCH = 1_000  # pages of earlier crawls that wait in memory at a time
IN_FLIGHT = "in_flight"  # in the meta of a request that has been sent and not answered
FROM_SPOOL = "spool"  # flag of a response that did not come from the network
REASON_PHRASES = {
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


class StoreMiddleware:
    """The middleware nearest to the network: it sees exactly what is sent and received.

    earlier: captures of the crawls that this one continues, by URL. in_flight: unanswered requests by host. closed:
    hosts that asked for a longer pause than the crawl waits, with the reason.
    """

    def __init__(self, crawler: Any):
        self.crawler = crawler
        self.plan: CrawlPlan = crawler.spider.plan
        self.source = self.plan.source
        self.spool: Spool = crawler.spider.spool
        self.earlier = read_earlier(self.plan.earlier)
        self.in_flight: dict[str, int] = {}
        self.closed: dict[str, str] = {}
        self.earlier_pages = iter(sorted(url for url in self.earlier if _is_page(url)))
        self.last_report = 0.0

    @classmethod
    def from_crawler(cls, crawler: Any) -> StoreMiddleware:
        middleware = cls(crawler)
        crawler.signals.connect(middleware.heed_retry_after, signal=signals.response_downloaded)
        crawler.signals.connect(middleware.continue_when_idle, signal=signals.spider_idle)
        return middleware

    def continue_when_idle(self, spider: WebSpider) -> None:
        """Once all links are followed, request what waits.

        These are links that came into scope, then pages of earlier crawls, and then the TDMRep policies of sites.

        The earlier pages are those that no link led to; this shows whether such a page still exists (304, 200) or is
        gone (404). Scrapy's duplicate filter drops what this crawl has already requested.
        """
        batch = spider.released_links()
        if not batch:
            urls = (url for url in self.earlier_pages if spider.scope.includes(url))
            batch = [
                Request(url, callback=spider.ignore_links, errback=spider.failed)
                for url in itertools.islice(urls, EARLIER_BATCH)
            ]
        if not batch:
            batch = spider.tdm_requests()
        for request in batch:
            self.crawler.engine.crawl(request)
        if batch:
            raise DontCloseSpider

    def process_request(self, request: Request) -> Response | None:
        """Answer from the spool what an interrupted run stored; make other requests conditional."""
        url = request.url
        host = host_of(url)
        if url in self.spool.stored:
            return self._stored_response(request)
        if host in self.closed:
            raise Refusal(self.closed[host], "retry_after")
        if not (request.meta.get("dont_obey_robotstxt") or request.meta.get(OPTIONAL)):  # the former for robots.txt
            self._check_limits(host)
        earlier = self.earlier.get(url)
        if earlier is not None:
            if earlier.etag:
                request.headers["If-None-Match"] = earlier.etag
            if earlier.last_modified:
                request.headers["If-Modified-Since"] = earlier.last_modified
        delays = self.crawler.spider.crawl_delays
        if host in delays:
            self._slow_down(request, delays[host])
        self.in_flight[host] = self.in_flight.get(host, 0) + 1
        request.meta[IN_FLIGHT] = True
        return None

    def _check_limits(self, host: str) -> None:
        if len(self.spool.stored) + sum(self.in_flight.values()) >= self.source.max_pages:
            raise LimitReached(f"{self.source.max_pages} pages", "page_limit")
        if self.spool.by_host.get(host, 0) + self.in_flight.get(host, 0) >= self.source.max_pages_per_host:
            raise LimitReached(f"{self.source.max_pages_per_host} pages of {host}", "host_limit")

    def _slow_down(self, request: Request, delay: float) -> None:
        downloader = self.crawler.engine.downloader
        slot = downloader.slots.get(downloader.get_slot_key(request))
        if slot is not None and slot.delay < delay:
            slot.delay = delay
            slot.jitter = 0.0

    def heed_retry_after(self, response: Response, request: Request) -> None:
        """Send nothing to a host before the time that its answer names (RFC 9110, section 10.2.3).

        Scrapy calls this before it sends the next request to the host; the middlewares see the answer too late.
        """
        value, date = (response.headers.get(name, b"").decode("latin-1") for name in ("Retry-After", "Date"))
        seconds = retry_after(value, date)
        downloader = self.crawler.engine.downloader
        slot = downloader.slots.get(downloader.get_slot_key(request))
        if response.status not in PAUSE_STATUSES or seconds is None or slot is None:
            return
        if seconds <= self.source.max_retry_after:
            slot.lastseen = max(slot.lastseen, time.monotonic() + seconds)
            return
        host = host_of(request.url)
        self.closed[host] = f"{host} asked for a pause of {seconds:,.0f} s"
        while slot.queue:
            _, waiting = slot.queue.popleft()
            waiting.errback(Failure(Refusal(self.closed[host], "retry_after")))

    def _answered(self, request: Request) -> None:
        if request.meta.pop(IN_FLIGHT, False):
            self.in_flight[host_of(request.url)] -= 1

    def process_exception(self, request: Request, exception: Exception) -> None:
        self._answered(request)

    def process_response(self, request: Request, response: Response) -> Response:
        """Store an answer; where the page has not changed, respond with the page of the earlier crawl."""
        if FROM_SPOOL in response.flags:
            return response
        self._answered(request)
        if (
            response.status in RETRIED_STATUSES
            and host_of(request.url) not in self.closed
            and request.meta.get("retry_times", 0) < self.source.retries
        ):
            return response  # the retry middleware requests it again; only the last answer is stored
        earlier = self.earlier.get(request.url)
        if response.status == 304 and earlier is None:
            self.spool.fail(request.url, "unexpected_304", "304 without a conditional request")
            return response
        if request.meta.get(OPTIONAL) and response.status not in (200, 304):
            return response
        self.spool.add(request.url, self._exchange(request, response, earlier).members())
        self._report_progress()
        if response.status == 304 and earlier is not None:
            return self._from_capture(request, read_capture_at(Path(earlier.warc), earlier.offset))
        return response

    def _exchange(self, request: Request, response: Response, earlier: EarlierCapture | None) -> Exchange:
        not_modified = response.status == 304 and earlier is not None
        digest = earlier.digest if not_modified else sha1_digest(response.body)
        revisit = None
        if not_modified:
            revisit = Revisit(request.url, earlier.fetched_at, REVISIT_NOT_MODIFIED)
        elif earlier is not None and response.status == 200 and digest == earlier.digest:
            revisit = Revisit(request.url, earlier.fetched_at, REVISIT_SAME_DIGEST)
        host, _, path = request.url.partition("://")[2].partition("/")
        request_headers = [item for item in _decoded(request.headers) if item[0].lower() != "proxy-authorization"]
        reason_phrase = REASON_PHRASES.get(response.status, "")
        return Exchange(
            request.url,
            warc_date(self.source.clock),
            request_line=f"{request.method} /{path} HTTP/1.1",
            request_headers=[("Host", host), *request_headers],
            status_line=f"{response.protocol or 'HTTP/1.1'} {response.status} {reason_phrase}".rstrip(),
            headers=_decoded(response.headers),
            body=response.body,
            digest=digest,
            revisit=revisit,
            ip_address=str(response.ip_address) if response.ip_address and not self.source.proxy else None,
        )

    def _stored_response(self, request: Request) -> Response:
        """The answer to a request that an interrupted run of this crawl already stored."""
        capture = self.spool.read(request.url)
        earlier = self.earlier.get(request.url)
        if capture.record_type == "revisit" and earlier is not None:
            capture = read_capture_at(Path(earlier.warc), earlier.offset) or capture
        return self._from_capture(request, capture)

    def _from_capture(self, request: Request, capture: Capture | None) -> Response:
        assert capture is not None
        stored_headers = capture.http or {}
        headers = Headers({name: value for name, value in stored_headers.items() if name != "transfer-encoding"})
        body = capture.payload or b""
        response_type = responsetypes.from_args(headers=headers, url=request.url, body=body)
        status = capture.status or 200
        return response_type(
            request.url, status=status, headers=headers, body=body, request=request, flags=[FROM_SPOOL]
        )

    def _report_progress(self) -> None:
        if time.monotonic() - self.last_report > PROGRESS_SECONDS:
            self.last_report = time.monotonic()
            stats = self.crawler.stats
            queued = stats.get_value("scheduler/enqueued", 0) - stats.get_value("scheduler/dequeued", 0)
            print(json.dumps({"pages": len(self.spool.stored), "queued": queued}), flush=True)


def _decoded(headers: Headers) -> list[tuple[str, str]]:
    """Headers as text, in order, with one item for each value."""
    return [
        (to_unicode(name, "latin-1"), to_unicode(value, "latin-1"))
        for name, values in headers.items()
        for value in values
    ]


def _is_page(url: str) -> bool:
    """Whether a stored URL is a page; the policies of a site are requested with its pages anyway."""
    return policy_of(url) is None
