"""A gateway of a few lines that answers with given bytes: what the clients of `chat` and `bench` must survive."""

import contextlib
import json
import socket
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field


@dataclass
class Heard:
    """Where it listens, and the requests it got."""

    url: str
    requests: list[bytes] = field(default_factory=list)

    def bodies(self) -> list[dict[str, object]]:
        return [json.loads(request.partition(b"\r\n\r\n")[2]) for request in self.requests]


def reply(body: bytes, status: int = 200, headers: str = "") -> bytes:
    head = f"HTTP/1.1 {status} X\r\ncontent-length: {len(body)}\r\n{headers}\r\n"
    return head.encode() + body


def chunked(*pieces: bytes, headers: str = "", end: bool = True) -> bytes:
    head = f"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n{headers}\r\n".encode()
    body = b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces)
    return head + body + (b"0\r\n\r\n" if end else b"")


def event(text: str | None = None, **fields: object) -> bytes:
    choices = [] if text is None else [{"index": 0, "delta": {"content": text}}]
    return b"data: " + json.dumps({"choices": choices, **fields}).encode() + b"\n\n"


DONE = b"data: [DONE]\n\n"
USAGE = {"prompt_tokens": 5, "completion_tokens": 3, "prompt_tokens_details": {"cached_tokens": 2}}
HEADERS = "x-roadbed-replica: chat-0\r\nx-roadbed-route: only_one\r\nx-request-id: req_1\r\n"


@contextlib.contextmanager
def serving(*answers: bytes, close: bool = True) -> Iterator[Heard]:
    """Each connection gets the next answer (the last one again and again), then is closed unless `close` is False."""
    listener = socket.create_server(("127.0.0.1", 0))
    listener.settimeout(10.0)
    heard = Heard(f"http://127.0.0.1:{listener.getsockname()[1]}")
    waiting = list(answers)
    open_links: list[socket.socket] = []

    def serve() -> None:
        while True:
            try:
                link, _ = listener.accept()
            except OSError:
                return
            link.settimeout(10.0)
            open_links.append(link)
            while (request := _read(link)) is not None:
                heard.requests.append(request)
                link.sendall(waiting.pop(0) if len(waiting) > 1 else waiting[0])
                if close:
                    link.close()
                    break

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield heard
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        for link in open_links:
            with contextlib.suppress(OSError):
                link.shutdown(socket.SHUT_RDWR)
            link.close()
        thread.join(10.0)


def _read(link: socket.socket) -> bytes | None:
    data = b""
    while b"\r\n\r\n" not in data:
        try:
            piece = link.recv(65_536)
        except OSError:
            return None
        if not piece:
            return None
        data += piece
    head, _, rest = data.partition(b"\r\n\r\n")
    length = next((int(line[15:]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")), 0)
    while len(rest) < length:
        rest += link.recv(65_536)
    return head + b"\r\n\r\n" + rest
