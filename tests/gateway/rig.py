"""A gateway worker in this process, and engines that do as told. Real sockets on loopback, real event loop."""

import asyncio
import contextlib
import hashlib
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import msgspec

from roadbed.gateway.ledger.reader import LedgerReader
from roadbed.gateway.snapshot import (
    KeyEntry,
    LimitsEntry,
    ListenEntry,
    PriceEntry,
    ReplicaEntry,
    ServiceEntry,
    Snapshot,
    TenantEntry,
)
from roadbed.gateway.worker import Worker
from roadbed.home import Home

KEY = "rb_abc_secret"
CHAT = {"model": "m", "messages": [{"role": "user", "content": "hello"}]}
REPLY = {
    "id": "c1", "object": "chat.completion", "created": 1, "model": "m",
    "choices": [{"index": 0, "message": {"role": "assistant", "content": "hi"}, "finish_reason": "stop"}],
    "usage": {"prompt_tokens": 7, "completion_tokens": 3, "total_tokens": 10,
              "prompt_tokens_details": {"cached_tokens": 2}},
}  # fmt: skip


def event(content: str | None = None, **extra: Any) -> bytes:
    """One chat.completion.chunk event."""
    choices = [] if content is None else [{"index": 0, "delta": {"content": content}, "finish_reason": None}]
    body = {"id": "c1", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": choices} | extra
    return b"data: " + json.dumps(body).encode() + b"\n\n"


class Engine:
    """An engine whose every answer is a coroutine given (engine, body, writer)."""

    def __init__(self, answer: "Answer") -> None:
        self.answer = answer
        self.bodies: list[dict[str, Any]] = []
        self.heads: list[bytes] = []
        self.num_gone = 0
        self.port = 0
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    async def start(self) -> "Engine":
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def stop(self) -> None:
        if self._server is not None:
            self._server.close()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                length = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
                body = json.loads(await reader.readexactly(length))
                self.heads.append(head)
                self.bodies.append(body)
                watch = asyncio.ensure_future(reader.read(1))
                answering = asyncio.ensure_future(self.answer(self, body, writer))
                await asyncio.wait({watch, answering}, return_when=asyncio.FIRST_COMPLETED)
                if not answering.done():
                    self.num_gone += 1
                    answering.cancel()
                    watch.cancel()
                    return
                watch.cancel()
                await asyncio.gather(watch, return_exceptions=True)
                answering.result()
                if writer.is_closing():
                    return
        except (asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
            pass
        finally:
            writer.close()


Answer = Callable[[Engine, dict[str, Any], asyncio.StreamWriter], Awaitable[None]]


def plain(status: int, body: Any, headers: str = "") -> bytes:
    """A whole response."""
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    return b"HTTP/1.1 %d X\r\ncontent-type: application/json\r\n%bcontent-length: %d\r\n\r\n%b" % (
        status, headers.encode(), len(raw), raw,
    )  # fmt: skip


def replies(body: Any = REPLY, status: int = 200) -> Answer:
    """An engine that always gives this reply."""

    async def answer(engine: Engine, request: dict[str, Any], writer: asyncio.StreamWriter) -> None:
        writer.write(plain(status, body))
        await writer.drain()

    return answer


STREAM_HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"


def chunked(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


def streams(*pieces: bytes, pause_s: float = 0.0, end: bool = True) -> Answer:
    """An engine that streams these pieces; end=False breaks the connection after them."""

    async def answer(engine: Engine, request: dict[str, Any], writer: asyncio.StreamWriter) -> None:
        writer.write(STREAM_HEAD)
        for piece in pieces:
            writer.write(chunked(piece))
            await writer.drain()
            await asyncio.sleep(pause_s)
        if end:
            writer.write(b"0\r\n\r\n")
        else:
            writer.transport.abort()

    return answer


def snapshot(
    ports: list[int],
    *,
    version: int = 1,
    limits: LimitsEntry | None = None,
    listen: ListenEntry | None = None,
    **service: Any,
) -> Snapshot:
    """One service `m` on engines at these ports, one tenant, one key."""
    settings: dict[str, Any] = {"policy": "round_robin", "max_wait_s": 0.5} | service
    replica = settings.pop("replica", {})
    replicas = tuple(
        ReplicaEntry(
            id=f"m-{i}", slot=i, host="127.0.0.1", port=port,
            **({"capabilities": ("chat", "completions", "embeddings", "tokenize")} | replica),
        )
        for i, port in enumerate(ports)
    )  # fmt: skip
    price = PriceEntry(input_pico=100, cached_input_pico=40, output_pico=1000)
    return Snapshot(
        version=version,
        listen=listen or ListenEntry(port=0),
        services=(ServiceEntry(name="m", models=("m", "m-alias"), price=price, replicas=replicas, **settings),),
        tenants=(TenantEntry(name="t", slot=0),),
        keys=(KeyEntry(id="abc", digest=digest(KEY), tenant="t", slot=1, limits=limits or LimitsEntry()),),
    )


def digest(key: str) -> str:
    return hashlib.sha256(key.encode()).hexdigest()


class Gateway:
    """A running worker: its port, its state, its ledger."""

    def __init__(self, worker: Worker, port: int, home: Home) -> None:
        self.worker, self.port, self.home = worker, port, home
        self._version = 1

    def publish(self, new: Snapshot) -> None:
        """Writes another snapshot, as the control plane would."""
        self._version += 1
        draft = self.home.snapshot.with_suffix(".new")
        draft.write_bytes(msgspec.json.encode(msgspec.structs.replace(new, version=self._version)))
        draft.replace(self.home.snapshot)

    def rows(self) -> list[Any]:
        """Settled usage rows so far."""
        with contextlib.closing(LedgerReader(self.home.ledger)) as reader:
            return list(reader.poll().rows)


@contextlib.asynccontextmanager
async def gateway(tmp_path: Path, first: Snapshot) -> AsyncIterator[Gateway]:
    """A worker serving on a free port until the block ends; asserts that nothing is left open."""
    home = Home(tmp_path / "home")
    home.create()
    home.snapshot.write_bytes(msgspec.json.encode(first))
    worker = Worker(home, 0, asyncio.get_running_loop(), first)
    serving = asyncio.ensure_future(worker.run())
    while worker.port == 0 and not serving.done():
        await asyncio.sleep(0.001)
    try:
        yield Gateway(worker, worker.port, home)
    finally:
        worker.stop()
        await serving
        assert not worker.plane.exchanges
        worker.close()


class Response:
    """Status, headers (lower case) and body of a raw HTTP response."""

    def __init__(self, status: int, headers: dict[str, str], body: bytes) -> None:
        self.status, self.headers, self.body = status, headers, body

    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def error(self) -> dict[str, Any]:
        error: dict[str, Any] = self.json()["error"]
        assert set(error) == {"message", "type", "param", "code"}
        return error


async def read_response(reader: asyncio.StreamReader) -> Response:
    """Reads one response of either framing."""
    head = await reader.readuntil(b"\r\n\r\n")
    lines = head.decode().split("\r\n")
    headers = {k.lower(): v for k, _, v in (line.partition(": ") for line in lines[1:] if line)}
    if headers.get("transfer-encoding") == "chunked":
        body = b""
        while size := int(await reader.readline(), 16):
            body += await reader.readexactly(size)
            await reader.readexactly(2)
        await reader.readexactly(2)
    elif "content-length" in headers:
        body = await reader.readexactly(int(headers["content-length"]))
    else:
        body = await reader.read()
    return Response(int(lines[0].split()[1]), headers, body)


def request_bytes(
    path: str, body: Any = None, *, method: str = "POST", key: str | None = KEY, headers: dict[str, str] | None = None
) -> bytes:
    """A whole request."""
    raw = b"" if body is None else body if isinstance(body, bytes) else json.dumps(body).encode()
    lines = [f"{method} {path} HTTP/1.1", "host: x", f"content-length: {len(raw)}"]
    if key is not None:
        lines.append(f"authorization: Bearer {key}")
    lines += [f"{name}: {value}" for name, value in (headers or {}).items()]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + raw


async def ask(port: int, path: str = "/v1/chat/completions", body: Any = None, **options: Any) -> Response:
    """One request on a connection of its own."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(request_bytes(path, body, **options))
        return await asyncio.wait_for(read_response(reader), 20)
    finally:
        writer.close()


async def until(condition: Callable[[], Any], timeout_s: float = 5.0) -> None:
    """Returns when the condition holds. Raises AssertionError when it never does."""
    deadline = asyncio.get_running_loop().time() + timeout_s
    while not condition():
        assert asyncio.get_running_loop().time() < deadline, "the condition never held"
        await asyncio.sleep(0.005)


def events(body: bytes) -> list[Any]:
    """Payloads of a stream; [DONE] as the string."""
    payloads = [part[6:] for part in body.split(b"\n\n") if part.startswith(b"data: ")]
    return ["[DONE]" if payload == b"[DONE]" else json.loads(payload) for payload in payloads]
