"""Services that load scales, as their gateway sees them: who comes to none is held, who was lost goes elsewhere."""

import asyncio
from pathlib import Path
from typing import Any

import msgspec
import pytest

from roadbed.gateway.snapshot import Snapshot
from tests.gateway.rig import (
    CHAT,
    REPLY,
    STREAM_HEAD,
    Engine,
    Gateway,
    Response,
    ask,
    chunked,
    event,
    events,
    gateway,
    replies,
    snapshot,
    until,
)

SLOT = 7


def asleep(**service: Any) -> Snapshot:
    """No replica, and a gateway that holds for ten seconds."""
    return snapshot([], **({"slot": SLOT, "holds": True, "max_wait_s": 10.0} | service))


def run(tmp_path: Path, scenario: Any, *answers: Any, first: Snapshot | None = None) -> None:
    """Runs `scenario(gateway, *engines)`; the first snapshot is `asleep()` unless given."""

    async def body() -> None:
        engines = [await Engine(answer).start() for answer in answers]
        try:
            async with gateway(tmp_path, first or asleep()) as g:
                await scenario(g, *engines)
        finally:
            for engine in engines:
                await engine.stop()

    asyncio.run(body())


def held(g: Gateway) -> int:
    return g.worker.account.totals(SLOT).in_flight


async def never(engine: Engine, request: dict[str, Any], writer: asyncio.StreamWriter) -> None:
    await asyncio.sleep(3600)


async def breaks(engine: Engine, request: dict[str, Any], writer: asyncio.StreamWriter) -> None:
    writer.transport.abort()


def test_who_comes_to_none_is_held_counted_and_answered(tmp_path: Path) -> None:
    async def scenario(g: Gateway, engine: Engine) -> None:
        waiting = [asyncio.ensure_future(ask(g.port, body=CHAT)) for _ in range(3)]
        await until(lambda: held(g) == 3)
        assert g.worker.plane.held_bytes > 0
        assert not any(task.done() for task in waiting)
        g.publish(snapshot([engine.port], slot=SLOT, holds=True))
        assert [reply.status for reply in await asyncio.gather(*waiting)] == [200, 200, 200]
        await until(lambda: held(g) == 0)
        assert g.worker.plane.held_bytes == 0
        [row] = {row.outcome for row in g.rows()}
        assert row == "ok"

    run(tmp_path, scenario, replies())


def test_a_batch_request_wakes_too(tmp_path: Path) -> None:
    """It gives way to others, but there are none."""

    async def scenario(g: Gateway, engine: Engine) -> None:
        asked = asyncio.ensure_future(ask(g.port, body=CHAT, headers={"x-roadbed-priority": "1"}))
        await until(lambda: held(g) == 1)
        g.publish(snapshot([engine.port], slot=SLOT, holds=True))
        assert (await asked).status == 200
        await until(lambda: held(g) == 0)

    run(tmp_path, scenario, replies())


def test_a_client_that_leaves_is_held_no_longer(tmp_path: Path) -> None:
    async def scenario(g: Gateway) -> None:
        waiting = asyncio.ensure_future(ask(g.port, body=CHAT))
        await until(lambda: held(g) == 1)
        waiting.cancel()
        await until(lambda: held(g) == 0)
        assert g.worker.plane.held_bytes == 0

    run(tmp_path, scenario)


def test_who_waited_in_vain_hears_why(tmp_path: Path) -> None:
    async def scenario(g: Gateway) -> None:
        reply = await ask(g.port, body=CHAT)
        assert (reply.status, reply.error["code"]) == (503, "no_replica")
        assert reply.error["message"] == "No replica of the model could answer: no machine has room for a replica now."

    run(tmp_path, scenario, first=asleep(max_wait_s=0.2, note="no machine has room for a replica now"))


