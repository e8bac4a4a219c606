"""The chat box's way to the gateway: browser → here → gateway, streaming, with a key the console makes for itself.

The key exists in memory only: it expires after twelve hours, a restarted control makes another, and one the gateway
refuses is replaced. A browser that leaves closes the gateway's connection at once, also while nothing flows.
"""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from typing import Annotated, Literal

import msgspec
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.types import Receive, Scope, Send

from roadbed.console.reader import Reader
from roadbed.console.upstream import Reply, post
from roadbed.errors import RoadbedError, UnreachableError, UsageError

logger = logging.getLogger(__name__)

MAX_BODY_BYTES = 256 * 2**10
MAX_CHATS = 32
KEY_NAME = "console"
KEY_LIFETIME_S = 12 * 3600.0
NEWS_S = 3.0
"""A key just made is known to every gateway worker long before this."""
NEWS_PAUSE_S = 0.05
_PASSED = (
    "content-type",
    "retry-after",
    "x-request-id",
    "x-roadbed-replica",
    "x-roadbed-route",
    "x-roadbed-overhead-ms",
)

Sleep = Callable[[float], Awaitable[None]]


class Message(msgspec.Struct, forbid_unknown_fields=True):
    role: Literal["system", "user", "assistant"]
    content: str


class ChatBody(msgspec.Struct, forbid_unknown_fields=True):
    """What the page sends."""

    model: Annotated[str, msgspec.Meta(min_length=1, max_length=512)]
    messages: Annotated[list[Message], msgspec.Meta(min_length=1, max_length=256)]
    max_tokens: Annotated[int, msgspec.Meta(ge=1, le=131_072)] = 512


class ConsoleKey:
    """The console's own API key: made when first needed, and again when it was refused."""

    def __init__(self, reader: Reader, clock: Callable[[], float] = time.monotonic) -> None:
        self._reader = reader
        self._clock = clock
        self._lock = asyncio.Lock()
        self._text = ""
        self._made_at = 0.0

    async def get(self, refused: str = "") -> str:
        """The key; another one when `refused` is ours and old enough to be known to every gateway."""
        async with self._lock:
            if not self._text or (refused == self._text and not self._fresh()):
                self._text = await asyncio.to_thread(self._make)
                self._made_at = self._clock()
            return self._text

    def _fresh(self) -> bool:
        return self._clock() - self._made_at < NEWS_S

    def _make(self) -> str:
        client = self._reader.client()
        made = client.create_key(KEY_NAME, tenant="default", scopes=["inference"], expires_in=KEY_LIFETIME_S)
        return str(made["secret"])


class Chat:
    """Answers POST /console/chat."""

    def __init__(
        self, reader: Reader, *, clock: Callable[[], float] = time.monotonic, sleep: Sleep = asyncio.sleep
    ) -> None:
        self._reader = reader
        self._key = ConsoleKey(reader, clock)
        self._clock = clock
        self._sleep = sleep
        self.num_open = 0

    async def answer(self, request: Request) -> Response:
        """The gateway's streamed answer, or an error in OpenAI's shape."""
        try:
            return _Exchange(self, decode(await read_body(request)))
        except UsageError as error:
            return _error(error.http_status, error.message, error.code)

    async def open(self, body: ChatBody) -> Reply:
        """The gateway's reply, its head read. Raises RoadbedError."""
        content = msgspec.json.encode(
            {**msgspec.to_builtins(body), "stream": True, "stream_options": {"include_usage": True}}
        )
        url = await asyncio.to_thread(self._reader.gateway_url)
        deadline = self._clock() + 2 * NEWS_S
        key = await self._key.get()
        while True:
            reply = await post(url, "/v1/chat/completions", key, content)
            if reply.status != 401 or self._clock() >= deadline:
                return reply
            await reply.close()
            await self._sleep(NEWS_PAUSE_S)
            key = await self._key.get(refused=key)


class _Exchange(Response):
    """Asks the gateway and passes its reply on as it comes, watching the browser; whichever ends first ends both."""

    def __init__(self, chat: Chat, body: ChatBody) -> None:
        super().__init__()
        self._chat = chat
        self._body = body

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if self._chat.num_open >= MAX_CHATS:
            await _error(429, f"{MAX_CHATS} chats are open already", "too_many_chats")(scope, receive, send)
            return
        self._chat.num_open += 1
        tasks = [asyncio.create_task(self._run(scope, receive, send)), asyncio.create_task(_gone(receive))]
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        except OSError as error:
            logger.debug("the browser left in the middle of an answer: %s", error)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            self._chat.num_open -= 1

    async def _run(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            reply = await self._chat.open(self._body)
        except RoadbedError as error:
            await _error(error.http_status, error.message, error.code)(scope, receive, send)
            return
        try:
            await _pass_on(reply, send)
        finally:
            await reply.close()


async def _pass_on(reply: Reply, send: Send) -> None:
    headers = [(name.encode(), reply.headers[name].encode("latin-1")) for name in _PASSED if name in reply.headers]
    headers.append((b"x-accel-buffering", b"no"))
    await send({"type": "http.response.start", "status": reply.status, "headers": headers})
    try:
        async for piece in reply.pieces():
            await send({"type": "http.response.body", "body": piece, "more_body": True})
    except UnreachableError as error:
        event = msgspec.json.encode(_error_body(error.message, error.code))
        await send({"type": "http.response.body", "body": b"\n\ndata: %b\n\n" % event, "more_body": True})
    await send({"type": "http.response.body", "body": b"", "more_body": False})


async def _gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def read_body(request: Request) -> bytes:
    """Raises UsageError beyond MAX_BODY_BYTES, without having kept more."""
    content = bytearray()
    async for piece in request.stream():
        content += piece
        if len(content) > MAX_BODY_BYTES:
            raise UsageError(f"the conversation is larger than {MAX_BODY_BYTES // 2**10} KiB; start a new one")
    return bytes(content)


def decode(content: bytes) -> ChatBody:
    """Raises UsageError naming the field."""
    try:
        return msgspec.json.decode(content, type=ChatBody)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise UsageError(f"the chat request is wrong: {error}") from error


def _error_body(message: str, code: str) -> dict[str, dict[str, str]]:
    return {"error": {"message": message, "type": "console_error", "code": code}}


def _error(status: int, message: str, code: str) -> Response:
    return JSONResponse(_error_body(message, code), status)
