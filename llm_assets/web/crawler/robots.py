"""Obeys robots.txt, by RFC 9309 also where it cannot be read, and finds the sitemaps that it names."""

from __future__ import annotations

import asyncio
import re
from dataclasses import dataclass
from typing import Any

from protego import Protego
from scrapy.exceptions import IgnoreRequest
from scrapy.http import Request, Response
from scrapy.http.request import NO_CALLBACK

from ..robots_directives import product_token
from ..urls import host_of, origin_of
from .scope import SITEMAP, Refusal, failure_reason

MAX_CRAWL_DELAY = 60.0  # seconds; a robots.txt that demands more would stall the crawl
# RFC 9309, section 2.5, asks for at least 500 KiB.
_ROBOTS_BYTES = 8 << 20
_PRIORITY = 1_000  # before all pages
# Failures that concern the whole host, so that they say more than that its robots.txt cannot be read.
_HOST_FAILURES = {"dns", "private_address", "opted_out", "retry_after"}
_VERSIONED_GROUP = re.compile(r"(?im)^([ \t]*+user-agent[ \t]*+:[ \t]*+[a-z_-]++)/[^\r\n#]*+")
DEFAULT_SITEMAP = "default"  # value of SITEMAP: /sitemap.xml, which robots.txt may replace by others


class ForbiddenByRobots(Refusal):
    """robots.txt forbids the URL, or cannot be read."""

    reason = "robots"


class SitemapsElsewhere(IgnoreRequest):
    """robots.txt names the host's sitemaps, so that the default one is not requested."""


@dataclass(frozen=True)
class RobotRules:
    """The rules of a host. parser: None where anything is allowed. refusal: why nothing is."""

    parser: Protego | None = None
    refusal: Refusal | None = None


class RobotsMiddleware:
    """Requests robots.txt before the first page of each origin, and refuses what it forbids.

    Scrapy's own middleware reads the rules in any answer, so that it takes an error page for rules and allows all where
    the host is down. Here, as RFC 9309, section 2.3.1 demands, a status of 4xx means that there are no rules, and 5xx
    or no answer that nothing may be requested.
    """

    def __init__(self, crawler: Any):
        self.crawler = crawler
        self.source = crawler.spider.plan.source
        self.user_agent = product_token(self.source.user_agent)
        self.rules: dict[str, RobotRules] = {}
        self.locks: dict[str, asyncio.Lock] = {}

    @classmethod
    def from_crawler(cls, crawler: Any) -> RobotsMiddleware:
        return cls(crawler)

    async def process_request(self, request: Request) -> None:
        if request.meta.get("dont_obey_robotstxt"):
            return
        is_default_sitemap = request.meta.get(SITEMAP) == DEFAULT_SITEMAP
        if not self.source.obey_robots and not is_default_sitemap:
            return
        rules = await self._rules_of(request.url)
        if self.source.obey_robots:
            if rules.refusal is not None:
                raise Refusal(str(rules.refusal), rules.refusal.reason)
            if rules.parser is not None and not rules.parser.can_fetch(request.url, self.user_agent):
                raise ForbiddenByRobots("forbidden by robots.txt")
        if is_default_sitemap and rules.parser is not None and (sitemaps := list(rules.parser.sitemaps)):
            self.crawler.spider.request_sitemaps(sitemaps)
            raise SitemapsElsewhere(request.url)

    async def _rules_of(self, url: str) -> RobotRules:
        origin = origin_of(url)
        async with self.locks.setdefault(origin, asyncio.Lock()):
            if origin not in self.rules:
                self.rules[origin] = await self._fetch(origin)
        return self.rules[origin]

    async def _fetch(self, origin: str) -> RobotRules:
        meta = {"dont_obey_robotstxt": True, "download_maxsize": max(_ROBOTS_BYTES, self.source.max_bytes)}
        request = Request(f"{origin}/robots.txt", priority=_PRIORITY, callback=NO_CALLBACK, meta=meta)
        try:
            response = await self.crawler.engine.download_async(request)
        except Exception as error:
            reason = failure_reason(error)
            if reason == "redirects":
                return RobotRules()  # section 2.3.1.2: after five redirects it may be taken as unavailable
            if reason in _HOST_FAILURES or "Refused" in type(error).__name__:
                return RobotRules(refusal=Refusal(f"{type(error).__name__}: {error}", reason))
            cause = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
            return RobotRules(refusal=ForbiddenByRobots(f"robots.txt cannot be read ({cause})"))
        return self._parse(origin, response)

    def _parse(self, origin: str, response: Response) -> RobotRules:
        if response.status >= 500:
            return RobotRules(refusal=ForbiddenByRobots(f"robots.txt cannot be read (status {response.status})"))
        if not 200 <= response.status < 300:
            return RobotRules()
        parser = robots_parser(response.body.decode("utf-8-sig", "ignore"))
        delay = parser.crawl_delay(self.user_agent)
        if delay and self.source.obey_robots:
            self.crawler.spider.crawl_delays[host_of(origin)] = min(float(delay), MAX_CRAWL_DELAY)
        return RobotRules(parser)


def robots_parser(text: str) -> Protego:
    """The rules of a robots.txt. A group for ``name/1.0`` is one for ``name``: Protego compares the whole value, RFC
    9309, section 2.2.1, the product token."""
    return Protego.parse(_VERSIONED_GROUP.sub(r"\1", text))
