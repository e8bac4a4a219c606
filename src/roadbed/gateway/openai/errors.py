"""Errors as OpenAI's clients expect them: {"error": {message, type, param, code}} with a fitting status.

The SDK retries 408, 409, 429 and 5xx and honours `retry-after` and `x-should-retry`; each error below says whether a
retry can help, so that a client neither hammers a wrong request nor gives up on a busy moment.
"""

import math
from collections.abc import Mapping
from typing import Any, Final

import msgspec

_TYPES: Final = {
    400: "invalid_request_error",
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    405: "invalid_request_error",
    408: "timeout_error",
    409: "conflict_error",
    413: "invalid_request_error",
    422: "invalid_request_error",
    429: "rate_limit_error",
    431: "invalid_request_error",
}


class ErrorBody(msgspec.Struct, frozen=True):
    message: str
    type: str
    param: str | None
    code: str | None


class ErrorReply(msgspec.Struct, frozen=True):
    error: ErrorBody


class ApiError(Exception):
    """One refused request. `retry_after_s` is sent when a later try may succeed."""

    def __init__(
        self,
        status: int,
        code: str,
        message: str,
        *,
        param: str | None = None,
        error_type: str | None = None,
        retry_after_s: float | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message
        self.param = param
        self.type = error_type or _TYPES.get(status, "server_error")
        self.retry_after_s = retry_after_s
        self.extra = b""
        """Further header lines."""

    def body(self) -> bytes:
        """The JSON body."""
        return msgspec.json.encode(ErrorReply(ErrorBody(self.message, self.type, self.param, self.code)))

    def event(self) -> bytes:
        """The same as a server-sent event, for a stream that has begun."""
        return b"data: %b\n\n" % self.body()

    def headers(self) -> bytes:
        """Header lines that tell a client what to do next."""
        lines = b"content-type: application/json\r\n" + self.extra
        if self.retry_after_s is not None:
            wait_s = max(0.001, self.retry_after_s)
            lines += b"retry-after: %d\r\nretry-after-ms: %d\r\n" % (math.ceil(wait_s), math.ceil(wait_s * 1000))
        elif self.status in (408, 409, 429):
            lines += b"x-should-retry: false\r\n"
        return lines


def from_engine(status: int, body: bytes) -> ApiError:
    """An engine's own error, put in OpenAI's shape. Engines use ints as codes and types of their own."""
    message, code, param = f"The engine answered {status}.", None, None
    try:
        reply = msgspec.json.decode(body)
    except (msgspec.DecodeError, RecursionError):
        reply = None
    error: Any = reply.get("error", reply) if isinstance(reply, Mapping) else None
    if isinstance(error, Mapping):
        message = str(error.get("message") or message)
        kind = str(error.get("type") or "")
        param = error["param"] if isinstance(error.get("param"), str) else None
        code = error["code"] if isinstance(error.get("code"), str) else kind or None
    elif isinstance(error, str):
        message = error
    if "context" in (code or "") or "maximum context length" in message or "context size" in message:
        return ApiError(400, "context_length_exceeded", message, param="messages")
    if 400 <= status < 500 and status not in (401, 403):
        return ApiError(status if status in _TYPES else 400, code or "invalid_request", message, param=param)
    return ApiError(status if status in (500, 501, 503) else 502, code or "engine_error", message)
