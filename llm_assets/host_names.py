"""Names of hosts as crawls, lists and the index of Common Crawl have them."""

from __future__ import annotations

import contextlib
from functools import lru_cache


@lru_cache(maxsize=65_536)
def normal_host(host: str) -> str:
    """A host in lower case, without a trailing dot, international names in their ASCII form."""
    host = host.strip().rstrip(".").lower()
    if not host.isascii():
        with contextlib.suppress(UnicodeError):
            host = host.encode("idna").decode("ascii")
    return host
