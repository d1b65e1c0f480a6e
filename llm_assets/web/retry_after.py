"""The header with which a busy server says when to come back."""

from __future__ import annotations

import time
from email.utils import parsedate_to_datetime


def retry_after(value: str, date: str) -> float | None:
    """The seconds of a Retry-After header, which gives them or a date (RFC 9110, section 10.2.3); None if neither.

    date: the Date header of the same answer, which a date is compared with, because the clock of this machine may be
    hours off. Where the answer has none, it is compared with that clock.
    """
    value = value.strip()
    if value.isascii() and value.isdigit():
        return float(value)
    until = _timestamp(value)
    if until is None:
        return None
    now = _timestamp(date)
    return max(0.0, until - (time.time() if now is None else now))


def _timestamp(date: str) -> float | None:
    try:
        return parsedate_to_datetime(date).timestamp()
    except (ValueError, TypeError, OverflowError):
        return None
