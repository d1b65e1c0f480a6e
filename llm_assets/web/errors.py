"""Errors of the web room."""


class WebError(Exception):
    """Base of the room's errors."""


class SourceError(WebError):
    """A crawl's source cannot be used: a missing path, an unknown snapshot, a folder with no WARC."""


class DownloadError(WebError):
    """A download failed for good, after its retries."""


class CrawlError(WebError):
    """The crawler ended without a usable crawl."""


class BlocklistError(WebError):
    """A blocklist that cannot be read at all."""