def test_a_full_queue_refuses_at_once(tmp_path: Path) -> None:
    async def scenario(g: Gateway, engine: Engine) -> None:
        first = asyncio.ensure_future(ask(g.port, body=CHAT))
        await until(lambda: held(g) == 1)
        second = await ask(g.port, body=CHAT)
        assert (second.status, second.error["code"]) == (429, "model_overloaded")
        assert "retry-after" in second.headers
        g.publish(snapshot([engine.port]))
        assert (await first).status == 200

    run(tmp_path, scenario, replies(), first=asleep(max_queue=1))


def test_no_more_bytes_are_held_than_may(tmp_path: Path) -> None:
    async def scenario(g: Gateway, engine: Engine) -> None:
        g.worker.plane.max_held_bytes = 3000
        long = CHAT | {"messages": [{"role": "user", "content": "x" * 2000}]}
        first = asyncio.ensure_future(ask(g.port, body=long))
        await until(lambda: held(g) == 1)
        refused = await ask(g.port, body=long)
        assert (refused.status, refused.error["code"]) == (429, "model_overloaded")
        assert g.worker.plane.tables.services["m"].router.num_waiting == 1
        g.publish(snapshot([engine.port]))
        assert (await first).status == 200
        assert g.worker.plane.held_bytes == 0

    run(tmp_path, scenario, replies())


def test_a_gateway_that_holds_is_ready(tmp_path: Path) -> None:
    async def scenario(g: Gateway) -> None:
        ready = await ask(g.port, "/ready", method="GET", key=None)
        assert (ready.status, ready.json()["replicas"]) == (200, {"m": 0})

    run(tmp_path, scenario)


def test_desired_and_ready_are_in_the_metrics(tmp_path: Path) -> None:
    async def scenario(g: Gateway, engine: Engine) -> None:
        g.worker.plane.sweep()
        text = (await ask(g.port, "/metrics", method="GET", key=None)).body.decode()
        assert 'roadbed_replicas_desired{service="m"} 4' in text
        assert 'roadbed_replicas_ready{service="m"} 0' in text

    run(tmp_path, scenario, replies(), first=asleep(num_desired=4))


# ── re-dispatch ───────────────────────────────────────────────────────────────────────────────────────


def only(second: int) -> Snapshot:
    """The replica in slot 1 alone."""
    both = snapshot([1, second])
    (service,) = both.services
    left = msgspec.structs.replace(service, replicas=service.replicas[1:])
    return msgspec.structs.replace(both, services=(left,))


def test_who_has_seen_nothing_leaves_a_replica_that_is_stopped(tmp_path: Path) -> None:
    async def scenario(g: Gateway, slow: Engine, quick: Engine) -> None:
        g.publish(snapshot([slow.port, quick.port]))
        await until(lambda: len(g.worker.plane.tables.services["m"].router.replicas) == 2)
        asked = [asyncio.ensure_future(ask(g.port, body=CHAT)) for _ in range(2)]
        await until(lambda: len(slow.bodies) == 1 and len(quick.bodies) == 1)
        g.publish(only(quick.port))
        answers = await asyncio.gather(*asked)
        assert [(reply.status, reply.headers["x-roadbed-replica"]) for reply in answers] == [(200, "m-1")] * 2
        await until(lambda: slow.num_gone == 1)
        assert sorted(row.num_tries for row in g.rows()) == [1, 2]

    run(tmp_path, scenario, never, replies(), first=snapshot([]))


def test_a_stream_that_has_begun_is_never_sent_again(tmp_path: Path) -> None:
    finish = asyncio.Event()

    async def slow_stream(engine: Engine, request: dict[str, Any], writer: asyncio.StreamWriter) -> None:
        writer.write(STREAM_HEAD + chunked(event("one")))
        await finish.wait()
        writer.write(chunked(event("two") + b"data: [DONE]\n\n") + b"0\r\n\r\n")

    async def scenario(g: Gateway, first: Engine, second: Engine) -> None:
        g.publish(snapshot([first.port, second.port]))
        await until(lambda: len(g.worker.plane.tables.services["m"].router.replicas) == 2)
        asked = asyncio.ensure_future(ask(g.port, body=CHAT | {"stream": True}))
        await until(lambda: any(e._started for e in g.worker.plane.exchanges.values()))
        g.publish(only(second.port))
        await until(lambda: len(g.worker.plane.tables.services["m"].router.replicas) == 1)
        finish.set()
        reply = await asked
        words = [one["choices"][0]["delta"]["content"] for one in events(reply.body)[:-1]]
        assert (words, second.bodies) == (["one", "two"], [])

    run(tmp_path, scenario, slow_stream, replies(), first=snapshot([]))


