"""The executor: events before deeds, ports and labels, last words, adoption by a second control process."""

import asyncio
from pathlib import Path

import pytest

from roadbed.control.reconcilers.service import ServiceReconciler
from roadbed.control.services.apply import apply
from roadbed.control.services.service import delete_service, scale_service
from roadbed.control.store import Store
from roadbed.control.store.event import list_events
from roadbed.control.store.replica import ReplicaRow, list_replicas
from roadbed.spec.quantity import IntRange
from roadbed.spec.service import LlamaCppEngine, OpenAIEngine, Service
from tests.control.conftest import Clock
from tests.control.harness import CAPACITY, World, world_of

CHAT = Service(name="chat", model="smollm2-135m-instruct", replicas=IntRange(min=2, max=3))


def wish(world: World, *specs: Service) -> None:
    apply(world.store, specs, world.state.pool, "test")


def rows(world: World) -> list[ReplicaRow]:
    with world.store.read() as connection:
        return list_replicas(connection)


def codes(world: World, name: str) -> list[str]:
    with world.store.read() as connection:
        return [event.code for event in list_events(connection, noun="replica", name=name)]


async def settle(world: World, reconciler: ServiceReconciler, clock: Clock, passes: int = 30) -> None:
    for _ in range(passes):
        await reconciler.one_pass()
        await asyncio.gather(*world.state.background)
        clock.tick(0.25)


def test_from_spec_to_ready(store: Store, tmp_path: Path, clock: Clock) -> None:
    async def scenario() -> None:
        async with world_of(store, tmp_path) as world:
            world.models.absent.add("smollm2-135m-instruct")
            wish(world, CHAT)
            reconciler = ServiceReconciler(world.state)
            await settle(world, reconciler, clock)
            assert world.models.pulled == ["smollm2-135m-instruct"] * 2
            assert [row.state for row in rows(world)] == ["ready", "ready"]
            assert [row.capacity for row in rows(world)] == [CAPACITY, CAPACITY]
            assert codes(world, "chat-0") == [
                "replica.created", "replica.pulling", "replica.starting", "replica.ready",
            ]  # fmt: skip
            row = rows(world)[0]
            spec = world.runtime.specs["service-chat-0"]
            assert spec.argv == ("engine", "--port", str(row.port), "--threads", "1", "/models/smollm2-135m-instruct")
            assert spec.labels == {
                "noun": "replica", "service": "chat", "replica": "chat-0", "generation": "1", "port": str(row.port),
            }  # fmt: skip
            assert await reconciler.one_pass() > 0.0

    asyncio.run(scenario())


def test_a_second_control_process_adopts_and_restarts_nothing(store: Store, tmp_path: Path, clock: Clock) -> None:
    async def scenario() -> None:
        async with world_of(store, tmp_path) as world:
            wish(world, CHAT)
            await settle(world, ServiceReconciler(world.state), clock)
            before = dict(world.runtime.processes)
            await settle(world, ServiceReconciler(world.state), clock)
            assert world.runtime.processes == before
            assert codes(world, "chat-0")[-1] == "replica.adopted"
            assert codes(world, "chat-0").count("replica.adopted") == 1

    asyncio.run(scenario())


def test_a_death_is_told_in_the_engine_s_own_words_and_healed(store: Store, tmp_path: Path, clock: Clock) -> None:
    async def scenario() -> None:
        async with world_of(store, tmp_path) as world:
            wish(world, CHAT)
            reconciler = ServiceReconciler(world.state)
            await settle(world, reconciler, clock)
            world.runtime.die("service-chat-1")
            await reconciler.one_pass()
            failed = next(row for row in rows(world) if row.id == "chat-1")
            assert (failed.state, failed.reason, failed.restarts) == ("failed", "exited", 1)
            assert failed.message == "last words: service-chat-1 begins (hint: give it memory)"
            await settle(world, reconciler, clock)
            assert [row.state for row in rows(world)] == ["ready", "ready"]

    asyncio.run(scenario())


