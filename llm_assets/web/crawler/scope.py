"""What a crawl may request: scope, private addresses, opt-outs, and the reasons for which URLs are not stored."""

from __future__ import annotations

from typing import Any

from scrapy.exceptions import IgnoreRequest
from scrapy.http import Request
from scrapy.resolver import CachingThreadedResolver
from twisted.internet.error import DNSLookupError, TCPTimedOutError, TimeoutError

from llm_assets.recipes import WebCrawl

from ..opt_out import OptOutRules
from ..urls import host_of, is_private_address, is_private_host, registered_domain
from .plan import CrawlPlan


class PrivateAddress(IgnoreRequest):
    """The host is this machine or in its network."""


class OptedOut(IgnoreRequest):
    """The user's opt-out list covers the URL."""


class LimitReached(IgnoreRequest):
    """The source's limit of pages is reached; `reason` is that of CrawlFailures."""

    def __init__(self, reason: str, detail: str):
        super().__init__(detail)
        self.reason = reason


class OutOfScope(IgnoreRequest):
    """A redirect leaves the crawl's scope."""


class PublicOnlyResolver(CachingThreadedResolver):
    """Refuses names that resolve to private addresses, in the lookup that the connection uses."""

    def getHostByName(self, name: str, timeout: Any = ()) -> Any:
        def check(address: str) -> str:
            if is_private_address(address):
                raise PrivateAddress(f"{name} resolves to the private address {address}")
            return address

        return super().getHostByName(name, timeout).addCallback(check)


class ScopeMiddleware:
    """Refuses URLs that the crawl must not request.

    It is the middleware farthest from the network, so that a refused URL costs no request, not even for robots.txt.
    """

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


class ProxyMiddleware:
    """Sends every request through the source's proxy, and never through one from the environment."""

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


def in_scope(source: WebCrawl, url: str) -> bool:
    """Whether the source's scope includes a URL."""
    return source.scope == "any" or any(_in_scope_of_seed(source.scope, seed, url) for seed in source.seeds)


def _in_scope_of_seed(scope: str, seed: str, url: str) -> bool:
    host, seed_host = host_of(url), host_of(seed)
    if scope == "host":
        return host == seed_host
    if scope == "domain":
        return registered_domain(host) == registered_domain(seed_host)
    return scope == "prefix" and url.partition("://")[2].startswith(_folder(seed))


def _folder(seed: str) -> str:
    """``host/a/`` for ``http://host/a/b.html``."""
    host, _, path = seed.partition("://")[2].partition("/")
    return f"{host}/{path.rpartition('/')[0]}/".replace("//", "/")


def failure_reason(error: BaseException) -> str:
    """The value of CrawlFailures.reason for a download error."""
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
