"""Ranges of SURT keys, by which Common Crawl's index is sorted.

A key is the host's labels in reverse order, the port if it is no default one, and the path and query in a canonical
form: ``com,example,blog:8080)/posts?id=7``. A leading ``www.`` (also ``www2.`` …) and the scheme are left out.
"""

from __future__ import annotations

import re

from llm_assets.host_names import normal_host

from .urls import split_url

KeyRange = tuple[str, str]  # the first key, and the first one beyond the range

_WWW = re.compile(r"^www\d*\.")
# The beginning of a path that canonical form only lower-cases. It may simplify what follows: an empty or a dot segment,
# a session id, an escaped character.
_ORDINARY_PATH = re.compile(r"(?:/[A-Za-z0-9_-][A-Za-z0-9_.-]*)*")


def domain_ranges(domain: str) -> list[KeyRange]:
    """Ranges that contain the keys of a domain's host and of all hosts below it, and hardly any other."""
    labels = ",".join(reversed(normal_host(domain).split(".")))
    # The character after the last label is ")", "," or ":", all of them between ")" and ";".
    return [(f"{labels})", f"{labels};"), *(host_ranges(domain) if _WWW.match(domain) else [])]


def host_ranges(host: str) -> list[KeyRange]:
    """Ranges that contain the keys of a host, at every port."""
    labels = _labels(host)
    return [(f"{labels})", f"{labels}*"), (f"{labels}:", f"{labels};")]


def prefix_ranges(prefix: str) -> list[KeyRange]:
    """Ranges that contain the keys of all http(s) URLs that begin with `prefix`, which names a whole host."""
    parts = split_url(prefix)
    if ":" in parts.netloc:  # with a port, which the key may have or not
        return host_ranges(parts.hostname or "")
    path = _ORDINARY_PATH.match(parts.path)
    key = f"{_labels(parts.hostname or '')}){path[0].lower() if path else ''}"
    return [(key, key[:-1] + chr(ord(key[-1]) + 1))]


def _labels(host: str) -> str:
    return ",".join(reversed(_WWW.sub("", normal_host(host)).split(".")))
