"""A small HTTP server to ask, and the real default model (fetched once into a cache shared by test runs)."""

import asyncio
import os
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TypeVar

import platformdirs
import pytest

from roadbed.engine.base import Endpoint
from roadbed.models.catalogue import DEFAULT_MODEL, expected_sha256, resolve
from roadbed.models.store import ModelStore

T = TypeVar("T")


def reply(body: bytes | str, status: int = 200, headers: str = "") -> bytes:
    data = body.encode() if isinstance(body, str) else body
    return f"HTTP/1.1 {status} X\r\nContent-Length: {len(data)}\r\n{headers}\r\n".encode() + data


async def serving(
    answers: dict[str, bytes], ask: Callable[[Endpoint], Awaitable[T]], heard: list[str] | None = None
) -> T:
    """Runs `ask` against a server that sends these bytes, whatever they are, by path."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        if heard is not None:
            heard.append(head)
        writer.write(answers.get(head.split()[1], reply("{}", 404)))
        await writer.drain()
        writer.close()
        await writer.wait_closed()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    async with server:
        return await ask(Endpoint(host="127.0.0.1", port=server.sockets[0].getsockname()[1], api_key="key-1"))


def serve(answers: dict[str, bytes], ask: Callable[[Endpoint], Awaitable[T]], heard: list[str] | None = None) -> T:
    return asyncio.run(serving(answers, ask, heard))


@pytest.fixture(scope="session")
def smollm() -> Path:
    """The default model's file."""
    chosen = os.environ.get("ROADBED_TEST_MODELS")
    root = Path(chosen) if chosen else Path(platformdirs.user_cache_dir("roadbed-tests")) / "models"
    return ModelStore(root).pull(resolve(DEFAULT_MODEL), expected_sha256(DEFAULT_MODEL)).path
