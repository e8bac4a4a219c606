"""Errors: the shape, the retry advice, and engines' errors put into it."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from roadbed.gateway.openai.errors import ApiError, from_engine


def test_body_event_and_headers() -> None:
    error = ApiError(429, "rate_limit_exceeded", "Slow down.", retry_after_s=1.2)
    assert json.loads(error.body()) == {
        "error": {"message": "Slow down.", "type": "rate_limit_error", "param": None, "code": "rate_limit_exceeded"}
    }
    assert error.event() == b"data: " + error.body() + b"\n\n"
    assert b"retry-after: 2\r\n" in error.headers()
    assert b"retry-after-ms: 1200\r\n" in error.headers()


def test_a_retry_that_cannot_help_is_advised_against() -> None:
    assert b"x-should-retry: false" in ApiError(429, "insufficient_quota", "x").headers()
    assert b"x-should-retry" not in ApiError(429, "busy", "x", retry_after_s=1).headers()
    assert b"x-should-retry" not in ApiError(500, "x", "x").headers()


@pytest.mark.parametrize(
    ("status", "body", "expected"),
    [
        (400, {"error": {"code": 400, "message": "bad grammar", "type": "invalid_request_error"}}, (400, "invalid_request_error")),
        (400, {"error": {"code": 400, "message": "too long", "type": "exceed_context_size_error"}}, (400, "context_length_exceeded")),
        (400, {"object": "error", "message": "This model's maximum context length is 5", "code": 400}, (400, "context_length_exceeded")),
        (404, {"detail": "Not Found"}, (404, "invalid_request")),
        (401, {"error": {"message": "no key"}}, (502, "engine_error")),
        (500, {"error": {"message": "boom", "type": "server_error"}}, (500, "server_error")),
        (501, {"error": "not built with that"}, (501, "engine_error")),
        (599, b"<html>", (502, "engine_error")),
        (418, b"", (400, "invalid_request")),
    ],
)  # fmt: skip
def test_engine_errors(status: int, body: Any, expected: tuple[int, str]) -> None:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    error = from_engine(status, raw)
    assert (error.status, error.code) == expected


@given(status=st.integers(400, 599), body=st.binary(max_size=80))
def test_any_engine_error_has_the_shape(status: int, body: bytes) -> None:
    error = from_engine(status, body)
    assert 400 <= error.status <= 599
    assert set(json.loads(error.body())["error"]) == {"message", "type", "param", "code"}
