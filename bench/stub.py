"""A fast stand-in for an engine: answers at once, streams on request, costs next to nothing.

python -m bench.stub PORT        unary: a 1 kB chat completion; stream: NUM_CHUNKS events, one each CHUNK_S
"""

import asyncio
import json
import sys

import httptools
import uvloop

NUM_CHUNKS = 64
CHUNK_S = 0.01
_TEXT = "The quick brown fox jumps over the lazy dog. " * 14
_USAGE = {"prompt_tokens": 120, "completion_tokens": 64, "total_tokens": 184}
_REPLY = json.dumps(
    {
        "id": "chatcmpl-1", "object": "chat.completion", "created": 1, "model": "stub", "usage": _USAGE,
        "choices": [{"index": 0, "message": {"role": "assistant", "content": _TEXT}, "finish_reason": "stop"}],
    }
).encode()  # fmt: skip
UNARY = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n" % len(_REPLY) + _REPLY


def _event(delta: dict[str, str], finish: str | None = None) -> bytes:
    body = {
        "id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": "stub",
        "choices": [{"index": 0, "delta": delta, "finish_reason": finish}],
    }  # fmt: skip
    data = b"data: " + json.dumps(body).encode() + b"\n\n"
    return b"%x\r\n%b\r\n" % (len(data), data)


HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
CHUNK = _event({"content": "token "})
_LAST_USAGE = (
    b"data: "
    + json.dumps(
        {
            "id": "chatcmpl-1",
            "object": "chat.completion.chunk",
            "created": 1,
            "model": "stub",
            "choices": [],
            "usage": _USAGE,
        }
    ).encode()
    + b"\n\n"
)
USAGE = b"%x\r\n%b\r\n" % (len(_LAST_USAGE), _LAST_USAGE)
DONE = _event({}, "stop") + b"e\r\ndata: [DONE]\n\n\r\n0\r\n\r\n"
DONE_WITH_USAGE = _event({}, "stop") + USAGE + b"e\r\ndata: [DONE]\n\n\r\n0\r\n\r\n"
MODELS = json.dumps(
    {"object": "list", "data": [{"id": "stub", "object": "model", "created": 1, "owned_by": "x"}]}
).encode()
INFO = json.dumps({"model_path": "stub", "model_id": "stub", "served_model_name": "stub", "loads": []}).encode()


class Stub(asyncio.Protocol):
    """One connection."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport
        self.parser = httptools.HttpRequestParser(self)
        self.body = b""
        self.target = b""
        self.left = 0

    def data_received(self, data: bytes) -> None:
        self.parser.feed_data(data)

    def on_message_begin(self) -> None:
        self.body = b""
        self.target = b""

    def on_url(self, url: bytes) -> None:
        self.target += url

    def on_body(self, data: bytes) -> None:
        self.body += data

    def on_message_complete(self) -> None:
        if self.parser.get_method() == b"GET":
            body = MODELS if self.target.endswith(b"/models") else INFO
            head = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n" % len(body)
            self.transport.write(head + body)
        elif b'"stream":true' in self.body or b'"stream": true' in self.body:
            self.transport.write(HEAD)
            self.left = NUM_CHUNKS
            self.last = DONE_WITH_USAGE if b"include_usage" in self.body else DONE
            self._next()
        else:
            self.transport.write(UNARY)

    def _next(self) -> None:
        if self.transport.is_closing():
            return
        if self.left == 0:
            self.transport.write(self.last)
            return
        self.left -= 1
        self.transport.write(CHUNK)
        asyncio.get_running_loop().call_later(CHUNK_S, self._next)


async def main(port: int) -> None:
    server = await asyncio.get_running_loop().create_server(Stub, "127.0.0.1", port, backlog=4096)
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(main(int(sys.argv[1])))
