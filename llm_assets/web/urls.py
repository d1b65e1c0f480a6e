"""URLs as identities: host, registered domain, document id."""

from __future__ import annotations

import contextlib
import hashlib
import ipaddress
from functools import lru_cache
from urllib.parse import urlsplit


@lru_cache
def _suffixes():  # type: ignore[no-untyped-def]
    import tldextract

    # No download: the public suffix list snapshot that the package ships.
    return tldextract.TLDExtract(suffix_list_urls=(), cache_dir=None)


@lru_cache(maxsize=65_536)
def registered_domain(host: str) -> str:
    """``b.co.uk`` for ``a.b.co.uk``; the last two labels under a suffix that is not on the public list; an address as it is."""
    known = _suffixes()(host).top_domain_under_public_suffix
    if known:
        return known
    labels = host.split(".")
    return host if len(labels) <= 2 or ":" in host or labels[-1].isdigit() else ".".join(labels[-2:])


@lru_cache(maxsize=65_536)
def normal_host(host: str) -> str:
    """Lower case, no trailing dot, international names in their ASCII form."""
    host = host.strip().rstrip(".").lower()
    if not host.isascii():
        with contextlib.suppress(UnicodeError):
            host = host.encode("idna").decode("ascii")
    return host


def host_of(url: str) -> str:
    """The normal host of a URL; empty where it has none."""
    try:
        return normal_host(urlsplit(url).hostname or "")
    except ValueError:  # such as an unclosed '[' of an IPv6 address
        return ""


def doc_id(url: str, payload_digest: str) -> str:
    """Stable id of a page's content at a URL: 96 bits of SHA-256 over both, in hex.

    With 10**12 documents the chance of any collision is about 10**-5 (birthday bound).
    """
    return hashlib.sha256(f"{url}\n{payload_digest}".encode("utf-8", "surrogatepass")).hexdigest()[:24]


def is_private_address(text: str) -> bool:
    """True for an IP literal that is not on the public internet (loopback, private, link-local, reserved ...)."""
    try:
        address = ipaddress.ip_address(text.strip("[]"))
    except ValueError:
        return False
    mapped = getattr(address, "ipv4_mapped", None)
    return not (mapped or address).is_global or (mapped or address).is_multicast


def is_private_host(host: str) -> bool:
    """True for a host that is a private address, or a name of this machine; other names are not looked up."""
    return is_private_address(host) or host == "localhost" or host.endswith(".localhost")
