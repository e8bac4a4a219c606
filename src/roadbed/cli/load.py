"""Load for `bench`: requests at given moments over asyncio sockets, each stream timed event by event.

Open loop: arrivals are drawn first and kept whatever the server does, and a request is timed from the moment it was
due, so a slow server can't slow its own measurement down. Own HTTP reader (about a screen of code), because a client
library would cost more CPU per chunk than the gateway under test.
"""

import asyncio
import json
import random
import ssl
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

WORDS = (
    "rack", "switch", "rail", "tensor", "shard", "token", "batch", "queue", "lease", "cache", "graph", "fan", "link",
    "node", "spine", "leaf", "power", "water", "core", "trace",
)  # fmt: skip
CONNECT_TIMEOUT_S = 10.0
MAX_LINE_BYTES = 2**20

Exchange = tuple[int, dict[str, str], AsyncIterator[bytes]]


@dataclass
class Sample:
    """One request. Seconds from the moment it was due; `error` is "" when it was answered whole."""

    due_s: float
    lag_s: float = 0.0
    """How late we sent it: our own fault, shown so that nobody blames the server."""
    ttft_s: float | None = None
    total_s: float = 0.0
    prompt_tokens: int = 0
    cached_tokens: int = 0
    completion_tokens: int = 0
    replica: str = ""
    route: str = ""
    error: str = ""

    @property
    def tpot_s(self) -> float | None:
        """Seconds per output token after the first."""
        if self.ttft_s is None or self.completion_tokens < 2:
            return None
        return (self.total_s - self.ttft_s) / (self.completion_tokens - 1)


@dataclass
class Load:
    """What to send, and how fast: `rate` per second (open loop) or `concurrency` at once (closed loop)."""

    url: str
    key: str
    model: str
    num_requests: int | None
    duration_s: float | None
    rate: float | None
    concurrency: int | None
    prompt_tokens: int
    output_tokens: int
    seed: int
    ignore_eos: bool = True
    samples: list[Sample] = field(default_factory=list)
    """Those finished; filled while it runs."""
    num_sent: int = 0


def arrivals(rate: float, seed: int) -> Iterator[float]:
    """Moments (seconds) of a Poisson process, for ever. Same seed, same moments."""
    chance = random.Random(seed)
    at = 0.0
    while True:
        yield at
        at += chance.expovariate(rate)


def prompt(seed: int, index: int, num_tokens: int) -> str:
    """About `num_tokens` tokens of words, different for every index, so that no cache helps by accident."""
    chance = random.Random(f"{seed}:{index}")
    return f"{index}: " + " ".join(chance.choice(WORDS) for _ in range(max(1, num_tokens - 2)))


async def run(load: Load, clock: Callable[[], float] = time.monotonic) -> None:
    """Sends everything and fills `load.samples`. Cancel it to stop early; what finished is kept."""
    begun = clock()
    pool = _Pool(load.url)
    body = _bodies(load)
    try:
        if load.rate is not None:
            await _open_loop(load, pool, body, begun, clock)
        else:
            await _closed_loop(load, pool, body, begun, clock)
    finally:
        await pool.close()


async def _open_loop(
    load: Load, pool: "_Pool", body: Callable[[int], bytes], begun: float, clock: Callable[[], float]
) -> None:
    assert load.rate is not None
    async with asyncio.TaskGroup() as group:
        for index, due in enumerate(arrivals(load.rate, load.seed)):
            if _over(load, index, due):
                break
            await asyncio.sleep(max(0.0, begun + due - clock()))
            load.num_sent += 1
            group.create_task(_one(load, pool, body(index), begun + due, clock))


async def _closed_loop(
    load: Load, pool: "_Pool", body: Callable[[int], bytes], begun: float, clock: Callable[[], float]
) -> None:
    async def worker() -> None:
        while not _over(load, load.num_sent, clock() - begun):
            load.num_sent += 1
            await _one(load, pool, body(load.num_sent - 1), clock(), clock)

    async with asyncio.TaskGroup() as group:
        for _ in range(load.concurrency or 1):
            group.create_task(worker())


def _over(load: Load, index: int, at_s: float) -> bool:
    if load.num_requests is not None and index >= load.num_requests:
        return True
    return load.duration_s is not None and at_s >= load.duration_s


