"""Explain and status: every state says why and what is next; nothing is made up."""

import asyncio
from pathlib import Path

import pytest

from roadbed.control.placement import Node, node_info
from roadbed.control.pool import LivePool
from roadbed.control.reconcilers.service import ServiceReconciler
from roadbed.control.services.apply import apply
from roadbed.control.services.explain import explain_service
from roadbed.control.services.status import live, percentiles, platform_status
from roadbed.control.store import Store
from roadbed.control.store.usage import insert_usage
from roadbed.errors import NotFoundError
from roadbed.spec.quantity import IntRange
from roadbed.spec.service import Resources, Service
from tests.control.conftest import Clock
from tests.control.harness import MACHINE, World, world_of
from tests.control.store.test_usage import settled


def small_pool(cpu: float) -> LivePool:
    return LivePool([node_info(Node(cpu=cpu, memory_bytes=8 * 2**30), MACHINE, "local")])


CHAT = Service(name="chat", model="smollm2-135m-instruct", replicas=IntRange(min=2, max=2))


def test_a_service_on_its_way_and_as_wished(store: Store, tmp_path: Path, clock: Clock) -> None:
    async def scenario() -> None:
        async with world_of(store, tmp_path) as world:
            world.state.pool = small_pool(1.0)
            apply(store, [CHAT], world.state.pool, "test")
            reconciler = ServiceReconciler(world.state)
            for _ in range(6):
                await reconciler.one_pass()
            told = explain_service(world.state, "chat")
            assert told.summary.startswith("on its way: 1 of 2 ready; chat-1: it has no place now")
            assert told.replicas[1].why.startswith(
                "no_capacity: it has no place now: 1 node → 0 with 1 core and 1.0 GiB free"
            )
            assert told.replicas[1].next == "placed as soon as there is room"
            assert [event.code for event in told.events][:3] == [
                "service.created",
                "replica.created",
                "replica.created",
            ]
            world.runtime.die("service-chat-0")
            await reconciler.one_pass()
            failed = explain_service(world.state, "chat").replicas[0]
            assert failed.next == "tried again"
            assert failed.next_at == clock.now + 0.5
            assert "last words" in failed.why
            world.state.pool = small_pool(4.0)
            clock.tick(1.0)
            for _ in range(6):
                await reconciler.one_pass()
            assert explain_service(world.state, "chat").summary == "as wished: 2 of 2 ready"

    asyncio.run(scenario())


def test_starting_pulling_and_too_large(store: Store, tmp_path: Path, clock: Clock) -> None:
    async def scenario() -> None:
        async with world_of(store, tmp_path) as world:
            world.engines.loading = True
            big = Service(name="big", model="smollm2-135m-instruct", resources=Resources(cpu=64.0))
            apply(store, [CHAT, big], world.state.pool, "test")
            reconciler = ServiceReconciler(world.state)
            for _ in range(3):
                await reconciler.one_pass()
            starting = explain_service(world.state, "chat").replicas[0]
            assert (starting.state, starting.why) == ("starting", "its engine is loading")
            assert starting.next_at == clock.now + 300.0
            assert explain_service(world.state, "big").replicas[0].next == "change its resources"

    asyncio.run(scenario())


def test_unknown_service(world: World) -> None:
    with pytest.raises(NotFoundError):
        explain_service(world.state, "nope")


def test_status_counts_what_is_held_and_who_is_missing(store: Store, tmp_path: Path) -> None:
    async def scenario() -> None:
        async with world_of(store, tmp_path) as world:
            apply(store, [CHAT], world.state.pool, "test")
            reconciler = ServiceReconciler(world.state)
            for _ in range(6):
                await reconciler.one_pass()
            processes = await world.runtime.list()
            status = platform_status(world.state, processes)
            assert (status.services[0].num_ready, status.node.cpu_reserved) == (2, 2.0)
            assert not status.healthy, "no gateway worker runs"

    asyncio.run(scenario())


def test_live_numbers_come_from_the_window(store: Store, tmp_path: Path, clock: Clock) -> None:
    async def scenario() -> None:
        async with world_of(store, tmp_path) as world:
            apply(store, [CHAT], world.state.pool, "test")
            records = [settled(f"r{n}", at=clock.now - n, ttft_s=0.1 * n, completion_tokens=30) for n in range(1, 11)]
            records.append(settled("old", at=clock.now - 100.0, ttft_s=9.0))
            records.append(settled("shed", at=clock.now, ttft_s=0.0, outcome="shed", route="queue_full"))
            with store.write("usage") as connection:
                insert_usage(connection, records)
            numbers = live(world.state, window_s=60.0)
            assert numbers.requests_per_s == 11 / 60
            assert numbers.outcomes == {"ok": 10, "shed": 1}
            assert numbers.services[0].routes == {"least_cost": 10, "queue_full": 1}
            assert numbers.ttft_s.p50 == pytest.approx(0.5)
            assert numbers.ttft_s.p99 == pytest.approx(1.0)

    asyncio.run(scenario())


def test_percentiles_are_measured_values() -> None:
    assert percentiles([]).p50 is None
    assert percentiles([3.0]).p99 == 3.0
    values = [float(number) for number in range(1, 101)]
    assert (percentiles(values).p50, percentiles(values).p90, percentiles(values).p99) == (50.0, 90.0, 99.0)
