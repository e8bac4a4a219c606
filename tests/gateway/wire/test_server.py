"""The downstream protocol: any bytes, in any pieces, end in a response or a closed connection."""

import asyncio
import itertools
import json
from collections.abc import Callable
from time import monotonic
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from roadbed.gateway.wire.server import MAX_PIPELINED, Handler, Request, ServerConnection, WireLimits


class Echo:
    """An app that answers at once with what it understood."""

    def __init__(self, limits: WireLimits | None = None) -> None:
        self.limits = limits or WireLimits()
        self.connections: set[ServerConnection] = set()
        self.draining = False
        self.requests: list[Request] = []

    def handle(self, request: Request, connection: ServerConnection) -> Handler | None:
        self.requests.append(request)
        connection.respond(200, b"", request.method + b" " + request.target + b" %d" % len(request.body))
        return None

    def refuse(self, connection: ServerConnection, status: int, code: str, message: str) -> bytes:
        return json.dumps({"status": status, "code": code}).encode()


class Later(Echo):
    """An app that keeps every request until `answer` is called."""

    def __init__(self) -> None:
        super().__init__()
        self.waiting: list[ServerConnection] = []
        self.num_gone = 0

    def handle(self, request: Request, connection: ServerConnection) -> Handler | None:
        self.requests.append(request)
        self.waiting.append(connection)
        return self

    def client_gone(self) -> None:
        self.num_gone += 1

    def client_slow(self, slow: bool) -> None:
        pass


class Wire(asyncio.Transport):
    """A transport that remembers."""

    def __init__(self) -> None:
        super().__init__()
        self.out = b""
        self.closed = False
        self.reading = True

    def write(self, data: Any) -> None:
        self.out += data

    def close(self) -> None:
        self.closed = True

    def abort(self) -> None:
        self.closed = True

    def is_closing(self) -> bool:
        return self.closed

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        pass

    def pause_reading(self) -> None:
        self.reading = False


def connect(app: Any) -> tuple[ServerConnection, Wire]:
    wire = Wire()
    connection = ServerConnection(app, asyncio.get_running_loop())
    connection.connection_made(wire)
    return connection, wire


def talk(app: Any, *pieces: bytes) -> Wire:
    """Feeds the pieces to a fresh connection and lets the loop run."""

    async def scenario() -> Wire:
        connection, wire = connect(app)
        for piece in pieces:
            connection.data_received(piece)
        for _ in range(MAX_PIPELINED + 2):
            await asyncio.sleep(0)
        connection.connection_lost(None)
        return wire

    return asyncio.run(scenario())


POST = b"POST /x HTTP/1.1\r\nhost: h\r\ncontent-length: 5\r\n\r\nhello"
CHUNKED = b"POST /y HTTP/1.1\r\nhost: h\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n"
GET = b"GET /z?q=1 HTTP/1.1\r\nHost: h\r\n\r\n"


@given(cuts=st.lists(st.integers(0, 400), max_size=12))
@settings(max_examples=150, deadline=None)
def test_fragmentation_changes_nothing(cuts: list[int]) -> None:
    whole = POST + CHUNKED + GET + POST
    edges = sorted({0, len(whole), *(cut % len(whole) for cut in cuts)})
    pieces = [whole[a:b] for a, b in itertools.pairwise(edges)]
    app = Echo()
    wire = talk(app, *pieces)
    assert [(r.method, r.target, r.body) for r in app.requests] == [
        (b"POST", b"/x", b"hello"),
        (b"POST", b"/y", b"abcde"),
        (b"GET", b"/z?q=1", b""),
        (b"POST", b"/x", b"hello"),
    ]
    assert wire.out.count(b"HTTP/1.1 200 OK") == 4
    assert not wire.closed


@given(data=st.lists(st.binary(max_size=200), max_size=8))
@settings(max_examples=300, deadline=None)
def test_any_bytes_end_in_an_answer_a_wait_or_a_close(data: list[bytes]) -> None:
    app = Echo(WireLimits(max_header_bytes=400, max_body_bytes=400))
    wire = talk(app, *data)
    if wire.out:
        assert wire.out.startswith(b"HTTP/1.1 ")


