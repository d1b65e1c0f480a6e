"""Re-crawl schedules, and crawls that continue an earlier one."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Literal

from pydantic import Field, field_validator

from .frozen import Frozen
from .sources import Source

CRAWL_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")


class Recrawl(Frozen):
    """A schedule that registers a crawl named ``<prefix>-<date>``, builds it, and refreshes the assets downstream."""

    prefix: str = Field(pattern=f"^{CRAWL_NAME.pattern}$", description="first part of the crawls' names")
    cron: str = Field(description="five-field cron expression, UTC")
    source: Source = Field(description="what is crawled each time")
    incremental: bool = Field(
        True, description="send conditional requests against the latest built crawl with this prefix"
    )
    model: Literal["leave", "continue", "retrain"] = Field(
        "leave",
        description="what happens to the model after a crawl: leave excludes these crawls from training and trains "
        "nothing; retrain trains from scratch on all crawls; continue resumes from the last base checkpoint, on all "
        "crawls",
    )
    continue_share: float = Field(
        0.1, gt=0, le=1, description="with continue: tokens to train on, as a share of a full training's tokens"
    )

    @field_validator("source")
    @classmethod
    def _without_since(cls, source: Any) -> Any:
        if getattr(source, "since", None) is not None:
            raise ValueError(f"since={source.since!r}: leave it out; each crawl continues the latest built one")
        return source

    def owns(self, crawl: str) -> bool:
        """Whether this schedule registered the crawl."""
        return re.fullmatch(rf"{re.escape(self.prefix)}-\d{{4}}-\d\d-\d\d", crawl) is not None

    @property
    def schedule_name(self) -> str:
        return "recrawl_" + re.sub(r"[^A-Za-z0-9_]", "_", self.prefix)


def chain_of(name: str, sources: Mapping[str, Any]) -> list[str]:
    """The crawls that a crawl continues, latest first, as far as `sources` knows them."""
    chain: list[str] = []
    since = getattr(sources[name], "since", None)
    while since is not None and since in sources and since not in chain:
        chain.append(since)
        since = getattr(sources[since], "since", None)
    return chain


def check_chains(sources: Mapping[str, Any]) -> None:
    """Raises ValueError for a crawl with an impossible name, an unknown predecessor, or one that continues itself."""
    for name, source in sources.items():
        if not CRAWL_NAME.fullmatch(name):
            raise ValueError(
                f"crawl name {name!r}: use letters, digits, '.', '_' and '-', beginning with a letter or digit"
            )
        chain, since = [name], getattr(source, "since", None)
        while since is not None:
            if since not in sources:
                raise ValueError(f"crawl {chain[-1]!r} continues {since!r}, which is no crawl of this recipe")
            if since in chain:
                raise ValueError(f"crawls continue each other in a circle: {' → '.join([*chain, since])}")
            chain.append(since)
            since = getattr(sources[since], "since", None)
