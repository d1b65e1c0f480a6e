"""The URLs that a crawl must not request: the user's opt-out list, as it is when the crawl starts."""

from __future__ import annotations

from collections.abc import Iterable

from llm_assets.recipes import Blocklists

from .blocklists import OptOutRule, opt_out_path, parse_opt_out, readable_rules
from .urls import host_of


def read_opt_out(lists: Blocklists) -> tuple[str, ...]:
    """The rules of the opt-out list, sorted: a domain, or ``host/path`` for a URL prefix.

    Lines that cannot be read are skipped here; `url_blocklists` records them. Raises BlocklistError if the recipe names
    a list that does not exist.
    """
    path = opt_out_path(lists)
    text = path.read_text(encoding="utf-8", errors="replace") if path is not None else ""
    return tuple(sorted(rule.rule for rule in readable_rules(text)))


class OptOutRules:
    """Finds the rule that covers a URL; `sql/filter_urls.sql` finds the same for a capture."""

    def __init__(self, lines: Iterable[str]):
        self.by_host: dict[str, list[OptOutRule]] = {}
        for line in lines:
            for rule in parse_opt_out(line):
                self.by_host.setdefault(rule.host, []).append(rule)

    def rule_for(self, url: str) -> str | None:
        """The rule that covers a URL: its host, a domain above it, or a prefix of the URL; None if there is none."""
        labels = host_of(url).split(".")
        for start in range(len(labels)):
            for rule in self.by_host.get(".".join(labels[start:]), ()):
                if rule.covers(url):
                    return rule.rule
        return None
