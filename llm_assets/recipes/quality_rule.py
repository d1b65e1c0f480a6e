"""A quality rule: which pages a threshold on a statistic drops."""

from __future__ import annotations

from typing import Annotated, Literal

from llm_assets.artifacts.identity import EXECUTION_ONLY

from .frozen import Frozen

Drops = Literal["below", "above", "at_or_below", "at_or_above"]


class Rule(Frozen):
    """Drops a page whose `column` is below, above, … `threshold`; `ratio` limits the threshold to [0, 1].

    `source` and `ratio` do not affect which pages are dropped, so they are not part of the identity.
    """

    name: str
    column: str
    drops: Drops
    threshold: float
    source: Annotated[str, EXECUTION_ONLY]
    ratio: Annotated[bool, EXECUTION_ONLY] = True
