"""Reads sitemaps (sitemaps.org): XML, also compressed with gzip, and plain text."""

from __future__ import annotations

import gzip
import io
import zlib
from dataclasses import dataclass

from lxml.etree import LxmlError
from scrapy.http import Response
from scrapy.utils.sitemap import Sitemap

from llm_assets.warc import GZIP_MAGIC

_MAX_BYTES = 50 << 20  # of a decompressed sitemap; the protocol's limit


@dataclass(frozen=True)
class SitemapUrls:
    """The URLs of a sitemap, in order. is_index: whether they are those of further sitemaps."""

    urls: list[str]
    is_index: bool


def read_sitemap(response: Response) -> SitemapUrls | None:
    """The http(s) URLs of an answer that is a sitemap; None for any other."""
    body = response.body
    if body.startswith(GZIP_MAGIC):
        try:
            with gzip.open(io.BytesIO(body)) as stream:
                body = stream.read(_MAX_BYTES)
        except (OSError, EOFError, zlib.error):
            return None
    body = body.removeprefix(b"\xef\xbb\xbf").lstrip(b" \t\r\n")
    if not body.startswith(b"<"):
        lines = [line.strip() for line in body.decode("utf-8", "replace").splitlines()]
        urls = [line for line in lines if line.startswith(("http://", "https://"))]
        return SitemapUrls(urls, is_index=False) if urls else None
    try:
        sitemap = Sitemap(body)
        if sitemap.type not in ("urlset", "sitemapindex"):
            return None
        urls = [entry["loc"] for entry in sitemap if entry.get("loc", "").startswith(("http://", "https://"))]
    except (LxmlError, StopIteration):
        return None
    return SitemapUrls(urls, is_index=sitemap.type == "sitemapindex")
