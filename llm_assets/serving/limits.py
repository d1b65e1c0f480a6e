"""What one server allows."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Limits:
    """Limits of a server and of each request.

    body_bytes: of a request's body. body_seconds: in which it must arrive. send_seconds: in which a
    client must take in a part of the answer. max_tokens: sampled for one choice. seconds:
    of a request from its arrival to its last token. sequences: sampled together, and choices of one request. queue:
    requests that wait. memory: bytes of weights that are loaded at a time. result_tokens, calls: see `Tools`, for tools
    that the server runs.
    """

    body_bytes: int = 1 << 20
    body_seconds: float = 10.0
    send_seconds: float = 30.0
    max_tokens: int = 4096
    seconds: float = 120.0
    sequences: int = 64
    queue: int = 128
    memory: int = 4 << 30
    result_tokens: int = 512
    calls: int = 3