@pytest.mark.parametrize(
    ("refuses", "reason", "said"),
    [("start", "start", "the engine is not installed"), ("ready", "refused", "the model has an unknown architecture")],
)
def test_an_engine_that_refuses_backs_off(
    store: Store, tmp_path: Path, clock: Clock, refuses: str, reason: str, said: str
) -> None:
    async def scenario() -> None:
        async with world_of(store, tmp_path) as world:
            world.engines.refuses = refuses
            wish(world, CHAT)
            reconciler = ServiceReconciler(world.state)
            await settle(world, reconciler, clock, passes=40)
            failed = rows(world)[0]
            assert failed.restarts >= 3
            assert (failed.reason, failed.message) in {(reason, said), ("", "")} or failed.state == "pending"
            assert f"{said}; tried again in" in _messages(world, "chat-0")
            world.engines.refuses = ""
            await settle(world, reconciler, clock, passes=60)
            assert [row.state for row in rows(world)] == ["ready", "ready"]

    asyncio.run(scenario())


def _messages(world: World, name: str) -> str:
    with world.store.read() as connection:
        return "\n".join(event.message for event in list_events(connection, noun="replica", name=name))


def test_scaling_draining_and_deleting(store: Store, tmp_path: Path, clock: Clock) -> None:
    async def scenario() -> None:
        async with world_of(store, tmp_path) as world:
            wish(world, CHAT)
            reconciler = ServiceReconciler(world.state)
            await settle(world, reconciler, clock)
            scale_service(store, "chat", 3, "test")
            await settle(world, reconciler, clock)
            assert len(rows(world)) == 3
            world.engines.busy = True
            scale_service(store, "chat", 2, "test")
            await settle(world, reconciler, clock, passes=8)
            assert sorted(row.state for row in rows(world)) == ["draining", "ready", "ready"]
            world.engines.busy = False
            await settle(world, reconciler, clock)
            assert len(rows(world)) == 2
            assert "service-chat-2" not in world.runtime.processes
            delete_service(store, "chat", "test")
            await settle(world, reconciler, clock)
            assert rows(world) == []
            assert world.runtime.processes == {}

    asyncio.run(scenario())


def test_hung_replicas_are_restarted_and_strays_stopped(store: Store, tmp_path: Path, clock: Clock) -> None:
    async def scenario() -> None:
        async with world_of(store, tmp_path) as world:
            wish(world, CHAT)
            reconciler = ServiceReconciler(world.state)
            await settle(world, reconciler, clock)
            first = world.runtime.processes["service-chat-0"]
            world.state.hung.add("chat-0")
            await settle(world, reconciler, clock)
            assert world.runtime.processes["service-chat-0"].started_at > first.started_at
            assert world.state.hung == set()
            stray = world.runtime.specs["service-chat-0"]
            await world.runtime.start(type(stray)(name="service-old-9", argv=("x",), labels={"noun": "replica"}))
            await settle(world, reconciler, clock, passes=3)
            assert world.runtime.processes["service-old-9"].state == "exited"

    asyncio.run(scenario())


def test_external_engines_and_written_thread_counts(store: Store, tmp_path: Path, clock: Clock) -> None:
    async def scenario() -> None:
        async with world_of(store, tmp_path) as world:
            far = Service(name="far", model="anything", engine=OpenAIEngine(urls=["https://far.example"]))
            own = Service(name="own", model="smollm2-135m-instruct", engine=LlamaCppEngine(threads=2))
            wish(world, far, own)
            await settle(world, ServiceReconciler(world.state), clock)
            assert {row.service: row.state for row in rows(world)} == {"far": "ready", "own": "ready"}
            assert sorted(world.runtime.specs) == ["service-own-0"]
            assert "2" in world.runtime.specs["service-own-0"].argv

    asyncio.run(scenario())
