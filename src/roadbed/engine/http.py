"""The few questions asked of an engine: one small HTTP/1.1 exchange each, on asyncio streams.

No pool and no HTTP library: an engine is asked once a second, and a fresh connection can't inherit the trouble of the
last one. Everything is bounded: time, header and body size.
"""

import asyncio
import ssl
from typing import Any, TypeVar

import msgspec

from roadbed.engine.base import Endpoint
from roadbed.errors import EngineError, UnreachableError

MAX_HEADER_BYTES = 64 * 2**10
MAX_BODY_BYTES = 8 * 2**20

T = TypeVar("T")


class Answer(msgspec.Struct, frozen=True):
    """A whole reply."""

    status: int
    headers: dict[str, str]
    """Names in lower case."""
    body: bytes

    def decode(self, kind: type[T]) -> T:
        """The JSON body. Raises EngineError when it is not that."""
        try:
            return msgspec.json.decode(self.body, type=kind)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise EngineError(f"the engine answered something unexpected: {error}") from error

    def sentence(self) -> str:
        """The error message in the body, whichever way the engine wraps it; bounded."""
        try:
            found: Any = msgspec.json.decode(self.body)
        except (msgspec.DecodeError, UnicodeDecodeError):
            found = self.body[:200].decode(errors="replace")
        for key in ("error", "message", "detail"):
            if isinstance(found, dict) and key in found:
                found = found[key]
        return " ".join(str(found).split())[:200]


async def get(endpoint: Endpoint, path: str, *, timeout_s: float = 5.0) -> Answer:
    """Raises UnreachableError when there is no answer in time, EngineError when it is not HTTP or too large."""
    return await request(endpoint, "GET", path, None, timeout_s=timeout_s)


async def post(endpoint: Endpoint, path: str, body: object, *, timeout_s: float = 5.0) -> Answer:
    """Sends `body` as JSON; raises like `get`."""
    return await request(endpoint, "POST", path, msgspec.json.encode(body), timeout_s=timeout_s)


async def request(endpoint: Endpoint, method: str, path: str, body: bytes | None, *, timeout_s: float) -> Answer:
    """One exchange on a connection of its own. Raises UnreachableError, EngineError for what is not HTTP."""
    where = f"{endpoint.host}:{endpoint.port}"
    try:
        async with asyncio.timeout(timeout_s):
            return await _exchange(endpoint, _head(endpoint, method, path, body) + (body or b""))
    except TimeoutError:
        raise UnreachableError(f"{where} did not answer {path} within {timeout_s:g} s") from None
    except (OSError, asyncio.IncompleteReadError) as error:
        raise UnreachableError(f"{where} does not answer: {error}") from error
    except (ValueError, asyncio.LimitOverrunError) as error:
        raise EngineError(f"{where} does not speak HTTP/1.1 on {path}: {error}") from error


def _head(endpoint: Endpoint, method: str, path: str, body: bytes | None) -> bytes:
    lines = [
        f"{method} {endpoint.base_path}{path} HTTP/1.1",
        f"Host: {endpoint.host}:{endpoint.port}",
        "Connection: close",
        "Accept: application/json, text/plain",
    ]
    if body is not None:
        lines += ["Content-Type: application/json", f"Content-Length: {len(body)}"]
    if endpoint.api_key is not None:
        lines.append(f"Authorization: Bearer {endpoint.api_key}")
    if any("\r" in line or "\n" in line for line in lines):
        raise EngineError("an engine's address or key contains a line break")
    return "\r\n".join(lines).encode() + b"\r\n\r\n"


async def _exchange(endpoint: Endpoint, message: bytes) -> Answer:
    context = ssl.create_default_context() if endpoint.tls else None
    reader, writer = await asyncio.open_connection(endpoint.host, endpoint.port, ssl=context, limit=MAX_HEADER_BYTES)
    try:
        writer.write(message)
        await writer.drain()
        status, headers = _parse_head(await reader.readuntil(b"\r\n\r\n"))
        return Answer(status, headers, await _read_body(reader, status, headers))
    finally:
        writer.close()
        try:
            await writer.wait_closed()
        except OSError:
            pass  # the answer is complete; how the other side hangs up is its own affair


def _parse_head(head: bytes) -> tuple[int, dict[str, str]]:
    first, *rest = head.decode("latin-1").split("\r\n")
    version, _, remainder = first.partition(" ")
    if not version.startswith("HTTP/1.") or not remainder[:3].isdecimal():
        raise ValueError(f"unexpected status line {first[:60]!r}")
    headers = {}
    for line in rest:
        name, colon, value = line.partition(":")
        if colon:
            headers[name.strip().lower()] = value.strip()
    return int(remainder[:3]), headers


async def _read_body(reader: asyncio.StreamReader, status: int, headers: dict[str, str]) -> bytes:
    if status in (204, 304):
        return b""
    if headers.get("transfer-encoding", "").lower() == "chunked":
        return await _read_chunks(reader)
    if "content-length" in headers:
        length = int(headers["content-length"])
        _check_size(length)
        return await reader.readexactly(length)
    parts = bytearray()
    while part := await reader.read(65536):
        parts += part
        _check_size(len(parts))
    return bytes(parts)


async def _read_chunks(reader: asyncio.StreamReader) -> bytes:
    parts = bytearray()
    while True:
        size = int((await reader.readuntil(b"\r\n")).split(b";")[0], 16)
        _check_size(len(parts) + size)
        if size == 0:
            return bytes(parts)
        parts += await reader.readexactly(size)
        if await reader.readexactly(2) != b"\r\n":
            raise ValueError("a chunk does not end where it says")


def _check_size(num_bytes: int) -> None:
    if not 0 <= num_bytes <= MAX_BODY_BYTES:
        raise ValueError(f"the body is larger than {MAX_BODY_BYTES} bytes")
