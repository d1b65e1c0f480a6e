"""Follows redirects, without fragments, and records those that cannot be followed."""

from __future__ import annotations

import re
from urllib.parse import urljoin

from scrapy.downloadermiddlewares.redirect import RedirectMiddleware
from scrapy.exceptions import IgnoreRequest
from scrapy.http import HtmlResponse, Request, Response
from scrapy.spidermiddlewares.depth import DepthMiddleware

from ..urls import without_fragment

REDIRECT_STATUSES = {301, 302, 303, 307, 308}
# HTML standard, "shared declarative refresh steps": seconds, and the URL to load then, with or without "url=".
# Possessive, so that the match takes linear time: with backtracking, 40,000 digits and points took a minute.
_REFRESH = re.compile(
    r"""\s*+[\d.]++(?:\s*+[;,]\s*+|\s++)(?:url\s*+=\s*+)?+(?:"([^"]*+)|'([^']*+)|([^"'\s].*+|))""",
    re.IGNORECASE | re.DOTALL,
)
_REFRESH_CHARACTERS = 10_000  # of a refresh; no URL that servers answer is as long
_REFRESHES = (
    "//meta[not(ancestor::noscript or ancestor::template)]"
    "[translate(@http-equiv, 'REFSH', 'refsh') = 'refresh']/@content"
)


class FragmentlessRedirects(RedirectMiddleware):
    """Scrapy's middleware, which keeps the fragment of a Location; a page would then be stored under that URL.

    A redirect that is not followed is an answer like any other, and its target a failure of the crawl.
    """

    def process_response(self, request: Request, response: Response) -> Request | Response:
        location = response.headers.get("Location", b"").decode("latin-1").strip()
        if response.status not in REDIRECT_STATUSES or not location:
            return response
        try:
            target = urljoin(request.url, location)
            if not target.lower().startswith(("http://", "https://")):
                return self._record(request, response, target, "not_http")
            redirected = super().process_response(request, response)
        except ValueError as error:
            return self._record(request, response, location, "other", f": {error}")
        except IgnoreRequest:
            return self._record(request, response, target, "redirects", ", the last of too many in a row")
        if isinstance(redirected, Request):
            return redirected.replace(url=without_fragment(redirected.url))
        return redirected

    def _record(self, request: Request, response: Response, target: str, reason: str, detail: str = "") -> Response:
        self.crawler.spider.spool.fail(target, reason, f"a redirect of {request.url}{detail}")
        return response


class RefreshDepth(DepthMiddleware):
    """Scrapy's middleware, to which a refresh is a link: its target has the depth of the page that it replaces."""

    def get_processed_request(self, request: Request, response: Response | None) -> Request | None:
        processed = super().get_processed_request(request, response)
        if processed is not None and response is not None and "redirect_urls" in processed.meta:
            processed.meta["depth"] -= 1
            processed.priority += self.prio
        return processed


def refresh_target(response: HtmlResponse) -> str | None:
    """The URL that a page's ``Refresh`` header or meta element loads in its place, without its fragment.

    None where there is none, or only the page itself. Raises ValueError for one that cannot be read, or is too long.
    """
    contents = [value.decode("latin-1") for value in response.headers.getlist("Refresh")]
    for content in [*contents, *response.xpath(_REFRESHES).getall()]:
        if match := _REFRESH.match(content, 0, _REFRESH_CHARACTERS):
            if len(content) > _REFRESH_CHARACTERS:
                raise ValueError(f"it has {len(content):,} characters, more than {_REFRESH_CHARACTERS:,}")
            target = without_fragment(response.urljoin(next(filter(None, match.groups()), "").strip()))
            return target if target != response.url else None
    return None