def _bodies(load: Load) -> Callable[[int], bytes]:
    fixed: dict[str, Any] = {
        "model": load.model,
        "max_tokens": load.output_tokens,
        "temperature": 0.0,
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    if load.ignore_eos:
        fixed["ignore_eos"] = True

    def body(index: int) -> bytes:
        content = prompt(load.seed, index, load.prompt_tokens)
        return json.dumps({**fixed, "messages": [{"role": "user", "content": content}]}).encode()

    return body


async def _one(load: Load, pool: "_Pool", body: bytes, due: float, clock: Callable[[], float]) -> None:
    sample = Sample(due_s=due, lag_s=clock() - due)
    try:
        await _exchange(load, pool, body, sample, due, clock)
    except (OSError, EOFError, ValueError, asyncio.LimitOverrunError) as error:
        sample.error = sample.error or type(error).__name__
    sample.total_s = clock() - due
    load.samples.append(sample)


async def _exchange(
    load: Load, pool: "_Pool", body: bytes, sample: Sample, due: float, clock: Callable[[], float]
) -> None:
    connection, (status, headers, pieces) = await pool.ask("/v1/chat/completions", load.key, body)
    whole = False
    try:
        sample.replica = headers.get("x-roadbed-replica", "")
        sample.route = headers.get("x-roadbed-route", "")
        content = b""
        done = False
        async for piece in pieces:
            content += piece
            if status == 200:
                *lines, content = content.split(b"\n")
                for line in lines:
                    done = _line(line, sample, due, clock) or done
        if status != 200:
            sample.error = _code(status, content)
        elif not done:
            sample.error = sample.error or "cut_off"
        whole = headers.get("connection", "").lower() != "close"
    finally:
        pool.give(connection, whole)


def _line(line: bytes, sample: Sample, due: float, clock: Callable[[], float]) -> bool:
    """One line of the stream; True for [DONE]."""
    if not line.startswith(b"data:"):
        return False
    if line.startswith(b"data: [DONE]"):
        return True
    event = json.loads(line[5:])
    if "error" in event:
        sample.error = str(event["error"].get("code") or event["error"].get("type") or "stream_error")
    usage = event.get("usage")
    if usage:
        sample.prompt_tokens = usage.get("prompt_tokens", 0)
        sample.completion_tokens = usage.get("completion_tokens", 0)
        sample.cached_tokens = (usage.get("prompt_tokens_details") or {}).get("cached_tokens") or 0
    if sample.ttft_s is None and any((c.get("delta") or {}).get("content") for c in event.get("choices") or ()):
        sample.ttft_s = clock() - due
    return False


def _code(status: int, content: bytes) -> str:
    try:
        return str(json.loads(content)["error"]["code"] or status)
    except (ValueError, KeyError, TypeError):
        return str(status)


class _Connection:
    """One keep-alive connection; one exchange at a time."""

    def __init__(self, host: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._host = host
        self._reader = reader
        self.writer = writer

    async def ask(self, path: str, key: str, body: bytes) -> Exchange:
        """Status, headers, and the body in pieces."""
        head = f"POST {path} HTTP/1.1\r\nhost: {self._host}\r\nauthorization: Bearer {key}\r\n"
        head += f"content-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
        self.writer.write(head.encode() + body)
        await self.writer.drain()
        lines = (await self._reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        pairs = (line.partition(":") for line in lines[1:] if line)
        headers = {name.lower(): value.strip() for name, _, value in pairs}
        return int(lines[0].split(" ", 2)[1]), headers, self._body(headers)

    async def _body(self, headers: dict[str, str]) -> AsyncIterator[bytes]:
        if headers.get("transfer-encoding", "").lower() != "chunked":
            yield await self._reader.readexactly(int(headers.get("content-length", "0")))
            return
        while True:
            size = int((await self._reader.readuntil(b"\r\n")).split(b";")[0], 16)
            piece = await self._reader.readexactly(size + 2)
            if size == 0:
                return
            yield piece[:-2]


class _Pool:
    """Idle connections, newest first; one is opened when none is idle."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self._host = parts.hostname or "127.0.0.1"
        self._port = parts.port or (443 if parts.scheme == "https" else 80)
        self._tls = ssl.create_default_context() if parts.scheme == "https" else None
        self._idle: deque[_Connection] = deque()
        self._closing: set[asyncio.Future[None]] = set()

    async def ask(self, path: str, key: str, body: bytes) -> tuple[_Connection, Exchange]:
        """An exchange and its connection, to be given back. An idle connection that turns out to be closed is no
        answer: the request goes to the next one."""
        while self._idle:
            connection = self._idle.pop()
            try:
                return connection, await connection.ask(path, key, body)
            except (EOFError, ConnectionError):
                self._leave(connection)
            except BaseException:
                self._leave(connection)
                raise
        connection = await self._connect()
        try:
            return connection, await connection.ask(path, key, body)
        except BaseException:
            self._leave(connection)
            raise

    async def _connect(self) -> _Connection:
        async with asyncio.timeout(CONNECT_TIMEOUT_S):
            reader, writer = await asyncio.open_connection(self._host, self._port, ssl=self._tls, limit=MAX_LINE_BYTES)
        return _Connection(f"{self._host}:{self._port}", reader, writer)

    def give(self, connection: _Connection, whole: bool) -> None:
        """Back to the idle ones, unless something may be left unread on it."""
        if whole:
            self._idle.append(connection)
        else:
            self._leave(connection)

    async def close(self) -> None:
        """Returns when every socket is closed."""
        while self._idle:
            self._leave(self._idle.pop())
        await asyncio.gather(*self._closing, return_exceptions=True)

    def _leave(self, connection: _Connection) -> None:
        connection.writer.close()
        task = asyncio.ensure_future(connection.writer.wait_closed())
        self._closing.add(task)
        task.add_done_callback(self._closed)

    def _closed(self, task: "asyncio.Future[None]") -> None:
        self._closing.discard(task)
        if not task.cancelled():
            task.exception()  # a reset while closing is as closed as any
