"""Opt-out signals: what pages and sites say, in machine-readable form, about being used to train models.

noai and noimageai are directives of X-Robots-Tag and of the meta element robots. TDMRep (W3C Community Group, "TDM
Reservation Protocol") reserves the rights of text and data mining in a header, a meta element, or a file of the site.
Content-Signal (contentsignals.org) and Content-Usage (IETF aipref) are lines of robots.txt, and headers.
"""

from __future__ import annotations

import html
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np
import polars as pl

from llm_assets.compiled import compiled
from llm_assets.warc import Capture, ContentCodingError, decode_http_body

from .robots_directives import header_directives, meta_directives, product_token
from .urls import split_url

AGENT = "llm-assets"
ROBOTS_TXT, TDMREP_JSON = "/robots.txt", "/.well-known/tdmrep.json"
HEAD_BYTES = 1 << 20  # of a page, decoded, in which meta elements are looked for
POLICY_BYTES = 512 << 10  # of a site's policy that are read; RFC 9309, section 2.5, asks for 500 KiB
_DECODED_BYTES = 64 << 20
_DIRECTIVES = ("noai", "noimageai")
_MENTIONED = (b"noai", b"noimageai", b"tdm-reservation")
# Without its end, a comment is the rest of the page, so that the search takes linear time.
_COMMENT = re.compile(rb"<!--.*?(?:-->|\Z)", re.DOTALL)
# No match begins inside another, and no name is searched from its middle: these take linear time too. The second
# group of an element that never ends is empty.
_META = re.compile(rb"(?i)<meta\b([^>]*+)(>|\Z)")
_ATTRIBUTE = re.compile(rb"""(?<![a-zA-Z-])([a-zA-Z-]++)\s*+=\s*+(?:"([^"]*+)"|'([^']*+)'|([^\s"'>]++))""")
_VALUE_BYTES = 2_000  # of an attribute that are read; html.unescape raises for a number of more than 4,300 digits
# The uses that training is, by name of the line; the narrower one counts (draft-ietf-aipref-vocab-01, section 4).
_USES = {"content-signal": ("ai-train",), "content-usage": ("train-genai", "train-ai")}
_SETTING = re.compile(r"(?<![\w-])([\w-]++)\s*+=\s*+([\w-]++)")
_YES, _NO = {"yes", "y"}, {"no", "n"}


class Signal(NamedTuple):
    """One signal of a page. signal: noai, noimageai, tdm_reservation or ai_train. source: where it was found."""

    signal: str
    source: str
    value: str
    opts_out: bool


class PathRule(NamedTuple):
    """A value for the paths that a pattern of robots.txt matches (RFC 9309, section 2.2.3)."""

    pattern: str
    value: str
    opts_out: bool


def decoded_head(capture: Capture) -> bytes:
    """The beginning of a capture's payload, decoded; empty if it cannot be decoded."""
    try:
        return decode_http_body(capture.payload_head, capture.http or {}, _DECODED_BYTES)
    except ContentCodingError:
        return b""


def page_signals(capture: Capture) -> list[Signal]:
    """The signals in a page's headers and meta elements."""
    headers = capture.http or {}
    directives = header_directives(headers.get("x-robots-tag", ""), [AGENT])
    signals = [Signal(directive, "header", directive, True) for directive in _DIRECTIVES if directive in directives]
    reservation = Signal("tdm_reservation", "header", headers.get("tdm-reservation", ""), False)
    for name, content in _metas(decoded_head(capture)[:HEAD_BYTES]):
        if name in ("robots", AGENT):
            directives = meta_directives(content)
            signals += [Signal(d, "meta", d, True) for d in _DIRECTIVES if d in directives]
        elif name == "tdm-reservation":
            reservation = reservation._replace(source="meta", value=content)  # it overrides the header
    value = reservation.value.strip()
    if value in ("0", "1"):
        signals.append(reservation._replace(value=value, opts_out=value == "1"))
    settings = [_training_setting(name, headers.get(name, "")) for name in _USES]
    signals += [Signal("ai_train", "header", setting, setting in _NO) for setting in settings if setting]
    return sorted(set(signals))


def _training_setting(name: str, uses: str) -> str | None:
    """What a Content-Signal or Content-Usage says about training, in lower case; None if it says nothing.

    Of contradictory values, an opt-out counts: preferences are combined so (draft-ietf-aipref-vocab). Others than yes
    and no say nothing.
    """
    values: dict[str, str] = {}
    for use, value in _SETTING.findall(uses.lower()):
        if value in _NO or (value in _YES and values.get(use) not in _NO):
            values[use] = value
    return next((values[use] for use in _USES[name] if use in values), None)


def _metas(head: bytes) -> Iterator[tuple[str, str]]:
    """(name, content) of the meta elements of a page, if it mentions a signal at all."""
    if not _may_mention(np.frombuffer(head, np.uint8)):
        return
    small = head.lower()
    if not any(mention in small for mention in _MENTIONED):
        return
    for element in _META.finditer(_COMMENT.sub(b"", head)):
        if not element[2]:
            continue
        attributes = {
            match[1].lower(): (match[2] or match[3] or match[4] or b"")[:_VALUE_BYTES]
            for match in _ATTRIBUTE.finditer(element[1])
        }
        name, content = (
            html.unescape(attributes.get(attribute, b"").decode("latin-1")) for attribute in (b"name", b"content")
        )
        yield name.strip().lower(), content


