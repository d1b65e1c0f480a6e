"""Addresses that a frame of the page opens, which cannot send the key: each is signed for itself, and for a minute."""

from __future__ import annotations

import hashlib
import hmac
import time

SECONDS = 60  # between signing and opening, at most
FRAMED_PATHS = ("/api/data/raw", "/api/pipeline/view")
DIGITS = 12  # of a time in seconds, at most; Python converts no more than 4,300
_SIGNED = "&signed="


def signed_link(key: str, path: str, query: str) -> str:
    """The address of a path and its query, with a signature by the server's key."""
    until = int(time.time()) + SECONDS
    return f"{path}?{query}{_SIGNED}{until}.{_signature(key, path, query, until)}"


def is_signed(key: str, path: str, query: str) -> bool:
    """Whether an address comes from `signed_link`, and may still be opened."""
    query, _, signed = query.rpartition(_SIGNED)
    until, _, signature = signed.partition(".")
    if path not in FRAMED_PATHS or not until.isdecimal() or len(until) > DIGITS or int(until) < time.time():
        return False
    return hmac.compare_digest(signature.encode(), _signature(key, path, query, int(until)).encode())


def _signature(key: str, path: str, query: str, until: int) -> str:
    return hmac.new(key.encode(), f"{until}\0{path}?{query}".encode(), hashlib.sha256).hexdigest()
