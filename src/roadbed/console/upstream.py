"""One streaming POST to the gateway on asyncio streams: no pool, no HTTP library, everything bounded.

A chat lasts seconds, so a connection of its own costs nothing, and closing it is how the gateway (and through it the
engine) learns that nobody listens any more.
"""

import asyncio
import ipaddress
import ssl
from collections import deque
from collections.abc import AsyncIterator
from urllib.parse import urlsplit

import httptools

from roadbed.errors import UnreachableError

CONNECT_TIMEOUT_S = 3.0
IDLE_TIMEOUT_S = 600.0
"""As long as the gateway waits for a silent engine."""
MAX_HEADER_BYTES = 64 * 2**10
_READ_BYTES = 64 * 2**10


class Reply:
    """A reply whose head is here; `pieces` gives the body as it comes. Whoever has one closes it."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.status = 0
        self.headers: dict[str, str] = {}
        """Names in lower case."""
        self._reader = reader
        self._writer = writer
        self._parser = httptools.HttpResponseParser(self)
        self._pieces: deque[bytes] = deque()
        self._head = False
        self._complete = False
        self._num_header_bytes = 0

    # callbacks of the parser

    def on_header(self, name: bytes, value: bytes) -> None:
        self._num_header_bytes += len(name) + len(value)
        if self._num_header_bytes <= MAX_HEADER_BYTES:
            self.headers[name.decode("latin-1").lower()] = value.decode("latin-1")

    def on_headers_complete(self) -> None:
        self.status = self._parser.get_status_code()
        self._head = True

    def on_body(self, body: bytes) -> None:
        self._pieces.append(body)

    def on_message_complete(self) -> None:
        self._complete = True

    # what callers use

    async def head(self) -> None:
        """Reads until status and headers are known. Raises UnreachableError."""
        while not self._head:
            await self._more()
            if self._num_header_bytes > MAX_HEADER_BYTES:
                raise UnreachableError("the gateway's headers are too large", hint="roadbed logs gateway-0")

    async def pieces(self) -> AsyncIterator[bytes]:
        """The body, piece by piece. Raises UnreachableError when it ends before it is complete."""
        while True:
            while self._pieces:
                yield self._pieces.popleft()
            if self._complete:
                return
            await self._more()

    async def close(self) -> None:
        """Hangs up; safe to call twice."""
        self._writer.close()
        try:
            await self._writer.wait_closed()
        except OSError:
            pass  # hanging up is all we wanted; how the other side takes it is its own affair

    async def _more(self) -> None:
        try:
            async with asyncio.timeout(IDLE_TIMEOUT_S):
                data = await self._reader.read(_READ_BYTES)
            if not data:
                raise UnreachableError("the gateway hung up before its answer was complete", hint="roadbed ps")
            self._parser.feed_data(data)
        except TimeoutError:
            raise UnreachableError(f"the gateway said nothing for {IDLE_TIMEOUT_S:.0f} s", hint="roadbed ps") from None
        except (OSError, httptools.HttpParserError) as error:
            raise UnreachableError(f"the gateway's answer broke off: {error}", hint="roadbed ps") from error


async def post(base_url: str, path: str, key: str, body: bytes) -> Reply:
    """Sends JSON with the API key and waits for the head of the reply. Raises UnreachableError."""
    url = urlsplit(base_url)
    host, tls = url.hostname or "", url.scheme == "https"
    port = url.port or (443 if tls else 80)
    try:
        async with asyncio.timeout(CONNECT_TIMEOUT_S):
            reader, writer = await asyncio.open_connection(host, port, ssl=_context(host) if tls else None)
    except (OSError, TimeoutError) as error:
        raise UnreachableError(f"no gateway answers at {base_url}: {error or 'timeout'}", hint="roadbed ps") from error
    reply = Reply(reader, writer)
    try:
        head = (
            f"POST {url.path.rstrip('/')}{path} HTTP/1.1\r\nhost: {url.netloc}\r\nconnection: close\r\n"
            f"content-type: application/json\r\ncontent-length: {len(body)}\r\nauthorization: Bearer {key}\r\n\r\n"
        )
        writer.write(head.encode("latin-1") + body)
        await reply.head()
    except BaseException:
        await reply.close()
        raise
    return reply


def _context(host: str) -> ssl.SSLContext:
    context = ssl.create_default_context()
    try:
        loopback = ipaddress.ip_address(host).is_loopback
    except ValueError:
        loopback = host == "localhost"
    if loopback:
        # The gateway of this very machine: its certificate names the public host, and nobody is in between.
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context
