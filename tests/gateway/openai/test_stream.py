"""Streams in any pieces: the same bytes out, the same count."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from roadbed.gateway.openai import stream
from roadbed.gateway.openai.stream import StreamMeter

USAGE = {"prompt_tokens": 5, "completion_tokens": 3, "total_tokens": 8}
DONE = b"data: [DONE]\n\n"
CONTENT = st.text(max_size=40) | st.sampled_from(['data: {"usage": 1}', "\n\n", '"usage"', "data: [DONE]"])


def chunk(content: str) -> bytes:
    return b"data: " + json.dumps({"choices": [{"delta": {"content": content}}]}).encode() + b"\n\n"


USAGE_CHUNK = b"data: " + json.dumps({"choices": [], "usage": USAGE}).encode() + b"\n\n"


def feed(meter: StreamMeter, whole: bytes, cuts: list[int]) -> bytes:
    edges = sorted({0, len(whole), *(cut % (len(whole) + 1) for cut in cuts)})
    out = b"".join(meter.feed(whole[a:b]) for a, b in zip(edges, edges[1:], strict=False))
    return out + meter.finish()


@given(
    contents=st.lists(CONTENT, max_size=12), cuts=st.lists(st.integers(0, 2000), max_size=10), reported=st.booleans()
)
@settings(max_examples=200, deadline=None)
def test_pieces_do_not_matter(contents: list[str], cuts: list[int], reported: bool) -> None:
    body = b"".join(map(chunk, contents))
    meter = StreamMeter(usage_wanted=False)
    out = feed(meter, body + (USAGE_CHUNK if reported else b"") + DONE, cuts)
    assert out == body + DONE
    assert meter.num_events == len(contents)
    assert meter.done
    assert (meter.usage is not None) == reported


@given(contents=st.lists(CONTENT, max_size=12), cuts=st.lists(st.integers(0, 2000), max_size=10))
@settings(max_examples=200, deadline=None)
def test_with_usage_wanted_every_chunk_says_null_and_stays_json(contents: list[str], cuts: list[int]) -> None:
    meter = StreamMeter(usage_wanted=True)
    out = feed(meter, b"".join(map(chunk, contents)) + USAGE_CHUNK + DONE, cuts)
    *events, last, done, rest = out.split(b"\n\n")
    assert (done, rest) == (DONE.strip(), b"")
    parsed = [json.loads(event[6:]) for event in events]
    assert [event["choices"][0]["delta"]["content"] for event in parsed] == contents
    assert all(event["usage"] is None for event in parsed)
    assert json.loads(last[6:])["usage"] == USAGE


@given(data=st.lists(st.binary(max_size=60), max_size=10), wanted=st.booleans())
@settings(max_examples=200, deadline=None)
def test_any_bytes_pass_without_an_exception(data: list[bytes], wanted: bool) -> None:
    meter = StreamMeter(wanted)
    for piece in data:
        meter.feed(piece)
    meter.finish()


def test_comments_and_crlf_are_understood() -> None:
    meter = StreamMeter(usage_wanted=False)
    out = meter.feed(b": ping\n\n" + chunk("a").replace(b"\n\n", b"\r\n\r\n") + DONE)
    assert out.startswith(b": ping\n\n")
    assert (meter.num_events, meter.done) == (1, True)


def test_usage_beside_content_is_kept_and_forwarded() -> None:
    event = b"data: " + json.dumps({"choices": [{"delta": {}}], "usage": USAGE}).encode() + b"\n\n"
    meter = StreamMeter(usage_wanted=False)
    assert meter.feed(event) == event
    assert meter.usage is not None
    assert meter.usage.completion_tokens == 3


def test_an_event_without_end_is_an_error() -> None:
    meter = StreamMeter(usage_wanted=False)
    with pytest.raises(ValueError, match="without end"):
        for _ in range(stream.MAX_EVENT_BYTES // 100_000 + 2):
            meter.feed(b"data: " + b"x" * 100_000)


@pytest.mark.parametrize("first", [{"content": "x,}"}, {}, {"role": "assistant", "content": "data"}])
@pytest.mark.parametrize("wanted", [False, True])
def test_the_first_delta_of_a_chat_names_its_role(first: dict[str, str], wanted: bool) -> None:
    meter = StreamMeter(wanted, chat=True)
    events = [{"choices": [{"delta": first}]}, {"choices": [{"delta": {"content": "y"}}]}]
    encoded = [b"data: " + json.dumps(event, separators=(",", ":")).encode() + b"\n\n" for event in events]
    one, two = [json.loads(meter.feed(piece)[6:]) for piece in encoded]
    assert one["choices"][0]["delta"] == {"role": "assistant"} | first
    assert two["choices"][0]["delta"] == {"content": "y"}
