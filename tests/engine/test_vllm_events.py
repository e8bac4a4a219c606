import asyncio

import msgspec
import pytest
import zmq
import zmq.asyncio
from hypothesis import given
from hypothesis import strategies as st

from roadbed.engine.vllm_events import AllBlocksCleared, BlockRemoved, BlockStored, KvEvent, decode, subscribe
from roadbed.errors import EngineError

STORED = ["BlockStored", [11, 12], None, [1, 2, 3, 4], 2, None, "GPU"]
REMOVED = ["BlockRemoved", [b"\x01" * 32], "GPU"]


def batch(*events: object) -> bytes:
    return msgspec.msgpack.encode([1.5, list(events), 0])


def test_decodes_what_vllm_encodes() -> None:
    assert decode(batch(STORED, REMOVED, ["AllBlocksCleared"])) == [
        BlockStored([11, 12], None, [1, 2, 3, 4], 2, None, "GPU"),
        BlockRemoved([b"\x01" * 32], "GPU"),
        AllBlocksCleared(),
    ]


def test_short_and_longer_and_unknown_events_are_understood_or_skipped() -> None:
    short = ["BlockStored", [1], 7, [1, 2], 2]
    assert decode(batch(short, [*STORED, "newer field"], ["BlockMoved", 1])) == [
        BlockStored([1], 7, [1, 2], 2),
        BlockStored([11, 12], None, [1, 2, 3, 4], 2, None, "GPU"),
    ]


@given(st.binary(max_size=100))
def test_garbage_is_an_engine_error(payload: bytes) -> None:
    try:
        events = decode(payload)
    except EngineError:
        return
    assert all(isinstance(event, BlockStored | BlockRemoved | AllBlocksCleared) for event in events)


def test_a_real_publisher_and_a_gap() -> None:
    async def run() -> list[list[KvEvent]]:
        context = zmq.asyncio.Context()
        publisher = context.socket(zmq.XPUB)
        port = publisher.bind_to_random_port("tcp://127.0.0.1")
        received: list[list[KvEvent]] = []

        async def listen() -> None:
            stream = subscribe(f"tcp://127.0.0.1:{port}")
            async for events in stream:
                received.append(events)
                if len(received) == 3:
                    await stream.aclose()  # type: ignore[attr-defined]
                    return

        task = asyncio.create_task(listen())
        assert await publisher.recv() == b"\x01kv"
        for number in (0, 1, 5):
            await publisher.send_multipart([b"other", (9).to_bytes(8, "big"), b"not for us"])
            await publisher.send_multipart([b"kv", number.to_bytes(8, "big"), batch(["BlockRemoved", [number]])])
        await asyncio.wait_for(task, 10)
        publisher.close(linger=0)
        context.term()
        return received

    first, second, third = asyncio.run(run())
    assert first == [BlockRemoved([0])]
    assert second == [BlockRemoved([1])]
    assert third == [AllBlocksCleared(), BlockRemoved([5])]


def test_another_publisher_is_refused() -> None:
    async def run() -> None:
        context = zmq.asyncio.Context()
        publisher = context.socket(zmq.XPUB)
        port = publisher.bind_to_random_port("tcp://127.0.0.1")
        stream = subscribe(f"tcp://127.0.0.1:{port}")
        task = asyncio.ensure_future(anext(stream))
        await publisher.recv()
        await publisher.send_multipart([b"kv", b"hello"])
        with pytest.raises(EngineError, match="does not publish"):
            await asyncio.wait_for(task, 10)
        publisher.close(linger=0)
        context.term()

    asyncio.run(run())
