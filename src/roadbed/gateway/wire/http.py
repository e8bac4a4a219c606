"""Bytes of HTTP/1.1 heads and chunks: the only place that formats them."""

from http import HTTPStatus
from time import time
from wsgiref.handlers import format_date_time

STATUS_LINES: dict[int, bytes] = {s.value: b"HTTP/1.1 %d %s\r\n" % (s.value, s.phrase.encode()) for s in HTTPStatus}
LAST_CHUNK = b"0\r\n\r\n"
CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"

_date: tuple[int, bytes] = (0, b"")


def date_header() -> bytes:
    """`date: …\\r\\n`, formatted once a second."""
    global _date
    now = int(time())
    if _date[0] != now:
        _date = (now, b"date: " + format_date_time(now).encode() + b"\r\n")
    return _date[1]


def head(status: int, headers: bytes, *, content_length: int | None, keep_alive: bool) -> bytes:
    """A response head. `headers` is ready-made `name: value\\r\\n` lines; content_length None = chunked."""
    framing = (
        b"transfer-encoding: chunked\r\n" if content_length is None else b"content-length: %d\r\n" % content_length
    )
    closing = b"" if keep_alive else b"connection: close\r\n"
    return b"%b%b%b%b%b\r\n" % (STATUS_LINES[status], date_header(), headers, framing, closing)


def head_until_close(status: int, headers: bytes) -> bytes:
    """A response head for HTTP/1.0 streams, whose end is the end of the connection."""
    return b"%b%b%bconnection: close\r\n\r\n" % (STATUS_LINES[status], date_header(), headers)


def chunk(data: bytes) -> bytes:
    """One chunk of a chunked body. `data` must not be empty (an empty chunk ends the body)."""
    return b"%x\r\n%b\r\n" % (len(data), data)


def header_safe(text: str) -> bytes:
    """`text` as a header value: anything outside visible ASCII becomes '?', so no header can be injected."""
    return bytes(c if 0x20 <= c < 0x7F else 0x3F for c in text.encode("ascii", "replace"))
