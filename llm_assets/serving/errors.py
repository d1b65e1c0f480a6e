"""Errors of the API, with bodies as OpenAI's (platform.openai.com/docs/guides/error-codes)."""

from __future__ import annotations

import logging
from typing import Any

LOG = logging.getLogger("llm_assets.serving")
SERVER_ERRORS = 500  # the first status that is the server's fault
RETRY_SECONDS = 2  # after which a request may be repeated that was refused because of too many others


class ApiError(Exception):
    """An answer that is an error.

    status: of HTTP. code: OpenAI's short name of the problem. param: the field that is wrong. retry_after: seconds
    after which the same request may succeed. is_permanent: repeating the request is useless; openai's client repeats
    it after any 5xx unless a header says otherwise.
    """

    def __init__(
        self,
        status: int,
        message: str,
        code: str | None = None,
        param: str | None = None,
        retry_after: int | None = None,
        is_permanent: bool = False,
    ):
        super().__init__(message)
        self.status, self.message, self.code, self.param = status, message, code, param
        self.retry_after, self.is_permanent = retry_after, is_permanent

    @property
    def kind(self) -> str:
        """The field ``type`` of the body."""
        if self.status == 429:
            return "rate_limit_error"
        return "server_error" if self.status >= SERVER_ERRORS else "invalid_request_error"

    def body(self) -> dict[str, Any]:
        return {"error": {"message": self.message, "type": self.kind, "param": self.param, "code": self.code}}

    def headers(self) -> dict[str, str]:
        headers = {} if self.retry_after is None else {"Retry-After": str(self.retry_after)}
        return {**headers, "x-should-retry": "false"} if self.is_permanent else headers


def unreadable(subject: str, error: Exception) -> ApiError:
    """Something that a request names cannot be read: status 404. Why is in the log only, as it may name folders."""
    LOG.warning("%s cannot be read: %s", subject, error)
    return ApiError(404, f"{subject} cannot be read; the server's log says why", "model_not_found", "model")


def invalid(message: str, param: str | None = None, code: str | None = None) -> ApiError:
    """A request that can never succeed: status 400."""
    return ApiError(400, message, code, param)
