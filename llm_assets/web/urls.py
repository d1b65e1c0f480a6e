"""Identities derived from URLs: host, registered domain, document id."""

from __future__ import annotations

import hashlib
import ipaddress
from functools import lru_cache
from urllib.parse import SplitResult, urlsplit

from llm_assets.host_names import normal_host


@lru_cache
def _suffixes():  # type: ignore[no-untyped-def]
    import tldextract

    # The snapshot of the public suffix list that the package ships; nothing is downloaded.
    return tldextract.TLDExtract(suffix_list_urls=(), cache_dir=None)


@lru_cache(maxsize=65_536)
def registered_domain(host: str) -> str:
    """``b.co.uk`` for ``a.b.co.uk``; the last two labels if the suffix is not on the list; an address unchanged."""
    domain = _suffixes()(host).top_domain_under_public_suffix
    if domain:
        return domain
    labels = host.split(".")
    is_address = ":" in host or labels[-1].isdigit()
    return host if is_address or len(labels) <= 2 else ".".join(labels[-2:])


def split_url(url: str) -> SplitResult:
    """The components of a URL; all are empty for text whose host cannot be read, such as ``http://[::1/``.

    Captures have such URLs: they are what a server was asked for, or what a tool wrote.
    """
    try:
        return urlsplit(url)
    except ValueError:
        return SplitResult("", "", "", "", "")


def origin_of(url: str) -> str:
    """Scheme, host and port of an http(s) URL."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}"


def host_of(url: str) -> str:
    """The normal host of a URL; empty if it has none."""
    return normal_host(split_url(url).hostname or "")


def without_fragment(url: str) -> str:
    """A URL as it is requested: its fragment, which no server receives, does not identify another page."""
    return url.partition("#")[0] if url[:4].lower() == "http" else url


def doc_id(url: str, payload_digest: str) -> str:
    """The stable id of some content at a URL: 96 bits of SHA-256 over both, in hex.

    With 10**12 documents the chance of any collision is about 10**-5 (birthday bound).
    """
    return hashlib.sha256(f"{url}\n{payload_digest}".encode("utf-8", "surrogatepass")).hexdigest()[:24]


def is_private_address(text: str) -> bool:
    """Whether a text is an IP address outside the public internet (loopback, private, link-local, reserved …)."""
    try:
        address = ipaddress.ip_address(text.strip("[]"))
    except ValueError:
        return False
    address = getattr(address, "ipv4_mapped", None) or address
    return not address.is_global or address.is_multicast


def is_private_host(host: str) -> bool:
    """Whether a host is a private address or a name of this machine; other names are not looked up."""
    return is_private_address(host) or host == "localhost" or host.endswith(".localhost")
