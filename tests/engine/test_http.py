import asyncio

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from roadbed.engine.base import Endpoint
from roadbed.engine.http import MAX_BODY_BYTES, Answer, get, post
from roadbed.errors import EngineError, UnreachableError
from tests.engine.conftest import reply, serve


def ask(path: str = "/x", timeout_s: float = 5.0):  # type: ignore[no-untyped-def]
    return lambda endpoint: get(endpoint, path, timeout_s=timeout_s)


def test_a_body_by_length_by_chunks_and_by_end_of_file() -> None:
    chunked = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3;x=y\r\nabc\r\n2\r\nde\r\n0\r\n\r\n"
    for raw in (reply("abcde"), chunked, b"HTTP/1.1 200 OK\r\n\r\nabcde"):
        assert serve({"/x": raw}, ask()).body == b"abcde"


def test_what_is_sent() -> None:
    heard: list[str] = []
    serve({"/x": reply("{}")}, lambda endpoint: post(endpoint, "/x", {"a": 1}), heard)
    (head,) = heard
    assert head.startswith("POST /x HTTP/1.1\r\nHost: 127.0.0.1:")
    assert "Content-Length: 7\r\n" in head
    assert "Authorization: Bearer key-1\r\n" in head
    assert "Connection: close\r\n" in head


def test_a_key_with_a_line_break_is_refused() -> None:
    endpoint = Endpoint(host="127.0.0.1", port=1, api_key="a\r\nX: y")
    with pytest.raises(EngineError, match="line break"):
        asyncio.run(get(endpoint, "/x"))


def test_nobody_there() -> None:
    with pytest.raises(UnreachableError, match="does not answer"):
        asyncio.run(get(Endpoint(host="127.0.0.1", port=1), "/x"))


def test_silence_ends_at_the_time_limit() -> None:
    async def silent() -> None:
        gone = asyncio.Event()

        async def hold(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.read()
            writer.close()
            gone.set()

        async with await asyncio.start_server(hold, "127.0.0.1", 0) as server:
            port = server.sockets[0].getsockname()[1]
            with pytest.raises(UnreachableError, match=r"within 0\.05 s"):
                await get(Endpoint(host="127.0.0.1", port=port), "/x", timeout_s=0.05)
            await gone.wait()

    asyncio.run(silent())


@pytest.mark.parametrize(
    ("raw", "error"),
    [
        (b"SSH-2.0-x\r\n\r\n", EngineError),
        (b"HTTP/1.1 abc\r\n\r\n", EngineError),
        (reply("short").replace(b": 5", b": 50"), UnreachableError),
        (reply("x").replace(b": 1", b": 99999999999"), EngineError),
        (reply("x").replace(b": 1", b": -1"), EngineError),
        (b"HTTP/1.1 200 OK\r\n" + b"a: b\r\n" * 20_000 + b"\r\n", EngineError),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", EngineError),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nabc", EngineError),
        (b"HTTP/1.1 200 OK\r\n\r\n" + b"x" * (MAX_BODY_BYTES + 1), EngineError),
        (b"", UnreachableError),
    ],
)
def test_broken_answers_are_errors(raw: bytes, error: type[Exception]) -> None:
    with pytest.raises(error):
        serve({"/x": raw}, ask())


@settings(max_examples=60, deadline=None)
@given(st.binary(max_size=120), st.booleans())
def test_noise_never_escapes_as_something_else(noise: bytes, after_head: bool) -> None:
    head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" if after_head else b""
    try:
        answer = serve({"/x": head + noise}, ask())
    except (EngineError, UnreachableError):
        return
    assert isinstance(answer.status, int)


@pytest.mark.parametrize(
    ("body", "sentence"),
    [
        (b'{"error":{"message":"no such\\nmodel"}}', "no such model"),
        (b'{"error":"plain"}', "plain"),
        (b'{"detail":"Not Found"}', "Not Found"),
        (b"<html>502</html>", "<html>502</html>"),
        (b"\xff" * 300, "\ufffd" * 200),
    ],
)
def test_sentence_finds_the_message(body: bytes, sentence: str) -> None:
    assert Answer(500, {}, body).sentence() == sentence


def test_unexpected_json_is_an_engine_error() -> None:
    with pytest.raises(EngineError, match="unexpected"):
        Answer(200, {}, b'{"a": "x"}').decode(dict[str, int])
