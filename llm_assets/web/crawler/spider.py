"""The spider, Scrapy's settings for it, and the main function of a crawler process."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import scrapy
from scrapy.http import Request, Response
from scrapy.linkextractors import LinkExtractor
from twisted.python.failure import Failure

from .plan import CrawlPlan
from .scope import OutOfScope, ProxyMiddleware, PublicOnlyResolver, ScopeMiddleware, failure_reason, in_scope
from .spool import Spool
from .store import RETRIED_STATUSES, StoreMiddleware

ROBOTS_META = "//meta[translate(@name,'ROBTS','robts')='robots']/@content"


class WebSpider(scrapy.Spider):
    """Follows links in scope, breadth first; StoreMiddleware stores every answer."""

    name = "llm-assets"

    def __init__(self, plan: CrawlPlan, spool: Spool, **arguments: Any):
        super().__init__(**arguments)
        self.plan, self.spool = plan, spool
        self.links = LinkExtractor(canonicalize=False, tags=("a", "area"), strip=True)

    async def start(self) -> AsyncIterator[Request]:
        for seed in self.plan.source.seeds:
            yield Request(seed, errback=self.failed)

    def parse(self, response: Response) -> Iterator[Request]:
        """Requests for the links of a page, in page order."""
        if response.status != 200 or not isinstance(response, scrapy.http.HtmlResponse):
            return
        if any("nofollow" in content.lower() for content in response.xpath(ROBOTS_META).getall()):
            return
        for link in self.links.extract_links(response):
            if not link.nofollow and in_scope(self.plan.source, link.url):
                yield Request(link.url, errback=self.failed)

    def ignore_links(self, response: Response) -> None:
        """Follow no links of pages that nothing links to any more: they are no longer part of the site."""

    def failed(self, failure: Failure) -> None:
        """Log a URL that the crawl met and did not store."""
        error = failure.value
        url = failure.request.url  # type: ignore[attr-defined]
        if isinstance(error, OutOfScope):
            return
        self.spool.fail(url, failure_reason(error), f"{type(error).__name__}: {error}")


def settings(plan: CrawlPlan) -> dict[str, Any]:
    """Scrapy's settings for a plan."""
    source = plan.source
    # Through a proxy, names are not resolved on this machine.
    any_address = source.allow_private or source.proxy
    public_only = f"{PublicOnlyResolver.__module__}.{PublicOnlyResolver.__name__}"
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
        "RETRY_HTTP_CODES": sorted(RETRIED_STATUSES),
        "DEPTH_LIMIT": source.max_depth,
        "DEPTH_PRIORITY": 1,
        "SCHEDULER_DISK_QUEUE": "scrapy.squeues.PickleFifoDiskQueue",
        "SCHEDULER_MEMORY_QUEUE": "scrapy.squeues.FifoMemoryQueue",
        "COOKIES_ENABLED": False,
        "TELNETCONSOLE_ENABLED": False,
        "HTTPERROR_ALLOW_ALL": True,
        "METAREFRESH_ENABLED": False,
        "LOG_LEVEL": "WARNING",
        "TWISTED_DNS_RESOLVER": "scrapy.resolver.CachingThreadedResolver" if any_address else public_only,
        "DOWNLOADER_MIDDLEWARES": {
            ScopeMiddleware: 50,
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
