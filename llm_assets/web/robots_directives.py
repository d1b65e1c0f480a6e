"""Directives for robots on single pages: the header X-Robots-Tag, and the meta element of the name robots."""

from __future__ import annotations

import re
from collections.abc import Iterable

_PRODUCT = re.compile(r"[A-Za-z_-]+")
# A crawler's name, with or without a version. The hour of a date, "25 Jun 2025 15:00:00 GMT" or "25-Jun-25 …", is none.
_CRAWLER = re.compile(r"(?!\d+[ -])([^\s/]+)(?:[\s/].*)?")
# Directives with a value; any other name before a colon is that of a crawler, to which the directives after it apply.
_WITH_VALUE = {"max-snippet", "max-image-preview", "max-video-preview", "unavailable_after"}


def product_token(user_agent: str) -> str:
    """The name by which robots.txt and directives address a crawler (RFC 9309, section 2.2.1): ``llm-assets``."""
    match = _PRODUCT.match(user_agent)
    return match.group().lower() if match else user_agent.lower()


def header_directives(value: str, agents: Iterable[str] | None) -> set[str]:
    """The directives of X-Robots-Tag headers, one a line, for crawlers of these names, in lower case.

    Those without a crawler's name apply to all. agents: None for the directives of any name.
    """
    names = None if agents is None else set(agents)
    directives: set[str] = set()
    for line in value.lower().split("\n"):
        applies = True
        for item in line.split(","):
            name, colon, rest = (part.strip() for part in item.partition(":"))
            crawler = _CRAWLER.fullmatch(name) if colon and name not in _WITH_VALUE else None
            if crawler:
                applies = names is None or crawler[1] in ("*", "robots") or crawler[1] in names
                name = rest
            if applies:
                directives |= _expanded(name)
    return directives


def meta_directives(content: str) -> set[str]:
    """The directives in the content of a meta element, in lower case."""
    return {directive for item in re.split(r"[,;\s]+", content.lower()) for directive in _expanded(item)}


def _expanded(directive: str) -> set[str]:
    """``none`` stands for two directives."""
    return {"noindex", "nofollow"} if directive == "none" else {directive} - {""}
