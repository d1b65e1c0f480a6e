"""Follows redirects, without fragments, and records those that cannot be followed."""

from __future__ import annotations

from urllib.parse import urljoin

from scrapy.downloadermiddlewares.redirect import RedirectMiddleware
from scrapy.exceptions import IgnoreRequest
from scrapy.http import Request, Response

from ..urls import without_fragment

REDIRECT_STATUSES = {301, 302, 303, 307, 308}


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
