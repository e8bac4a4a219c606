"""vLLM's KV-cache events over ZMQ: which prompt blocks a replica holds, exactly, instead of our guess.

A publisher sends [topic, sequence number, payload]; the payload is a msgpack array `[ts, events, rank]` and each event
an array headed by its name. A gap in the numbers means events were lost: the caller is told to forget all it knew.
Needs `pip install roadbed[kvevents]`.
"""

from collections.abc import AsyncIterator
from typing import Any

import msgspec

from roadbed.errors import EngineError


class BlockStored(msgspec.Struct, frozen=True, array_like=True, tag="BlockStored"):
    """Blocks that entered the cache, in order, after `parent_block_hash`."""

    block_hashes: list[int | bytes]
    parent_block_hash: int | bytes | None
    token_ids: list[int]
    block_size: int
    lora_id: int | None = None
    medium: str | None = None


class BlockRemoved(msgspec.Struct, frozen=True, array_like=True, tag="BlockRemoved"):
    block_hashes: list[int | bytes]
    medium: str | None = None


class AllBlocksCleared(msgspec.Struct, frozen=True, array_like=True, tag="AllBlocksCleared"):
    """Also made by us when events were missed."""


KvEvent = BlockStored | BlockRemoved | AllBlocksCleared


class _Batch(msgspec.Struct, array_like=True):
    ts: float
    events: list[msgspec.Raw]
    data_parallel_rank: int | None = None


_batches = msgspec.msgpack.Decoder(_Batch)
_events = msgspec.msgpack.Decoder(KvEvent)


def decode(payload: bytes) -> list[KvEvent]:
    """Events of one message. Unknown ones are skipped: newer servers may say more. Raises EngineError on garbage."""
    try:
        batch = _batches.decode(payload)
    except msgspec.DecodeError as error:
        raise EngineError(f"a KV event message can't be read: {error}") from error
    events: list[KvEvent] = []
    for raw in batch.events:
        try:
            events.append(_events.decode(raw))
        except msgspec.ValidationError:
            continue
    return events


async def subscribe(address: str, topic: str = "kv") -> AsyncIterator[list[KvEvent]]:
    """Batches as they come, until the caller stops iterating. Raises EngineError without pyzmq."""
    try:
        import zmq
        import zmq.asyncio
    except ImportError as error:
        raise EngineError("engine.kv_events needs pyzmq", hint="pip install 'roadbed[kvevents]'") from error
    context: Any = zmq.asyncio.Context()
    socket = context.socket(zmq.SUB)
    try:
        socket.setsockopt(zmq.RCVHWM, 10_000)
        socket.subscribe(topic.encode())
        socket.connect(address)
        expected: int | None = None
        while True:
            parts = await socket.recv_multipart()
            if len(parts) != 3 or len(parts[1]) != 8:
                raise EngineError(f"{address} does not publish vLLM's KV events")
            number = int.from_bytes(parts[1], "big")
            events = decode(parts[2])
            if expected is not None and number != expected:
                events.insert(0, AllBlocksCleared())
            expected = number + 1
            yield events
    finally:
        socket.close(linger=0)
        context.term()
