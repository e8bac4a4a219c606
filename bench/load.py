"""A load generator that costs little: raw asyncio protocols, one process. Prints one JSON object.

python -m bench.load unary  PORT --concurrency 32 --seconds 3
python -m bench.load stream PORT --concurrency 200 --seconds 3
python -m bench.load idle   PORT --connections 10000 --seconds 2
"""

import argparse
import asyncio
import json
import statistics
import time

import httptools
import uvloop


class Client(asyncio.Protocol):
    """One keep-alive connection that asks again as soon as it is answered, until `deadline`."""

    def __init__(self, payload: bytes, deadline: float, result: dict, finished: asyncio.Future) -> None:
        self.payload, self.deadline, self.result, self.finished = payload, deadline, result, finished
        self.sent_at = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport
        self._ask()

    def _ask(self) -> None:
        self.parser = httptools.HttpResponseParser(self)
        self.sent_at = time.perf_counter()
        self.transport.write(self.payload)

    def data_received(self, data: bytes) -> None:
        self.parser.feed_data(data)

    def on_body(self, data: bytes) -> None:
        self.result["chunks"] += data.count(b"data: {")

    def on_message_complete(self) -> None:
        now = time.perf_counter()
        if self.parser.get_status_code() == 200:
            self.result["latencies"].append(now - self.sent_at)
        else:
            self.result["errors"] += 1
        if now < self.deadline:
            asyncio.get_running_loop().call_soon(self._ask)
        else:
            self.transport.close()

    def connection_lost(self, error: Exception | None) -> None:
        if not self.finished.done():
            self.finished.set_result(None)


def payload(port: int, key: str, *, stream: bool, prompt_bytes: int, model: str = "stub") -> bytes:
    """A whole chat completion request."""
    text = ("Answer briefly and to the point, please. " * (prompt_bytes // 40 + 1))[:prompt_bytes]
    body = {"model": model, "messages": [{"role": "user", "content": text}], "max_tokens": 64}
    if stream:
        body["stream"] = True
    raw = json.dumps(body).encode()
    return (
        b"POST /v1/chat/completions HTTP/1.1\r\nhost: 127.0.0.1:%d\r\nauthorization: Bearer %b\r\n"
        b"content-type: application/json\r\naccept: */*\r\nuser-agent: load\r\ncontent-length: %d\r\n\r\n%b"
        % (port, key.encode(), len(raw), raw)
    )


async def drive(port: int, concurrency: int, seconds: float, request: bytes) -> dict:
    loop = asyncio.get_running_loop()
    result = {"latencies": [], "errors": 0, "chunks": 0}
    start = time.perf_counter()
    waits = []
    for _ in range(concurrency):
        done = loop.create_future()
        waits.append(done)
        await loop.create_connection(
            lambda done=done: Client(request, start + seconds, result, done), "127.0.0.1", port
        )
    await asyncio.wait_for(asyncio.gather(*waits), seconds + 30)
    wall = time.perf_counter() - start
    latencies = sorted(result["latencies"]) or [0.0]
    return {
        "requests": len(result["latencies"]), "errors": result["errors"], "chunks": result["chunks"], "wall_s": wall,
        "rps": len(result["latencies"]) / wall, "p50_ms": statistics.median(latencies) * 1e3,
        "p99_ms": latencies[int(len(latencies) * 0.99)] * 1e3,
    }  # fmt: skip


async def idle(port: int, connections: int, seconds: float) -> dict:
    loop = asyncio.get_running_loop()
    transports = []
    for _ in range(connections):
        transport, _ = await loop.create_connection(asyncio.Protocol, "127.0.0.1", port)
        transports.append(transport)
    print(json.dumps({"open": len(transports)}), flush=True)
    await asyncio.sleep(seconds)
    alive = sum(not transport.is_closing() for transport in transports)
    for transport in transports:
        transport.abort()
    return {"alive": alive}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("mode", choices=("unary", "stream", "idle"))
    parser.add_argument("port", type=int)
    parser.add_argument("--concurrency", type=int, default=32)
    parser.add_argument("--connections", type=int, default=10_000)
    parser.add_argument("--seconds", type=float, default=3.0)
    parser.add_argument("--key", default="none")
    parser.add_argument("--prompt-bytes", type=int, default=500)
    args = parser.parse_args()
    if args.mode == "idle":
        print(json.dumps(uvloop.run(idle(args.port, args.connections, args.seconds))))
        return
    request = payload(args.port, args.key, stream=args.mode == "stream", prompt_bytes=args.prompt_bytes)
    print(json.dumps(uvloop.run(drive(args.port, args.concurrency, args.seconds, request))))


if __name__ == "__main__":
    main()
