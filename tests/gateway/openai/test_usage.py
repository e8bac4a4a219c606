"""Usage objects as engines write them."""

from hypothesis import given
from hypothesis import strategies as st

from roadbed.gateway.openai.usage import usage_of


def test_usage_with_and_without_details() -> None:
    found = usage_of(b'{"usage":{"prompt_tokens":3,"completion_tokens":4,"prompt_tokens_details":{"cached_tokens":2}}}')
    assert found is not None
    assert (found.prompt_tokens, found.completion_tokens, found.cached_tokens) == (3, 4, 2)
    bare = usage_of(b'{"usage":{"prompt_tokens":3,"prompt_tokens_details":null,"more":[]}}')
    assert bare is not None
    assert (bare.completion_tokens, bare.cached_tokens) == (None, None)


def test_replies_without_usage() -> None:
    assert usage_of(b"{}") is None
    assert usage_of(b'{"usage":null}') is None
    assert usage_of(b'{"usage":5}') is None


@given(st.binary(max_size=100))
def test_any_bytes(body: bytes) -> None:
    usage_of(body)
