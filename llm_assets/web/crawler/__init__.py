"""The crawler: Scrapy in a process of its own, writing WARC 1.1.

Scrapy and not a peer: it is the best-kept crawler on PyPI that brings politeness, retries, redirects, robots.txt and
proxies as separate, replaceable parts; brozzler and browsertrix drive a browser (ten times the cost a page, nothing
gained for text), and plain httpx would mean writing the scheduler ourselves. Twisted's reactor cannot be restarted,
so a crawl runs as ``python -m llm_assets.web.crawler <plan.json>`` and can be killed at any moment.
"""

from .launch import crawl
from .plan import CrawlPlan

__all__ = ["CrawlPlan", "crawl"]