@given(head=st.binary(max_size=60), tail=st.binary(max_size=60), at=st.integers(0, 60))
@settings(max_examples=300, deadline=None)
def test_a_damaged_request_never_reaches_the_app_twice(head: bytes, tail: bytes, at: int) -> None:
    app = Echo()
    at %= len(POST)
    wire = talk(app, POST[:at] + head + POST[at:] + tail)
    assert len(app.requests) <= 2
    assert wire.out.count(b"HTTP/1.1 ") <= 3


@pytest.mark.parametrize(
    ("raw", "status", "code"),
    [
        (b"NONSENSE\r\n\r\n", 400, "malformed_http"),
        (b"GET / HTTP/1.1\r\n\r\n", 400, "missing_host"),
        (b"GET / HTTP/9.9\r\nhost: h\r\n\r\n", 400, "malformed_http"),
        (b"GET / HTTP/1.1\r\nhost: h\r\nbad header\r\n\r\n", 400, "malformed_http"),
        (b"POST / HTTP/1.1\r\nhost: h\r\ncontent-length: x\r\n\r\n", 400, "malformed_http"),
        (b"POST / HTTP/1.1\r\nhost: h\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\n", 400, "malformed_http"),
        (b"POST / HTTP/1.1\r\nhost: h\r\ncontent-length: 9\r\ntransfer-encoding: chunked\r\n\r\n", 400,
         "malformed_http"),
        (b"POST / HTTP/1.1\r\nhost: h\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n", 400, "malformed_http"),
        (b"POST / HTTP/1.1\r\nhost: h\r\ncontent-length: 99999999999999\r\n\r\n", 413, "request_too_large"),
        (b"GET / HTTP/1.1\r\nhost: h\r\nx: " + b"y" * 40_000 + b"\r\n\r\n", 431, "headers_too_large"),
        (b"GET /" + b"y" * 40_000, 431, "headers_too_large"),
        (b"GET / HTTP/1.1\r\nhost: h\r\n" + b"".join(b"a%d: b\r\n" % i for i in range(200)) + b"\r\n",
         431, "headers_too_large"),
    ],
    ids=lambda value: str(value)[:48],
)  # fmt: skip
def test_bad_requests_are_answered_and_closed(raw: bytes, status: int, code: str) -> None:
    app = Echo()
    wire = talk(app, raw)
    head, _, body = wire.out.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 %d " % status)
    assert json.loads(body) == {"status": status, "code": code}
    assert wire.closed
    assert app.requests == []


def test_a_chunked_body_beyond_the_limit_is_refused_while_it_arrives() -> None:
    app = Echo(WireLimits(max_body_bytes=1000))
    piece = b"200\r\n" + b"x" * 512 + b"\r\n"
    wire = talk(app, b"POST / HTTP/1.1\r\nhost: h\r\ntransfer-encoding: chunked\r\n\r\n", piece, piece, piece)
    assert b"413" in wire.out
    assert wire.closed


