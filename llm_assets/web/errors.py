"""Errors of the web room."""

from llm_assets.artifacts.errors import ExternalInputError


class WebError(Exception):
    """Base of the room's errors."""


class SourceError(WebError, ExternalInputError):
    """A crawl's source cannot be used: a missing path, an unknown snapshot, a folder with no WARC."""


class DownloadError(WebError):
    """A download failed for good, after its retries."""


class CrawlError(WebError):
    """The crawler ended without a usable crawl."""


class EmptyCrawl(CrawlError):
    """A crawl that stored no page, or files that hold no capture; the message says why."""


class BlocklistError(WebError, ExternalInputError):
    """A blocklist that cannot be read at all."""
