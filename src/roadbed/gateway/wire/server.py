"""Downstream side of the data plane: one `ServerConnection` per client socket.

Life of a connection: idle → reading → handling → (next pipelined request | idle) → closed. Requests of one connection
are handled one after the other; later pipelined ones wait parsed, at most MAX_PIPELINED, while reading is paused.
Deadlines are not timers: the owner sweeps all connections once a second, which keeps ten thousand idle ones free.
Back-pressure: when the client reads slowly, `paused` is set and the handler is told, so that it stops reading upstream.
"""

import asyncio
import logging
from collections import deque
from time import monotonic
from typing import Protocol, cast

import httptools

from roadbed.gateway.wire import http

MAX_PIPELINED = 64
MAX_HEADERS = 128
log = logging.getLogger(__name__)


class Request:
    """A complete request. Header names are lower case; the last of repeated headers wins. `received_at` is
    `time.monotonic()` when its last byte arrived."""

    __slots__ = ("body", "headers", "http10", "keep_alive", "method", "received_at", "target")

    def __init__(
        self,
        method: bytes,
        target: bytes,
        headers: dict[bytes, bytes],
        body: bytes,
        received_at: float,
        keep_alive: bool,
        http10: bool,
    ) -> None:
        self.method = method
        self.target = target
        self.headers = headers
        self.body = body
        self.received_at = received_at
        self.keep_alive = keep_alive
        self.http10 = http10


class Handler(Protocol):
    """What answers one request. It is told when its client leaves or reads slowly."""

    def client_gone(self) -> None: ...
    def client_slow(self, slow: bool) -> None: ...


class WireLimits:
    """Sizes in bytes, times in seconds (the gateway section of config.yaml)."""

    __slots__ = (
        "body_timeout_s", "header_timeout_s", "idle_timeout_s", "max_body_bytes", "max_body_digits", "max_connections",
        "max_header_bytes", "write_timeout_s",
    )  # fmt: skip

    def __init__(
        self,
        max_connections: int = 20_000,
        max_header_bytes: int = 32 * 2**10,
        max_body_bytes: int = 16 * 2**20,
        header_timeout_s: float = 10.0,
        body_timeout_s: float = 60.0,
        idle_timeout_s: float = 120.0,
        write_timeout_s: float = 60.0,
    ) -> None:
        self.max_connections = max_connections
        self.max_header_bytes = max_header_bytes
        self.max_body_bytes = max_body_bytes
        self.max_body_digits = len(str(max_body_bytes))
        self.header_timeout_s = header_timeout_s
        self.body_timeout_s = body_timeout_s
        self.idle_timeout_s = idle_timeout_s
        self.write_timeout_s = write_timeout_s


class App(Protocol):
    """Owner of the connections."""

    limits: WireLimits
    connections: "set[ServerConnection]"
    draining: bool

    def handle(self, request: Request, connection: "ServerConnection") -> Handler | None:
        """Answers at once (returns None) or keeps the connection and answers later."""
        ...

    def refuse(self, connection: "ServerConnection", status: int, code: str, message: str) -> bytes:
        """Body of the reply to bytes that are not a request we accept."""
        ...


