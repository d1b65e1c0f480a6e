"""The crawler: Scrapy in a separate process, writing WARC 1.1.

Why Scrapy: of the maintained crawlers on PyPI, it has politeness, retries, redirects, robots.txt and proxies as
separate, replaceable parts. brozzler and browsertrix drive a browser, at ten times the cost per page and with no gain
for text; with plain httpx we would have to write the scheduler. Twisted's reactor cannot be restarted, so each crawl
runs as ``python -m llm_assets.web.crawler <plan.json>`` and can be killed at any moment.
"""

from .launch import CrawlJob, crawl
from .plan import CrawlPlan

__all__ = ["CrawlJob", "CrawlPlan", "crawl"]
