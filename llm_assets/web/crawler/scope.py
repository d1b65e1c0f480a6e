"""What a crawl may request: scope, private addresses, opt-outs, and the reasons for which URLs are not stored."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from scrapy.exceptions import IgnoreRequest
from scrapy.http import Request
from scrapy.resolver import CachingThreadedResolver
from twisted.internet.error import DNSLookupError, TCPTimedOutError, TimeoutError

from llm_assets.recipes import WebCrawl

from ..opt_out import OptOutRules
from ..urls import host_of, is_private_address, is_private_host, registered_domain
from .plan import CrawlPlan

SEED = "seed"  # in the meta of a request: the seed that it asks for, also after redirects
SITEMAP = "sitemap"  # in the meta of a request for a sitemap
OPTIONAL = "optional"  # in the meta of a request for a file that few sites have: it is stored only if it exists


class Refusal(IgnoreRequest):
    """The crawl does not request the URL; `reason` is that of CrawlFailures."""

    reason = "other"

    def __init__(self, detail: str, reason: str | None = None):
        super().__init__(detail)
        if reason is not None:
            self.reason = reason


class PrivateAddress(Refusal):
    """The host is this machine or in its network."""

    reason = "private_address"


class OptedOut(Refusal):
    """The user's opt-out list covers the URL."""

    reason = "opted_out"


class LimitReached(Refusal):
    """The source's limit of pages is reached."""


class OutOfScope(Refusal):
    """A redirect leaves the crawl's scope."""

    reason = "out_of_scope"


class NotHttp(Refusal):
    """The URL has another scheme than http and https."""

    reason = "not_http"


class PublicOnlyResolver(CachingThreadedResolver):
    """Refuses names that resolve to private addresses, in the lookup that the connection uses."""

    def getHostByName(self, name: str, timeout: Any = ()) -> Any:
        def check(address: str) -> str:
            if is_private_address(address):
                raise PrivateAddress(f"{name} resolves to the private address {address}")
            return address

        return super().getHostByName(name, timeout).addCallback(check)


class CrawlScope:
    """The source's scope, which grows by the places that seeds redirect to, as far as the source allows it."""

    def __init__(self, source: WebCrawl):
        self.source = source
        self.roots = list(source.seeds)

    def includes(self, url: str) -> bool:
        """Whether links to a URL are followed."""
        return in_scope(self.source, url, self.roots)

    def includes_host_of(self, url: str) -> bool:
        """Whether the host of a URL has pages in the scope."""
        return self.includes(url) or host_of(url) in {host_of(root) for root in self.roots}

    def may_lead_to(self, url: str, seeds: Iterable[str] | None = None) -> bool:
        """Whether a redirect of one of these seeds (of any, by default) to a URL is followed."""
        return any(_may_redirect(self.source.seed_redirects, seed, url) for seed in seeds or self.source.seeds)

    def follow(self, seed: str, url: str) -> None:
        """Include what a seed's redirect leads to. It widens the scope to another host, never to a folder above."""
        seed_folder, folder = _folder(seed), _folder(url)
        host, path = folder.split("/", 1)
        seed_path = seed_folder.split("/", 1)[1]
        self.roots.append(f"http://{host}/{seed_path}" if seed_path.startswith(path) else url)


class ScopeMiddleware:
    """Refuses URLs that the crawl must not request.

    It is the middleware farthest from the network, so that a refused URL costs no request, not even for robots.txt.
    """

    def __init__(self, plan: CrawlPlan, scope: CrawlScope):
        self.source, self.scope = plan.source, scope
        self.opt_out = OptOutRules(plan.opt_out)

    @classmethod
    def from_crawler(cls, crawler: Any) -> ScopeMiddleware:
        return cls(crawler.spider.plan, crawler.spider.scope)

    def process_request(self, request: Request) -> None:
        host = host_of(request.url)
        if not request.url.startswith(("http://", "https://")):
            raise NotHttp("not http")
        if not request.meta.get("dont_obey_robotstxt"):
            self._check_scope(request)
        rule = self.opt_out.rule_for(request.url)
        if rule is not None:
            raise OptedOut(f"the opt-out list names {rule}")
        if not self.source.allow_private and is_private_host(host):
            raise PrivateAddress(f"{host} is a private address")

    def _check_scope(self, request: Request) -> None:
        url, redirects = request.url, request.meta.get("redirect_urls")
        is_file_of_site = request.meta.get(SITEMAP) or request.meta.get(OPTIONAL)
        if self.scope.includes(url) or (is_file_of_site and self.scope.includes_host_of(url)):
            return
        seed = request.meta.get(SEED)
        if seed is not None and redirects and self.scope.may_lead_to(url, [seed]):
            self.scope.follow(seed, url)
            return
        origin = f"a redirect of {redirects[-1]}" if redirects else "the URL"
        policy = f" (seed_redirects={self.source.seed_redirects})" if seed is not None else ""
        raise OutOfScope(f"{origin} leaves the scope {self.source.scope}{policy}")


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


def in_scope(source: WebCrawl, url: str, roots: Iterable[str] | None = None) -> bool:
    """Whether the source's scope, around these URLs instead of its seeds, includes a URL."""
    return source.scope == "any" or any(_in_scope_of_root(source.scope, root, url) for root in roots or source.seeds)


def _in_scope_of_root(scope: str, root: str, url: str) -> bool:
    host, root_host = host_of(url), host_of(root)
    if scope == "host":
        return host == root_host
    if scope == "domain":
        return registered_domain(host) == registered_domain(root_host)
    return scope == "prefix" and _bare(url).startswith(_folder(root))


def _may_redirect(policy: str, seed: str, url: str) -> bool:
    host, seed_host = host_of(url), host_of(seed)
    if policy == "www":
        return host.removeprefix("www.") == seed_host.removeprefix("www.")
    if policy == "domain":
        return registered_domain(host) == registered_domain(seed_host)
    return policy == "any"


def _bare(url: str) -> str:
    """A URL without scheme and port, its host in normal form."""
    authority, slash, rest = url.partition("://")[2].partition("/")
    return f"{host_of(url)}{slash}{rest}" if authority else url


def _folder(root: str) -> str:
    """``host/a/`` for ``http://host/a/b.html?c``."""
    host, _, path = _bare(re.split(r"[?#]", root, maxsplit=1)[0]).partition("/")
    return f"{host}/{path.rpartition('/')[0]}/".replace("//", "/")


def failure_reason(error: BaseException) -> str:
    """The value of CrawlFailures.reason for a download error."""
    if isinstance(error, Refusal):
        return error.reason
    if "private address" in str(error):
        return "private_address"
    if isinstance(error, IgnoreRequest):
        return "redirects" if "redirections" in str(error) else "other"
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