class ServerConnection:
    """Parses requests off one socket and writes responses in order. An asyncio.Protocol in all but descent, so that it
    can be compiled."""

    __slots__ = (
        "_app",
        "_body",
        "_body_size",
        "_closing",
        "_deadline",
        "_handler",
        "_head_only",
        "_head_size",
        "_headers",
        "_in_head",
        "_keep_alive",
        "_loop",
        "_parser",
        "_queue",
        "_reading",
        "_stream_raw",
        "_target",
        "busy",
        "paused",
        "transport",
    )

    def __init__(self, app: App, loop: asyncio.AbstractEventLoop) -> None:
        self._app = app
        self._loop = loop
        self._parser: httptools.HttpRequestParser = httptools.HttpRequestParser(self)
        self._handler: Handler | None = None
        self._queue: deque[Request] | None = None
        self._headers: dict[bytes, bytes] = {}
        self._target = b""
        self._body: list[bytes] = []
        self._body_size = 0
        self._head_size = 0
        self._in_head = True
        self._reading = False
        self._keep_alive = True
        self._stream_raw = False
        self._head_only = False
        self._closing = False
        self._deadline = monotonic() + app.limits.header_timeout_s
        self.busy = False
        self.paused = False
        self.transport: asyncio.Transport = cast(asyncio.Transport, None)

    # ── the socket ────────────────────────────────────────────────────────────────────────────────

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self.transport.set_write_buffer_limits(high=256 * 1024)
        connections = self._app.connections
        connections.add(self)
        if len(connections) > self._app.limits.max_connections:
            self._refuse(503, "too_many_connections", "The gateway has too many open connections.")

    def connection_lost(self, exc: Exception | None) -> None:
        self._app.connections.discard(self)
        self._closing = True
        self._parser = cast(httptools.HttpRequestParser, None)  # breaks the reference cycle
        self._queue = None
        handler, self._handler = self._handler, None
        if handler is not None:
            handler.client_gone()

    def data_received(self, data: bytes) -> None:
        if self._closing:
            return
        if not self._reading:
            self._reading = True
            self._head_size = 0
            if not self.busy:
                self._deadline = monotonic() + self._app.limits.header_timeout_s
        if self._in_head:
            self._head_size += len(data)
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            self._closing = True  # answered as if it had not asked, then closed: what follows is not HTTP/1.1
            if not self.busy:
                self.transport.close()
            return
        except httptools.HttpParserCallbackError:
            if not self._closing:  # else a callback refused the request and has answered
                log.exception("a request handler failed")
                self.abort()
            return
        except httptools.HttpParserError as error:
            self._refuse(400, "malformed_http", f"Malformed HTTP request: {error}.")
            return
        if self._in_head and self._reading and self._head_size > self._app.limits.max_header_bytes:
            self._refuse_head_size()

    def eof_received(self) -> bool:
        return False  # a client that half-closes is gone: engines should not work for it

    def pause_writing(self) -> None:
        self.paused = True
        self._deadline = monotonic() + self._app.limits.write_timeout_s
        if self._handler is not None:
            self._handler.client_slow(True)

    def resume_writing(self) -> None:
        self.paused = False
        if not self.busy:
            self._deadline = monotonic() + self._app.limits.idle_timeout_s
        if self._handler is not None:
            self._handler.client_slow(False)

    # ── httptools callbacks ───────────────────────────────────────────────────────────────────────

    def on_message_begin(self) -> None:
        self._in_head = True
        self._reading = True
        self._headers = {}
        self._target = b""
        self._body = []
        self._body_size = 0

    def on_url(self, url: bytes) -> None:
        self._target += url

    def on_header(self, name: bytes, value: bytes) -> None:
        if not self._in_head:
            return  # trailers mean nothing to us
        self._headers[name.lower()] = value

    def on_headers_complete(self) -> None:
        self._in_head = False
        limits = self._app.limits
        headers = self._headers
        if self._head_size > limits.max_header_bytes:  # bytes seen so far, the body's beginning among them
            size = len(self._target) + sum(len(k) + len(v) + 4 for k, v in headers.items())
            if size > limits.max_header_bytes:
                self._refuse_head_size()
                raise ValueError("head too large")
        if len(headers) > MAX_HEADERS:
            self._refuse(431, "headers_too_large", f"More than {MAX_HEADERS} header fields.")
            raise ValueError("too many headers")
        length = headers.get(b"content-length")
        if length is not None and len(length) >= limits.max_body_digits and int(length) > limits.max_body_bytes:
            self._refuse_body_size()
            raise ValueError("body too large")
        if b"host" not in headers and self._parser.get_http_version() != "1.0":
            self._refuse(400, "missing_host", "HTTP/1.1 requests need a Host header.")
            raise ValueError("no host")
        if not self.busy:
            self._deadline = monotonic() + limits.body_timeout_s
        if b"expect" in headers and headers[b"expect"].lower() == b"100-continue":
            self.transport.write(http.CONTINUE)

    def on_body(self, data: bytes) -> None:
        self._body.append(data)
        self._body_size += len(data)
        if self._body_size > self._app.limits.max_body_bytes:
            self._refuse_body_size()
            raise ValueError("body too large")

    def on_message_complete(self) -> None:
        body = self._body
        parser = self._parser
        keep_alive = parser.should_keep_alive()
        # without a Connection header only HTTP/1.1 is kept alive; asking the parser for its version costs more
        http10 = (not keep_alive or b"connection" in self._headers) and parser.get_http_version() == "1.0"
        request = Request(
            parser.get_method(),
            self._target,
            self._headers,
            body[0] if len(body) == 1 else b"".join(body),
            monotonic(),
            keep_alive,
            http10,
        )
        self._reading = False
        self._in_head = True
        self._head_size = 0
        if not self.busy:
            self._dispatch(request)
            return
        if self._queue is None:
            self._queue = deque()
        self._queue.append(request)
        if len(self._queue) >= MAX_PIPELINED:
            self._closing = True  # answer what is parsed, read no more
            self.transport.pause_reading()
            raise ValueError("too many pipelined requests")

    # ── answering ─────────────────────────────────────────────────────────────────────────────────

    def _dispatch(self, request: Request) -> None:
        self.busy = True
        self._keep_alive = request.keep_alive and not self._app.draining
        self._stream_raw = request.http10
        self._head_only = request.method == b"HEAD"
        self._handler = None
        handler = self._app.handle(request, self)
        if self.busy and handler is not None:
            self._handler = handler
            if self.paused:
                handler.client_slow(True)

    def respond(self, status: int, headers: bytes, body: bytes) -> None:
        """A whole response in one write; the request is over."""
        keep_alive = self._keep_alive and not self._app.draining
        head = http.head(status, headers, content_length=len(body), keep_alive=keep_alive)
        self.transport.write(head if self._head_only else head + body)
        self._finish(keep_alive)

    def start_stream(self, status: int, headers: bytes, first: bytes) -> None:
        """Head and first piece of a body whose length is not known."""
        if self._stream_raw:
            self._keep_alive = False
            self.transport.write(http.head_until_close(status, headers) + first)
            return
        head = http.head(status, headers, content_length=None, keep_alive=self._keep_alive)
        self.transport.write(head + http.chunk(first) if first else head)

    def write_stream(self, data: bytes) -> None:
        """A further piece, not empty."""
        self.transport.write(data if self._stream_raw else b"%x\r\n%b\r\n" % (len(data), data))

    def end_stream(self, last: bytes = b"") -> None:
        """The end of the body, with `last` before it; the request is over."""
        if self._stream_raw:
            self.transport.write(last)
        else:
            self.transport.write(http.chunk(last) + http.LAST_CHUNK if last else http.LAST_CHUNK)
        self._finish(self._keep_alive and not self._app.draining)

    def abort(self) -> None:
        """Drops the connection; the handler is told that its client is gone."""
        self._closing = True
        self.transport.abort()

    def _finish(self, keep_alive: bool) -> None:
        self._handler = None
        self.busy = False
        queue = self._queue
        if queue and keep_alive:
            self.busy = True  # stays ours until the next request is dispatched
            self._loop.call_soon(self._next)
            return
        if not keep_alive or self._closing:
            self._closing = True
            self.transport.close()
            return
        self._deadline = monotonic() + self._app.limits.idle_timeout_s

    def _next(self) -> None:
        if self._queue and not self.transport.is_closing():
            self._dispatch(self._queue.popleft())

    def _refuse(self, status: int, code: str, message: str) -> None:
        """Answers bytes that are no acceptable request and closes. Silent while an earlier response is being sent."""
        if self._closing:
            return
        self._closing = True
        if self.busy:
            self.transport.abort()
            return
        body = self._app.refuse(self, status, code, message)
        headers = b"content-type: application/json\r\n"
        self.transport.write(http.head(status, headers, content_length=len(body), keep_alive=False) + body)
        self.transport.close()

    def _refuse_head_size(self) -> None:
        limit = self._app.limits.max_header_bytes
        self._refuse(431, "headers_too_large", f"Request line and headers exceed {limit} bytes.")

    def _refuse_body_size(self) -> None:
        self._refuse(413, "request_too_large", f"Request body exceeds {self._app.limits.max_body_bytes} bytes.")

    # ── housekeeping ──────────────────────────────────────────────────────────────────────────────

    def sweep(self, now: float) -> None:
        """Called once a second: ends connections that are past their deadline."""
        if now < self._deadline:
            return
        if self.paused:
            self.abort()
        elif not self.busy:
            if self._reading:
                self._refuse(408, "request_timeout", "The request did not arrive in time.")
            else:
                self._closing = True
                self.transport.close()

    def drain(self) -> None:
        """Closes if idle; a busy connection closes after its response."""
        self._keep_alive = False
        if not self.busy and not self._reading:
            self._closing = True
            self.transport.close()
