"""Load reports reach routers and people; a deaf engine is hung only after many and long."""

import asyncio
from pathlib import Path

import pytest

from roadbed.control.reconcilers.load import HUNG_AFTER, HUNG_AFTER_S, Health, LoadPoller
from roadbed.control.reconcilers.service import ServiceReconciler
from roadbed.control.services.apply import apply
from roadbed.control.services.status import live
from roadbed.control.store import Store
from roadbed.control.store.event import list_events
from roadbed.spec.service import Service
from tests.control.conftest import Clock
from tests.control.harness import World, world_of


async def ready(world: World) -> None:
    apply(world.store, [Service(name="chat", model="smollm2-135m-instruct")], world.state.pool, "test")
    reconciler = ServiceReconciler(world.state)
    for _ in range(6):
        await reconciler.one_pass()


def test_reports_go_to_the_account_and_to_memory(store: Store, tmp_path: Path, clock: Clock) -> None:
    async def scenario() -> None:
        async with world_of(store, tmp_path) as world:
            await ready(world)
            poller = LoadPoller(world.state)
            assert await poller.one_pass() == world.state.config.control.load_interval
            clock.tick(2.0)
            await poller.one_pass()
            assert world.state.account is not None
            report = world.state.account.report(0)
            assert report is not None
            assert (report.at, report.num_running, report.num_waiting, report.kv_usage) == (clock.now, 1, 2, 0.25)
            assert [sample.tokens_per_s for sample in world.state.loads["chat-0"]] == [0.0, 25.0]
            (replica,) = live(world.state).replicas
            assert (replica.num_running, replica.tokens_per_s, replica.kv_usage) == (1, 25.0, 0.25)
            world.engines.num_tokens = 0
            clock.tick(1.0)
            await poller.one_pass()
            assert world.state.loads["chat-0"][-1].tokens_per_s == 0.0

    asyncio.run(scenario())


def test_a_deaf_engine_is_suspected_once_and_forgiven_when_it_answers(
    store: Store, tmp_path: Path, clock: Clock
) -> None:
    async def scenario() -> None:
        async with world_of(store, tmp_path) as world:
            await ready(world)
            poller = LoadPoller(world.state)
            world.engines.deaf = True
            for _ in range(HUNG_AFTER - 1):
                await poller.one_pass()
                clock.tick(HUNG_AFTER_S)
            assert world.state.hung == set()
            await poller.one_pass()
            await poller.one_pass()
            assert world.state.hung == {"chat-0"}
            world.engines.deaf = False
            await poller.one_pass()
            assert world.state.hung == set()
        with store.read() as connection:
            suspected = [event for event in list_events(connection, name="chat-0") if event.code == "replica.suspected"]
        assert [event.message for event in suspected] == [
            f"{HUNG_AFTER} health checks failed in a row over {(HUNG_AFTER - 1) * HUNG_AFTER_S:.0f} s: deaf"
        ]

    asyncio.run(scenario())


@pytest.mark.parametrize(
    ("num_failures", "every_s", "hung"), [(7, 10.0, False), (8, 1.0, False), (8, 3.0, True), (30, 1.0, True)]
)
def test_both_many_and_long(num_failures: int, every_s: float, hung: bool) -> None:
    health = Health()
    assert [health.failed(number * every_s) for number in range(num_failures)][-1] is hung
    health.answered()
    assert health.failed(1e9) is False