def test_expect_continue_is_answered_before_the_body() -> None:
    wire = talk(Echo(), POST.replace(b"host: h\r\n", b"host: h\r\nexpect: 100-continue\r\n"))
    assert wire.out.startswith(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK")


def test_http10_and_connection_close_end_the_connection() -> None:
    assert talk(Echo(), b"GET / HTTP/1.0\r\n\r\n").closed
    wire = talk(Echo(), GET.replace(b"Host", b"connection: close\r\nHost"))
    assert wire.closed
    assert b"connection: close" in wire.out


def test_an_upgrade_is_ignored_and_the_connection_closed() -> None:
    app = Echo()
    wire = talk(app, b"GET / HTTP/1.1\r\nhost: h\r\nconnection: upgrade\r\nupgrade: h2c\r\n\r\nPRI * HTTP/2.0\r\n\r\n")
    assert wire.out.count(b"HTTP/1.1 200 OK") == 1
    assert wire.closed
    assert len(app.requests) == 1


def test_head_gets_no_body() -> None:
    wire = talk(Echo(), b"HEAD /abc HTTP/1.1\r\nhost: h\r\n\r\n" + GET)
    assert wire.out.count(b"HTTP/1.1 200") == 2
    assert b"HEAD /abc" not in wire.out


def test_trailers_do_not_become_headers() -> None:
    app = Echo()
    talk(app, CHUNKED.replace(b"0\r\n\r\n", b"0\r\nauthorization: Bearer x\r\n\r\n"))
    assert b"authorization" not in app.requests[0].headers


def _with_loop(scenario: Callable[[], Any]) -> None:
    async def body() -> None:
        await scenario()

    asyncio.run(body())


def test_pipelined_requests_are_answered_in_order_and_their_number_is_bounded() -> None:
    async def scenario() -> None:
        app = Later()
        connection, wire = connect(app)
        connection.data_received(GET * 500)
        assert len(app.requests) == 1
        assert not wire.reading
        for number in range(MAX_PIPELINED + 1):
            assert len(app.requests) == number + 1
            app.waiting[number].respond(200, b"", b"n%d" % number)
            await asyncio.sleep(0)
        assert wire.closed
        assert wire.out.count(b"HTTP/1.1 200") == MAX_PIPELINED + 1
        positions = [wire.out.index(b"n%d" % number) for number in range(10)]
        assert positions == sorted(positions)
        connection.connection_lost(None)

    _with_loop(scenario)


def test_the_handler_is_told_that_its_client_left() -> None:
    async def scenario() -> None:
        app = Later()
        connection, _ = connect(app)
        connection.data_received(GET)
        connection.connection_lost(ConnectionResetError())
        assert app.num_gone == 1
        assert app.connections == set()

    _with_loop(scenario)


def test_deadlines_end_slow_heads_slow_bodies_idle_connections_and_slow_readers() -> None:
    async def scenario() -> None:
        app = Echo(WireLimits(header_timeout_s=10, body_timeout_s=20, idle_timeout_s=30, write_timeout_s=40))
        start = monotonic()
        silent, silent_wire = connect(app)
        slow_head, head_wire = connect(app)
        slow_head.data_received(b"GET / HTT")
        slow_body, body_wire = connect(app)
        slow_body.data_received(POST[:-2])
        idle, idle_wire = connect(app)
        idle.data_received(GET)
        reader, reader_wire = connect(app)
        reader.pause_writing()

        def sweep(after_s: float) -> list[bool]:
            for connection in (silent, slow_head, slow_body, idle, reader):
                connection.sweep(start + after_s)
            return [w.closed for w in (silent_wire, head_wire, body_wire, idle_wire, reader_wire)]

        assert sweep(9) == [False] * 5
        assert sweep(11) == [True, True, False, False, False]
        assert b"408" in head_wire.out
        assert silent_wire.out == b""
        assert sweep(21) == [True, True, True, False, False]
        assert b"408" in body_wire.out
        assert sweep(31) == [True, True, True, True, False]
        assert sweep(41) == [True] * 5

    _with_loop(scenario)


def test_connections_beyond_the_limit_are_turned_away() -> None:
    async def scenario() -> None:
        app = Echo(WireLimits(max_connections=2))
        wires = [connect(app)[1] for _ in range(3)]
        assert [wire.closed for wire in wires] == [False, False, True]
        assert b"503" in wires[2].out

    _with_loop(scenario)


def test_a_failing_handler_closes_the_connection_instead_of_hanging(caplog: pytest.LogCaptureFixture) -> None:
    class Broken(Echo):
        def handle(self, request: Request, connection: ServerConnection) -> Handler | None:
            raise RuntimeError("bug")

    wire = talk(Broken(), GET)
    assert wire.closed
    assert "a request handler failed" in caplog.text
