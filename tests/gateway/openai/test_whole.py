"""Streams put together: what leaves is what the engine would have said at once, however the bytes arrive."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from roadbed.gateway.openai.whole import MAX_EVENT_BYTES, Whole

DONE = b"data: [DONE]\n\n"


def chunk(delta: dict[str, Any] | None = None, index: int = 0, finish: str | None = None, **extra: Any) -> bytes:
    choices = [] if delta is None else [{"index": index, "delta": delta, "finish_reason": finish}]
    body = {"id": "c1", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": choices} | extra
    return b"data: " + json.dumps(body).encode() + b"\n\n"


def put_together(stream: bytes) -> dict[str, Any]:
    whole = Whole()
    whole.feed(stream)
    reply: dict[str, Any] = json.loads(whole.body())
    return reply


USAGE = {"prompt_tokens": 7, "completion_tokens": 2, "total_tokens": 9, "prompt_tokens_details": {"cached_tokens": 3}}
STREAM = (
    b": still there\n\n"
    + chunk({"role": "assistant", "content": None})
    + chunk({"content": "hé"})
    + chunk({"content": "llo"})
    + chunk({}, finish="stop", timings={"predicted_n": 2})
    + chunk(usage=USAGE)
    + DONE
)


@given(st.lists(st.integers(0, len(STREAM)), max_size=8))
def test_any_fragmentation_gives_the_same_answer(cuts: list[int]) -> None:
    whole = Whole()
    edges = [0, *sorted(cuts), len(STREAM)]
    for start, end in zip(edges, edges[1:], strict=False):
        whole.feed(STREAM[start:end])
    assert json.loads(whole.body()) == {
        "id": "c1", "object": "chat.completion", "created": 1, "model": "m", "usage": USAGE, "timings": {"predicted_n": 2},
        "choices": [{
            "index": 0, "finish_reason": "stop", "logprobs": None, "message": {"role": "assistant", "content": "héllo"},
        }],
    }  # fmt: skip
    assert whole.usage is not None
    assert (whole.usage.completion_tokens, whole.usage.cached_tokens, whole.num_events, whole.done) == (2, 3, 2, True)


def test_choices_are_kept_apart_and_in_order() -> None:
    stream = chunk({"content": "b"}, 1) + chunk({"content": "a"}) + chunk({"content": "B"}, 1, "length")
    choices = put_together(stream + chunk({}, 0, "stop") + DONE)["choices"]
    assert [(c["index"], c["message"]["content"], c["finish_reason"]) for c in choices] == [
        (0, "a", "stop"), (1, "bB", "length"),
    ]  # fmt: skip


def test_usage_of_several_choices_is_added_up() -> None:
    more = USAGE | {"completion_tokens": 5, "total_tokens": 12}
    stream = chunk({"content": "a"}) + chunk(usage=USAGE) + chunk({"content": "b"}, 1) + chunk(usage=more) + DONE
    assert put_together(stream)["usage"] == USAGE | {"completion_tokens": 7, "total_tokens": 14}


def test_running_totals_are_not_added_up() -> None:
    running = [chunk({"content": "a"}, usage=USAGE | {"completion_tokens": n}) for n in (1, 2)]
    whole = Whole()
    whole.feed(b"".join(running) + chunk(usage=USAGE) + DONE)
    assert whole.usage is not None
    assert whole.usage.completion_tokens == 2


def test_tool_calls_are_joined_by_index() -> None:
    def call(index: int, **fields: Any) -> bytes:
        return chunk({"tool_calls": [{"index": index} | fields]})

    stream = (
        call(0, id="a", type="function", function={"name": "f", "arguments": ""})
        + call(0, function={"arguments": '{"x"'})
        + call(1, id="b", type="function", function={"name": "g", "arguments": "{}"})
        + call(0, function={"arguments": ":1}"})
        + chunk({}, finish="tool_calls")
        + DONE
    )
    message = put_together(stream)["choices"][0]["message"]
    assert message["content"] is None
    assert message["tool_calls"] == [
        {"id": "a", "type": "function", "function": {"name": "f", "arguments": '{"x":1}'}},
        {"id": "b", "type": "function", "function": {"name": "g", "arguments": "{}"}},
    ]


def test_log_probabilities_and_unknown_fields_are_kept() -> None:
    def token(text: str) -> bytes:
        piece = {"index": 0, "delta": {"content": text, "reasoning_content": text}, "logprobs": {"content": [text]}}
        return b"data: " + json.dumps({"object": "chat.completion.chunk", "choices": [piece]}).encode() + b"\n\n"

    [choice] = put_together(token("a") + token("b") + DONE)["choices"]
    assert choice["logprobs"] == {"content": ["a", "b"]}
    assert choice["message"]["reasoning_content"] == "ab"


def test_text_completions_are_joined() -> None:
    pieces = [{"index": 0, "text": "a"}, {"index": 0, "text": "b"}, {"index": 0, "text": "", "finish_reason": "stop"}]
    stream = b"".join(
        b"data: " + json.dumps({"object": "text_completion", "choices": [piece]}).encode() + b"\n\n" for piece in pieces
    )
    reply = put_together(stream + DONE)
    assert reply["object"] == "text_completion"
    assert reply["choices"] == [{"index": 0, "finish_reason": "stop", "logprobs": None, "text": "ab"}]


def test_no_words_are_an_empty_answer_not_none() -> None:
    assert put_together(chunk({}, finish="stop") + DONE)["choices"][0]["message"]["content"] == ""


@pytest.mark.parametrize("stream", [b"", DONE, chunk({"content": "a"}), chunk(usage=USAGE) + DONE])
def test_half_a_stream_is_no_answer(stream: bytes) -> None:
    with pytest.raises(ValueError, match="early"):
        put_together(stream)


@pytest.mark.parametrize("event", [b'data: {"error":{"code":500,"message":"x"}}', b'error: {"code":500,"message":"x"}'])
def test_an_engines_error_is_kept(event: bytes) -> None:
    whole = Whole()
    whole.feed(chunk({"content": "a"}) + event + b"\n\n")
    assert b'"message":"x"' in whole.error


@pytest.mark.parametrize(
    "payload",
    [b"{", b"[]", b"5", b'{"choices":5}', b'{"choices":[5]}', b'{"choices":[{}]}', b'{"choices":[{"index":"x"}]}',
     b'{"choices":[{"index":0,"delta":5}]}', b'{"usage":5}', b'{"choices":[{"index":0,"delta":{"tool_calls":5}}]}',
     b'{"choices":[{"index":0,"delta":{"tool_calls":[{"index":5000}]}}]}'],
)  # fmt: skip
def test_nonsense_is_a_value_error(payload: bytes) -> None:
    with pytest.raises(ValueError):
        Whole().feed(b"data: " + payload + b"\n\n")


@given(st.binary(max_size=100))
def test_any_bytes_are_taken_or_refused(data: bytes) -> None:
    whole = Whole()
    try:
        whole.feed(b"data: " + data + b"\n\n")
    except ValueError:
        pass
    with pytest.raises(ValueError):
        whole.body()


def test_an_event_without_end_is_refused() -> None:
    whole = Whole()
    with pytest.raises(ValueError, match="without end"):
        whole.feed(b"data: " + b"x" * MAX_EVENT_BYTES)
