"""A streamed answer, whole, broken and refused."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from roadbed.cli.completion import Answer, Gateway, refusal
from roadbed.errors import (
    AuthError,
    EngineError,
    ForbiddenError,
    NoCapacityError,
    NotFoundError,
    RoadbedError,
    UnreachableError,
    UsageError,
)
from tests.cli.server import DONE, HEADERS, USAGE, chunked, event, reply, serving

BODY = {"model": "chat", "messages": [{"role": "user", "content": "Hi"}]}


def test_a_whole_answer() -> None:
    stream = (event("Hel"), event("lo"), event("", usage=None), event(usage=USAGE), DONE)
    with serving(chunked(*stream, headers=HEADERS)) as heard:
        answer = Answer()
        pieces = list(Gateway(heard.url, "rb_key").chat(BODY, answer))
    assert pieces == ["Hel", "lo"]
    assert (answer.content, answer.usage, answer.replica, answer.route) == ("Hello", USAGE, "chat-0", "only_one")
    assert answer.request_id == "req_1"
    assert answer.ttft_s is not None
    assert answer.total_s >= answer.ttft_s
    assert b"authorization: Bearer rb_key\r\n" in heard.requests[0]
    assert heard.bodies()[0]["stream_options"] == {"include_usage": True}


def test_events_may_be_cut_anywhere() -> None:
    whole = event("Hel") + event("lo", usage=USAGE) + DONE
    for size in (1, 7, 50):
        pieces = [whole[at : at + size] for at in range(0, len(whole), size)]
        with serving(chunked(*pieces)) as heard:
            assert "".join(Gateway(heard.url, "k").chat(BODY, Answer())) == "Hello"


def test_an_error_inside_the_stream_keeps_what_came() -> None:
    broken = (event("Hel"), event(error={"message": "the replica was lost", "code": "engine_error"}), DONE)
    answer = Answer()
    with serving(chunked(*broken, headers=HEADERS)) as heard, pytest.raises(EngineError) as caught:
        list(Gateway(heard.url, "k").chat(BODY, answer))
    assert (caught.value.message, caught.value.hint) == ("the replica was lost", "roadbed logs chat-0")
    assert answer.content == "Hel"


@pytest.mark.parametrize("end", [True, False])
def test_a_stream_that_ends_early_is_an_error(end: bool) -> None:
    with serving(chunked(event("Hel"), end=end)) as heard, pytest.raises(UnreachableError, match="broke off"):
        list(Gateway(heard.url, "k").chat(BODY, Answer()))


def test_models() -> None:
    body = json.dumps({"data": [{"id": "chat"}, {"id": "smollm2"}]}).encode()
    with serving(reply(body)) as heard:
        assert Gateway(heard.url + "/base", "k").models() == ["chat", "smollm2"]
    assert heard.requests[0].startswith(b"GET /base/v1/models HTTP/1.1\r\n")


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, UsageError), (401, AuthError), (403, ForbiddenError), (404, NotFoundError), (429, NoCapacityError),
        (500, EngineError), (502, EngineError), (503, NoCapacityError),
    ],
)  # fmt: skip
def test_refusals_become_our_errors(status: int, kind: type[RoadbedError]) -> None:
    body = json.dumps({"error": {"message": "because", "type": "x", "param": None, "code": "c"}}).encode()
    with serving(reply(body, status)) as heard, pytest.raises(kind, match="because") as caught:
        list(Gateway(heard.url, "k").chat(BODY, Answer()))
    assert type(caught.value) is kind


@given(st.integers(400, 599), st.binary(max_size=40))
def test_any_refusal_is_an_error_with_a_sentence(status: int, content: bytes) -> None:
    assert str(status) in refusal(status, content).message


def test_nobody_listens() -> None:
    with serving(b"") as heard:
        url = heard.url
    with pytest.raises(UnreachableError, match="no gateway answers at"):
        Gateway(url, "k").models()


@pytest.mark.parametrize("url", ["", "localhost:8000", "ftp://x", "http://"])
def test_a_url_that_is_none(url: str) -> None:
    with pytest.raises(UsageError, match="is not the URL of a gateway"):
        Gateway(url, "k")


def test_tokens_per_s_is_of_the_tokens_after_the_first() -> None:
    answer = Answer(usage={"completion_tokens": 11}, ttft_s=1.0, total_s=2.0)
    assert answer.tokens_per_s == pytest.approx(10.0)
    assert Answer(usage={"completion_tokens": 1}, ttft_s=1.0, total_s=2.0).tokens_per_s is None
    assert Answer(total_s=2.0).to_dict()["tokens_per_s"] is None
