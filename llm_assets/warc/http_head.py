"""Parses the heads of HTTP responses, as archives store them, and of WARC records."""

from __future__ import annotations

import re

# The status line. Some servers send empty lines before it, and some its name in small letters or without a version.
_STATUS = re.compile(rb"[\r\n]{0,8}(?i:HTTP)(?:/\d(?:\.\d)?)?[ \t]+(\d{3})(?!\d)")
# The empty line after a head. Each line may end in CRLF or a bare LF (RFC 9112, section 2.2), whatever the others end
# in: servers and crawlers mix them. Some write CR CR LF.
BLANK_LINE = re.compile(rb"\n\r{0,2}\n")
# Headers that may have several lines (RFC 9110, section 5.3), where dropping all but the first loses a rule.
_LISTS = {"x-robots-tag", "content-usage", "content-signal"}


def parse_http(block: bytes) -> tuple[int | None, dict[str, str] | None, int]:
    """Status, headers (lower-case names, the first of each) and length in bytes of the head of an HTTP response.

    The head ends at the first empty line. Interim responses (RFC 9110, section 15.2) before it are skipped; folded
    lines are joined (RFC 9112, section 5.2). Bytes that do not begin with a status line have no head: (None, None, 0).
    Several lines of X-Robots-Tag and the like stay lines: a crawler's name applies to the end of its line.
    """
    status = _STATUS.match(block)
    if status is None:
        return None, None, 0
    while True:
        blank = BLANK_LINE.search(block, status.end())
        following = _STATUS.match(block, blank.end()) if blank and status[1][:1] == b"1" else None
        if following is None:
            break
        status = following
    head = block[status.end() : blank.start() if blank else len(block)]
    return int(status[1]), parse_headers(head.partition(b"\n")[2]), blank.end() if blank else len(block)


def parse_headers(lines: bytes) -> dict[str, str]:
    """Headers by lower-case name, the first of each, from the lines after the first one of a head."""
    try:
        text = lines.decode("utf-8")
    except UnicodeDecodeError:
        text = lines.decode("latin-1")
    headers: dict[str, list[str]] = {}  # pieces of the values: joined at once, as they may be many
    name = ""  # the header that a folded line continues; empty for one that is ignored
    for line in text.split("\n"):
        line = line.rstrip("\r")
        if line[:1] in (" ", "\t"):
            if name:
                headers[name] += [" ", line.strip()]
            continue
        name, colon, value = line.partition(":")
        name = name.strip().lower() if colon else ""
        if name and name not in headers:
            headers[name] = [value.strip()]
        elif name in _LISTS:
            headers[name] += ["\n", value.strip()]
        else:
            name = ""
    return {name: "".join(pieces) for name, pieces in headers.items()}