@compiled
def _may_mention(head):  # type: ignore[no-untyped-def]
    """Whether a page (uint8) holds the first four letters of one of _MENTIONED, in either case.

    Without branches, so that the compiler vectorises the loop: it takes a twentieth of a search in small letters.
    """
    mentioned = False
    for at in range(len(head) - 3):
        a, b, c, d = head[at] | 32, head[at + 1] | 32, head[at + 2] | 32, head[at + 3] | 32
        is_no = (a == 110) & (b == 111)
        mentioned |= is_no & (c == 97) & (d == 105)  # noai
        mentioned |= is_no & (c == 105) & (d == 109)  # noim
        mentioned |= (a == 116) & (b == 100) & (c == 109) & (d == 45)  # tdm-
    return mentioned


def policy_of(url: str) -> str | None:
    """The path of a site's policy, if the URL is that of one. A URL without a host belongs to no site."""
    parts = split_url(url)
    return parts.path if parts.netloc and parts.path in (ROBOTS_TXT, TDMREP_JSON) else None


def content_signals(robots_txt: str, agent: str = AGENT) -> list[PathRule]:
    """The rules about training in the groups of a robots.txt for a crawler: its own, else those for all.

    Groups of other crawlers are passed over, so that memory grows with the number of lines alone.
    """
    rules: dict[str, list[PathRule]] = {}
    group, in_rules = {"*"}, True
    for line in robots_txt.splitlines():
        name, colon, value = line.split("#", 1)[0].partition(":")
        name, value = name.strip().lower(), value.strip()
        if name == "user-agent":
            token = product_token(value)
            group = set() if in_rules else group
            in_rules = False
            if token in (agent, "*"):
                group.add(token)
                rules.setdefault(token, [])
            continue
        in_rules = in_rules or bool(colon and name)
        if name in _USES:
            path, _, uses = value.partition(" ") if value.startswith(("/", "*")) else ("/", "", value)
            setting = _training_setting(name, uses) if group else None
            for token in group if setting else ():
                rules.setdefault(token, []).append(PathRule(path, setting, setting in _NO))
    return rules.get(agent, rules.get("*", []))


def tdm_rules(tdmrep_json: str) -> list[PathRule]:
    """The rules of a site's ``/.well-known/tdmrep.json``; none if it is not one."""
    try:
        entries: Any = json.loads(tdmrep_json.removeprefix("\ufeff"))
    except (ValueError, RecursionError):
        return []
    rules = []
    for entry in entries if isinstance(entries, list) else [entries]:
        if isinstance(entry, dict) and isinstance(entry.get("location"), str):
            value = str(entry.get("tdm-reservation", "")).strip()
            if value in ("0", "1"):
                path = entry["location"]
                rules.append(PathRule(path if path.startswith(("/", "*")) else f"/{path}", value, value == "1"))
    return rules


def rule_for(rules: Iterable[PathRule], url: str) -> PathRule | None:
    """The rule with the longest pattern that matches a URL (RFC 9309, section 2.2.2); of equal ones, an opt-out."""
    parts = split_url(url)
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    matching = [rule for rule in rules if _matches(rule.pattern, path)]
    return max(matching, key=lambda rule: (len(rule.pattern), rule.opts_out), default=None)


def _matches(pattern: str, path: str) -> bool:
    """Whether a pattern matches. As a regular expression, one with many stars would take exponential time."""
    is_whole = pattern.endswith("$")
    start, *pieces = pattern.removesuffix("$").split("*")
    if not path.startswith(start):
        return False
    if is_whole and not pieces:
        return path == start
    end, last = len(start), pieces.pop() if is_whole else ""
    for piece in pieces:
        place = path.find(piece, end)
        if place < 0:
            return False
        end = place + len(piece)
    return path.endswith(last) and end + len(last) <= len(path)


SiteRules = list[tuple[str, str, list[PathRule]]]  # the signal, where it comes from, and for which paths


def site_rules(policies: Iterable[pl.DataFrame]) -> dict[str, SiteRules]:
    """The rules of each host that has some. policies: rows of SitePolicies, the latest of each URL."""
    rules: dict[str, SiteRules] = {}
    for frame in policies:
        for url, host, text in frame.select("url", "host", "text").iter_rows():
            if policy_of(url) == ROBOTS_TXT:
                of_policy = ("ai_train", "robots_txt", content_signals(text))
            else:
                of_policy = ("tdm_reservation", "tdmrep_json", tdm_rules(text))
            if of_policy[2]:
                rules.setdefault(host, []).append(of_policy)
    return rules


def site_signals(captures: pl.DataFrame, rules: Mapping[str, SiteRules]) -> list[dict[str, Any]]:
    """Rows of OptOutSignals for captures of hosts with rules, in order.

    captures: of pages, with doc_id, url, host, warc_file, warc_offset and `has_tdm`, whether the page itself says
    something about text and data mining, which overrides the site's file. rules: by host.
    """
    rows = []
    for row in captures.iter_rows(named=True):
        signals = set()
        for signal, source, path_rules in rules[row["host"]]:
            rule = rule_for(path_rules, row["url"])
            if rule is not None and not (signal == "tdm_reservation" and row["has_tdm"]):
                signals.add(Signal(signal, source, rule.value, rule.opts_out))
        rows += [signal_row(row, signal) for signal in sorted(signals)]
    return rows


def signal_row(row: dict[str, Any], signal: Signal) -> dict[str, Any]:
    """A row of OptOutSignals for a row of Captures."""
    return {**{name: row[name] for name in ("doc_id", "warc_file", "warc_offset")}, **signal._asdict()}
