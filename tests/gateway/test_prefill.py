"""Two legs over real sockets, with engines that speak vLLM's KV transfer protocol as its proxies expect it."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from roadbed.gateway.prefill import MOST_BYTES, decode_body, prefill_body
from tests.gateway.rig import (
    CHAT,
    KEY,
    REPLY,
    Answer,
    Engine,
    Gateway,
    ask,
    event,
    events,
    gateway,
    plain,
    replies,
    request_bytes,
    snapshot,
    streams,
    until,
)

PARAMS = {
    "do_remote_prefill": True, "do_remote_decode": False, "remote_block_ids": [[3, 4]], "remote_engine_id": "e-7",
    "remote_host": "127.0.0.1", "remote_port": 25600, "tp_size": 1,
}  # fmt: skip
USAGE = {"prompt_tokens": 7, "completion_tokens": 2, "total_tokens": 9}
STREAM = streams(event("a"), event("b"), event(usage=USAGE), b"data: [DONE]\n\n")


def prefilling(**extra: Any) -> Answer:
    """An engine that only computes prompts for others, and refuses anything else."""

    async def answer(engine: Engine, request: dict[str, Any], writer: asyncio.StreamWriter) -> None:
        asked = request.get("kv_transfer_params", {})
        ok = asked.get("do_remote_decode") is True and request["max_tokens"] == 1 and request["stream"] is False
        writer.write(plain(200, REPLY | {"kv_transfer_params": PARAMS} | extra) if ok else plain(400, {"error": {}}))
        await writer.drain()

    return answer


def run(
    tmp_path: Path, prefill: Answer, decode: Answer, scenario: Callable[[Gateway, Engine, Engine], Awaitable[None]]
) -> None:
    """One prefill and one decode replica."""

    async def body() -> None:
        first, second = await Engine(prefill).start(), await Engine(decode).start()
        base = snapshot([first.port, second.port], policy="roadbed")
        service = base.services[0]
        roles = tuple(
            msgspec.structs.replace(replica, role=role)
            for replica, role in zip(service.replicas, ("prefill", "decode"), strict=True)
        )
        divided = msgspec.structs.replace(base, services=(msgspec.structs.replace(service, replicas=roles),))
        try:
            async with gateway(tmp_path, divided) as g:
                await scenario(g, first, second)
                core = g.worker.plane.tables.services["m"].prefill
                assert core is not None
                assert core.num_live == core.num_waiting == 0
        finally:
            await first.stop()
            await second.stop()

    asyncio.run(body())


def test_the_cache_of_the_first_leg_is_named_to_the_second(tmp_path: Path) -> None:
    async def scenario(g: Gateway, first: Engine, second: Engine) -> None:
        sent = CHAT | {"stream": True, "max_tokens": 50, "max_completion_tokens": 50, "temperature": 0.3}
        reply = await ask(g.port, body=sent)
        assert reply.status == 200
        assert [e["choices"][0]["delta"]["content"] for e in events(reply.body)[:-1]] == ["a", "b"]
        (prompt,), (answer,) = first.bodies, second.bodies
        assert (prompt["max_tokens"], prompt["max_completion_tokens"], prompt["stream"]) == (1, 1, False)
        assert "stream_options" not in prompt
        assert prompt["messages"] == CHAT["messages"]
        assert prompt["temperature"] == 0.3
        assert answer["kv_transfer_params"] == PARAMS
        assert (answer["max_tokens"], answer["stream"]) == (50, True)
        head = b"x-request-id: " + reply.headers["x-request-id"].encode()
        assert head in first.heads[0]
        assert head in second.heads[0]
        assert reply.headers["x-roadbed-replica"] == "m-1"
        [row] = g.rows()
        assert (row.outcome, row.replica, row.num_tries, row.prompt_tokens, row.completion_tokens) == (
            "ok", "m-1", 1, 7, 2,
        )  # fmt: skip

    run(tmp_path, prefilling(), STREAM, scenario)


def test_whole_answers_take_both_legs_and_several_choices_one(tmp_path: Path) -> None:
    async def scenario(g: Gateway, first: Engine, second: Engine) -> None:
        assert (await ask(g.port, body=CHAT)).json() == REPLY
        assert (await ask(g.port, body=CHAT | {"n": 2})).status == 200
        assert len(first.bodies) == 1
        assert second.bodies[0]["kv_transfer_params"] == PARAMS
        assert "kv_transfer_params" not in second.bodies[1]

    run(tmp_path, prefilling(), replies(), scenario)


async def lost(engine: Engine, request: dict[str, Any], writer: asyncio.StreamWriter) -> None:
    writer.transport.abort()


@pytest.mark.parametrize(
    "prefill",
    [
        lost, replies(status=500), replies(status=400), replies(), prefilling(kv_transfer_params=None),
        replies(b"nonsense"), replies({"kv_transfer_params": PARAMS, "text": "x" * MOST_BYTES}),
    ],
    ids=["lost", "500", "400", "no params", "null", "no json", "too large"],
)  # fmt: skip
def test_a_first_leg_that_fails_costs_its_time_alone(tmp_path: Path, prefill: Answer) -> None:
    async def scenario(g: Gateway, first: Engine, second: Engine) -> None:
        reply = await ask(g.port, body=CHAT)
        assert (reply.status, reply.json()) == (200, REPLY)
        assert len(first.bodies) == 1
        (answer,) = second.bodies
        assert "kv_transfer_params" not in answer
        [row] = g.rows()
        assert (row.outcome, row.replica, row.num_tries) == ("ok", "m-1", 1)

    run(tmp_path, prefill, replies(), scenario)


def test_a_client_that_leaves_during_the_first_leg_stops_it(tmp_path: Path) -> None:
    async def never(engine: Engine, request: dict[str, Any], writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(60)

    async def scenario(g: Gateway, first: Engine, second: Engine) -> None:
        _, writer = await asyncio.open_connection("127.0.0.1", g.port)
        writer.write(request_bytes("/v1/chat/completions", CHAT, key=KEY))
        await writer.drain()
        await until(lambda: first.bodies)
        writer.close()
        await until(lambda: first.num_gone == 1)
        await until(lambda: g.rows())
        assert not second.bodies

    run(tmp_path, never, replies(), scenario)


def test_without_prefill_replicas_the_others_do_both(tmp_path: Path) -> None:
    async def body() -> None:
        engine = await Engine(replies()).start()
        async with gateway(tmp_path, snapshot([engine.port], replica={"role": "decode"})) as g:
            assert (await ask(g.port, body=CHAT)).status == 200
            assert "kv_transfer_params" not in engine.bodies[0]
        await engine.stop()

    asyncio.run(body())


BODIES = st.dictionaries(
    st.sampled_from(["model", "messages", "stream", "stream_options", "max_tokens", "min_tokens", "n", "x"])
    | st.text(max_size=8),
    st.none() | st.integers(-5, 5) | st.text(max_size=8) | st.lists(st.integers(), max_size=3),
)


@given(BODIES)
def test_the_legs_change_what_they_must_and_nothing_else(body: dict[str, Any]) -> None:
    raw = json.dumps(body).encode()
    first = json.loads(prefill_body(raw))
    assert (first["max_tokens"], first["stream"]) == (1, False)
    assert first["kv_transfer_params"]["do_remote_decode"] is True
    owned = {"max_tokens", "max_completion_tokens", "stream", "stream_options", "min_tokens", "n", "kv_transfer_params"}
    assert {key: first[key] for key in first if key not in owned} == {k: v for k, v in body.items() if k not in owned}
    second = json.loads(decode_body(raw, b'{"a":[1]}'))
    assert second == body | {"kv_transfer_params": {"a": [1]}}
