"""Errors of the web package."""

from llm_assets.artifacts.errors import ExternalInputError


class WebError(Exception):
    """Base of the package's errors."""


class SourceError(WebError, ExternalInputError):
    """A crawl's source cannot be used: a missing path, an unknown snapshot, a folder without WARC files."""


class DownloadError(WebError):
    """A download failed after all its retries."""


class GaveUp(DownloadError):
    """The retries are used up."""


class AbsentFile(DownloadError):
    """The server has no such file, or the file ends before the requested range begins."""


class CrawlError(WebError):
    """The crawler ended without a usable crawl."""


class EmptyCrawl(CrawlError):
    """The crawl stored no page, or its files contain no capture; the message says why."""


class BlocklistError(WebError, ExternalInputError):
    """A blocklist cannot be read at all."""