def test_the_last_replica_is_left_to_finish(tmp_path: Path) -> None:
    finish = asyncio.Event()

    async def answers_late(engine: Engine, request: dict[str, Any], writer: asyncio.StreamWriter) -> None:
        await finish.wait()
        await replies()(engine, request, writer)

    async def scenario(g: Gateway, engine: Engine) -> None:
        g.publish(snapshot([engine.port]))
        asked = asyncio.ensure_future(ask(g.port, body=CHAT))
        await until(lambda: len(engine.bodies) == 1)
        g.publish(asleep())
        await until(lambda: not g.worker.plane.tables.services["m"].router.replicas)
        finish.set()
        assert (await asked).status == 200
        assert len(engine.bodies) == 1

    run(tmp_path, scenario, answers_late, first=asleep())


def test_who_lost_the_only_replica_waits_for_the_next(tmp_path: Path) -> None:
    async def scenario(g: Gateway, broken: Engine, healed: Engine) -> None:
        g.publish(snapshot([broken.port], slot=SLOT, holds=True, max_wait_s=10.0))
        asked = asyncio.ensure_future(ask(g.port, body=CHAT))
        await until(lambda: held(g) == 1 and len(broken.bodies) == 1)
        g.publish(asleep())
        g.publish(snapshot([healed.port], slot=SLOT, holds=True))
        reply = await asked
        assert (reply.status, reply.json()["usage"]) == (200, REPLY["usage"])
        assert g.rows()[0].num_tries == 2

    run(tmp_path, scenario, breaks, replies())


def test_who_waits_after_a_loss_may_go_back_when_the_other_leaves(tmp_path: Path) -> None:
    """Lost by the one, in the queue for the other, which is then given up: the one is back by now."""

    async def scenario(g: Gateway, first: Engine, second: Engine) -> None:
        both = snapshot(
            [first.port, second.port], slot=SLOT, holds=True, max_wait_s=10.0, replica={"max_concurrency": 1}
        )
        g.publish(both)
        await until(lambda: len(g.worker.plane.tables.services["m"].router.replicas) == 2)
        asked = [asyncio.ensure_future(ask(g.port, body=CHAT)) for _ in range(5)]
        await until(lambda: len(second.bodies) == 2 and held(g) == 3 and len(first.bodies) > 0)
        first.answer = replies()
        (service,) = both.services
        kept, left = service.replicas
        for leaving in ((msgspec.structs.replace(left, draining=True),), ()):
            now = msgspec.structs.replace(service, replicas=(kept, *leaving))
            version = g.worker.plane.tables.version
            g.publish(msgspec.structs.replace(both, services=(now,)))
            await until(lambda version=version: g.worker.plane.tables.version > version)
        assert [reply.status for reply in await asyncio.gather(*asked)] == [200] * 5

    run(tmp_path, scenario, breaks, never)


@pytest.mark.parametrize(("holds", "num_tries"), [(False, 1), (True, 3)])
def test_a_request_that_loses_every_replica_is_given_up(tmp_path: Path, holds: bool, num_tries: int) -> None:
    async def scenario(g: Gateway, broken: Engine) -> None:
        g.publish(snapshot([broken.port], slot=SLOT, holds=holds, max_wait_s=10.0))
        reply: Response = await ask(g.port, body=CHAT)
        assert (reply.status, reply.error["code"]) == (503, "no_replica")
        assert len(broken.bodies) == num_tries

    run(tmp_path, scenario, breaks)
