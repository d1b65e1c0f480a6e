"""Parses the head of an HTTP response as archives store it."""

from __future__ import annotations

import re

_STATUS = re.compile(rb"HTTP/\d(?:\.\d)?[ \t]+(\d{3})")
_LINE_PROBE = 200  # bytes after the status code in which the first line's ending is looked for


def parse_http(block: bytes) -> tuple[int | None, dict[str, str] | None, int]:
    """Status, headers (lower-case names, the first of each) and length in bytes of the head of an HTTP response.

    Lines may end in CRLF or, as in ClueWeb09, in a bare LF; folded lines are joined (RFC 9112, section 5.2). Bytes that
    do not begin with a status line have no head: (None, None, 0).
    """
    status = _STATUS.match(block)
    if status is None:
        return None, None, 0
    rest_of_line = block[status.end() : status.end() + _LINE_PROBE].split(b"\n", 1)[0]
    line_ending = b"\r\n" if rest_of_line.endswith(b"\r") else b"\n"
    end = block.find(line_ending * 2)
    head = block[:end] if end >= 0 else block
    try:
        text = head.decode("utf-8")
    except UnicodeDecodeError:
        text = head.decode("latin-1")
    length = end + 2 * len(line_ending) if end >= 0 else len(block)
    return int(status.group(1)), _parse_headers(text.split("\n")[1:]), length


def _parse_headers(lines: list[str]) -> dict[str, str]:
    headers: dict[str, str] = {}
    name = ""  # the header that a folded line continues; empty for one that is ignored
    for line in lines:
        line = line.rstrip("\r")
        if line[:1] in (" ", "\t"):
            if name:
                headers[name] += " " + line.strip()
            continue
        name, colon, value = line.partition(":")
        name = name.strip().lower() if colon else ""
        if name and name not in headers:
            headers[name] = value.strip()
        else:
            name = ""
    return headers
