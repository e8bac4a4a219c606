"""Upstream side of the data plane: pooled keep-alive connections to engines.

A `Sink` receives the response piece by piece. Losing a connection before the first byte of a response is reported as
such: the sink may try again elsewhere. A reused connection that the engine had closed meanwhile looks the same and is
tried again once on a fresh connection to the same engine, because the engine never began the work.
"""

import asyncio
import logging
import ssl as tls
from time import monotonic
from typing import Protocol, cast

import httptools

MAX_IDLE = 256
IDLE_REUSE_S = 4.0
"""Engines close idle connections (llama.cpp after 5 s): older ones are not worth the gamble."""
log = logging.getLogger(__name__)


class Sink(Protocol):
    """Receives one response. `upstream` is the connection serving it, set by the pool; a sink that no longer wants
    its response sets `gone` and cancels that connection."""

    upstream: "UpstreamConnection | None"
    gone: bool

    def up_head(self, status: int, headers: dict[bytes, bytes]) -> None: ...
    def up_data(self, data: bytes) -> None: ...
    def up_done(self) -> None: ...
    def up_lost(self, message: str, reached: bool) -> None:
        """The connection failed; `reached` tells whether the engine may have begun the work."""
        ...


class UpstreamConnection:
    """One socket to an engine, at most one request at a time. An asyncio.Protocol in all but descent, so that it can be
    compiled."""

    __slots__ = (
        "_complete",
        "_headers",
        "_keep_alive",
        "_parser",
        "_paused",
        "_payload",
        "_pool",
        "_sink",
        "_status",
        "last_data_at",
        "transport",
        "used",
    )

    def __init__(self, pool: "Pool") -> None:
        self._pool = pool
        self._parser: httptools.HttpResponseParser = httptools.HttpResponseParser(self)
        self._sink: Sink | None = None
        self._headers: dict[bytes, bytes] = {}
        self._status = 0
        self._complete = True
        self._keep_alive = True
        self._paused = False
        self._payload = b""
        self.used = False
        self.last_data_at = 0.0
        self.transport: asyncio.Transport = cast(asyncio.Transport, None)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self.last_data_at = monotonic()
        self._pool.open.add(self)

    def send(self, sink: Sink, payload: bytes) -> None:
        """Writes a whole request, head and body."""
        self._sink = sink
        sink.upstream = self
        self._payload = payload if self.used else b""
        self._status = 0
        self._complete = False
        self.last_data_at = monotonic()
        self.transport.write(payload)

    def cancel(self) -> None:
        """Drops the connection so that the engine stops working on it."""
        self._sink = None
        self.transport.abort()

    def pause_writing(self) -> None:
        """The engine reads slowly: its request is bounded, so there is nothing to hold back."""

    def resume_writing(self) -> None:
        """The engine reads again."""

    def eof_received(self) -> bool:
        return False

    def pause(self, slow: bool) -> None:
        """Stops or resumes reading, for a client that reads slowly."""
        if self.transport.is_closing() or slow == self._paused:
            return
        self._paused = slow
        if slow:
            self.transport.pause_reading()
        else:
            self.last_data_at = monotonic()
            self.transport.resume_reading()

    def stalled(self, now: float, limit_s: float) -> bool:
        """A request is under way and its engine has been silent for longer than `limit_s`."""
        return self._sink is not None and not self._paused and now - self.last_data_at > limit_s

    def data_received(self, data: bytes) -> None:
        if self._complete:
            self.transport.abort()  # bytes nobody asked for
            return
        self.last_data_at = monotonic()
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserCallbackError:
            log.exception("a response handler failed")
            self.transport.abort()
            return
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as error:
            sink, self._sink = self._sink, None
            self.transport.abort()
            if sink is not None:
                sink.up_lost(f"engine sent malformed HTTP ({error})", True)
            return
        if self._complete and self._sink is not None:
            self._over()

    def connection_lost(self, exc: Exception | None) -> None:
        self._pool.open.discard(self)
        self._pool.discard_idle(self)
        sink, self._sink = self._sink, None
        self._parser = cast(httptools.HttpResponseParser, None)  # breaks the reference cycle
        if sink is None:
            return
        ended_by_close = b"content-length" not in self._headers and b"transfer-encoding" not in self._headers
        if self._status and ended_by_close:
            sink.up_done()
        elif self._status == 0 and self._payload:
            self._pool.connect(sink, self._payload)  # a stale keep-alive connection: once more, fresh
        else:
            sink.up_lost(f"engine closed the connection ({exc or 'end of stream'})", True)

    def _over(self) -> None:
        sink, self._sink = self._sink, None
        self._payload = b""
        self.used = True
        if self._paused:
            self._paused = False
            self.transport.resume_reading()
        if self._keep_alive:
            self._pool.give_back(self)
        else:
            self.transport.close()
        if sink is not None:
            sink.up_done()

    # ── httptools callbacks ───────────────────────────────────────────────────────────────────────

    def on_message_begin(self) -> None:
        self._headers = {}

    def on_header(self, name: bytes, value: bytes) -> None:
        self._headers[name.lower()] = value

    def on_headers_complete(self) -> None:
        if self._sink is None:
            return
        status = self._parser.get_status_code()
        if status >= 200:
            self._status = status
            self._sink.up_head(status, self._headers)

    def on_body(self, data: bytes) -> None:
        if self._sink is not None:
            self._sink.up_data(data)

    def on_message_complete(self) -> None:
        if self._status >= 200:
            self._complete = True
            self._keep_alive = self._parser.should_keep_alive()  # asked later, llhttp has forgotten


