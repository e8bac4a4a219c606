"""Replies of the gateway, however their bytes are cut, and every way they can break."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from roadbed.console import upstream
from roadbed.console.upstream import MAX_HEADER_BYTES, post
from roadbed.errors import UnreachableError

Script = Callable[[bytes, asyncio.StreamWriter], Awaitable[None]]
REPLY = (
    b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
    b"5\r\nhello\r\n7\r\n, world\r\n0\r\n\r\n"
)


@asynccontextmanager
async def serving(script: Script) -> AsyncIterator[str]:
    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        try:
            await script(head, writer)
        finally:
            writer.close()

    server = await asyncio.start_server(connected, "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"


async def fetch(script: Script) -> tuple[int, dict[str, str], bytes]:
    async with serving(script) as url:
        reply = await post(url, "/v1/chat/completions", "rb_key", b"{}")
        try:
            return reply.status, reply.headers, b"".join([piece async for piece in reply.pieces()])
        finally:
            await reply.close()
            await reply.close()


def saying(*pieces: bytes) -> Script:
    async def script(_: bytes, writer: asyncio.StreamWriter) -> None:
        for piece in pieces:
            writer.write(piece)
            await writer.drain()
            await asyncio.sleep(0)

    return script


def test_the_request_is_what_the_gateway_expects() -> None:
    heard: list[bytes] = []

    async def script(head: bytes, writer: asyncio.StreamWriter) -> None:
        heard.append(head)
        writer.write(REPLY)

    assert asyncio.run(fetch(script)) == (
        200,
        {"content-type": "text/event-stream", "transfer-encoding": "chunked"},
        b"hello, world",
    )
    assert heard[0].startswith(b"POST /v1/chat/completions HTTP/1.1\r\nhost: 127.0.0.1:")
    assert b"\r\nauthorization: Bearer rb_key\r\n" in heard[0]


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(1, len(REPLY) - 1), max_size=12))
def test_any_cut_of_the_bytes_reads_the_same(places: list[int]) -> None:
    edges = [0, *sorted(set(places)), len(REPLY)]
    pieces = [REPLY[start:end] for start, end in zip(edges, edges[1:], strict=False)]
    assert asyncio.run(fetch(saying(*pieces)))[2] == b"hello, world"


def test_a_reply_with_a_length() -> None:
    status, _, body = asyncio.run(fetch(saying(b"HTTP/1.1 429 Too Many\r\ncontent-length: 4\r\n\r\nbusy")))
    assert (status, body) == (429, b"busy")


@pytest.mark.parametrize(
    ("said", "why"),
    [
        (b"", "hung up"),
        (b"HTTP/1.1 200 OK\r\ncontent-le", "hung up"),
        (REPLY[:-5], "hung up"),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nshort", "hung up"),
        (b"SSH-2.0-nothing\r\n\r\n", "broke off"),
        (b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n", "broke off"),
        (b"HTTP/1.1 200 OK\r\nx: " + b"a" * MAX_HEADER_BYTES + b"\r\n" * 2, "too large"),
    ],
)
def test_broken_replies(said: bytes, why: str) -> None:
    with pytest.raises(UnreachableError, match=why):
        asyncio.run(fetch(saying(said)))


def test_silence_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(upstream, "IDLE_TIMEOUT_S", 0.05)

    async def silent(_: bytes, writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(0.5)

    with pytest.raises(UnreachableError, match="said nothing"):
        asyncio.run(fetch(silent))


def test_nobody_there() -> None:
    with pytest.raises(UnreachableError, match=r"no gateway answers at http://127\.0\.0\.1:9"):
        asyncio.run(post("http://127.0.0.1:9", "/", "k", b""))


def test_certificates_are_checked_except_on_this_machine() -> None:
    for host in ("127.0.0.1", "::1", "localhost"):
        assert upstream._context(host).verify_mode == ssl.CERT_NONE
    for host in ("10.0.0.1", "gateway.example"):
        context = upstream._context(host)
        assert context.verify_mode == ssl.CERT_REQUIRED
        assert context.check_hostname