class Pool:
    """Connections to one engine. `send` never blocks; it answers through the sink."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        host: str,
        port: int,
        *,
        ssl: tls.SSLContext | None = None,
        connect_timeout_s: float = 3.0,
        idle_timeout_s: float = 600.0,
    ) -> None:
        self.loop = loop
        self.host = host
        self.port = port
        self._ssl = ssl
        self._connect_timeout_s = connect_timeout_s
        self._idle_timeout_s = idle_timeout_s
        self._idle: list[UpstreamConnection] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self._retired = False
        self.open: set[UpstreamConnection] = set()

    def send(self, sink: Sink, payload: bytes) -> None:
        """Sends on an idle connection, else on a new one; answers through the sink."""
        oldest = monotonic() - IDLE_REUSE_S
        while self._idle:
            connection = self._idle.pop()
            if connection.transport.is_closing():
                continue
            if connection.last_data_at < oldest:
                connection.transport.close()
                continue
            connection.send(sink, payload)
            return
        self.connect(sink, payload)

    def connect(self, sink: Sink, payload: bytes) -> None:
        """Sends on a new connection."""
        task = self.loop.create_task(self._connect(sink, payload))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _connect(self, sink: Sink, payload: bytes) -> None:
        sink.upstream = None
        connection = UpstreamConnection(self)
        protocol = cast(asyncio.Protocol, connection)
        try:
            async with asyncio.timeout(self._connect_timeout_s):
                await self.loop.create_connection(lambda: protocol, self.host, self.port, ssl=self._ssl)
        except (OSError, TimeoutError) as error:
            if not sink.gone:
                reason = error.strerror if isinstance(error, OSError) and error.strerror else type(error).__name__
                sink.up_lost(f"cannot connect to the engine ({reason})", False)
            return
        if sink.gone:
            self.give_back(connection)
        else:
            connection.send(sink, payload)

    def give_back(self, connection: UpstreamConnection) -> None:
        """Keeps a connection for the next request."""
        if len(self._idle) < MAX_IDLE and not self._retired:
            self._idle.append(connection)
        else:
            connection.transport.close()

    def discard_idle(self, connection: UpstreamConnection) -> None:
        """Forgets a connection that has closed."""
        if connection in self._idle:
            self._idle.remove(connection)

    def sweep(self, now: float) -> None:
        """Called once a second: fails requests whose engine has been silent too long."""
        for connection in list(self.open):
            if connection.stalled(now, self._idle_timeout_s):
                connection.transport.abort()

    def retire(self) -> None:
        """The engine left: idle connections close now, busy ones after their response."""
        self._retired = True
        for connection in list(self._idle):
            connection.transport.close()

    def close(self) -> None:
        """Drops every connection."""
        for task in list(self._tasks):
            task.cancel()
        for connection in list(self.open):
            connection.transport.abort()
