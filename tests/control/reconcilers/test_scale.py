"""The scale loop: looks at the account, writes wishes with their reason, and keeps its hands off what is pinned."""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from roadbed.control.reconcilers.scale import LOOK_S, QUIET_S, ScaleReconciler
from roadbed.control.reconcilers.service import ServiceReconciler
from roadbed.control.services.apply import apply
from roadbed.control.services.service import delete_service, release_service, scale_service
from roadbed.control.state import LoadSample
from roadbed.control.store import Store
from roadbed.control.store.event import EventRow, list_events
from roadbed.control.store.replica import list_replicas
from roadbed.control.store.service import ServiceRow, get_service, put_service
from roadbed.control.store.usage import insert_usage
from roadbed.engine.base import LoadReport
from roadbed.errors import UsageError
from roadbed.gateway.account import Account
from roadbed.spec.service import Service
from tests.control.conftest import Clock
from tests.control.harness import World, world_of
from tests.control.store.test_usage import settled

Scenario = Callable[["Bench"], Awaitable[None]]


def spec(**fields: Any) -> Service:
    base = {
        "name": "chat",
        "model": "smollm2-135m-instruct",
        "replicas": "0..3",
        "scaling": {"target": 2, "idle": "60s"},
    }
    return Service.model_validate(base | fields)


class Bench:
    """A world, its scale loop, and a gateway worker's hand on the account."""

    def __init__(self, world: World, clock: Clock, account: Account) -> None:
        self.world, self.clock, self.account = world, clock, account
        self.scale = ScaleReconciler(world.state)
        self.service = ServiceReconciler(world.state)

    def apply(self, wanted: Service) -> None:
        apply(self.world.store, [wanted], self.world.state.pool, "test")

    def row(self, name: str = "chat") -> ServiceRow:
        with self.world.store.read() as connection:
            row = get_service(connection, name)
        assert row is not None
        return row

    def events(self) -> list[EventRow]:
        with self.world.store.read() as connection:
            return [event for event in list_events(connection) if event.code == "service.scaled"]

    def waiting(self, number: int, name: str = "chat") -> None:
        slot = self.row(name).slot
        assert slot is not None
        self.account.write(slot, number, 0, 0, 0)

    def in_flight(self, slot: int, number: int) -> None:
        self.account.write(slot, number, 0, 0, 0)

    async def look(self, seconds: float = 0.0) -> float:
        """Looks every half a second for so long; the topic's commit is heard by the loop in between."""
        rest_s = 0.0
        for _ in range(int(seconds * 2) + 1):
            await asyncio.sleep(0)
            rest_s = await self.scale.one_pass()
            self.clock.tick(0.5)
        return rest_s

    async def start_replicas(self) -> None:
        for _ in range(8):
            await self.service.one_pass()
            self.clock.tick(0.1)
        await asyncio.sleep(0)


def scene(store: Store, root: Path, clock: Clock, scenario: Scenario) -> None:
    async def body() -> None:
        async with world_of(store, root) as world:
            account = Account(world.state.home.account, num_workers=2, worker=0)
            try:
                await scenario(Bench(world, clock, account))
            finally:
                account.close()

    asyncio.run(body())


def test_without_scaling_it_rests(store: Store, tmp_path: Path, clock: Clock) -> None:
    async def scenario(bench: Bench) -> None:
        bench.apply(spec(scaling=None))
        assert await bench.look(20.0) == QUIET_S
        assert (bench.row().num_desired, bench.row().slot) == (0, None)
        bench.apply(spec())
        await asyncio.sleep(0.01)
        assert await bench.look() == LOOK_S

    scene(store, tmp_path, clock, scenario)


def test_the_first_who_waits_wakes_it_at_once(store: Store, tmp_path: Path, clock: Clock) -> None:
    async def scenario(bench: Bench) -> None:
        bench.apply(spec())
        await bench.look(1.0)
        assert bench.row().num_desired == 0
        bench.waiting(1)
        await bench.look()
        assert bench.row().num_desired == 1
        (event,) = bench.events()
        assert event.actor == "autoscaler"
        assert event.message == "wants 1 replica, before 0: wake: 0.0 in flight and 1 waiting, 2 is right for one"
        assert (event.data["before"], event.data["after"], event.data["reason"]) == (0, 1, "wake")
        await bench.look(4.0)
        assert len(bench.events()) == 1

    scene(store, tmp_path, clock, scenario)


def test_load_scales_up_and_idle_goes_back(store: Store, tmp_path: Path, clock: Clock) -> None:
    async def scenario(bench: Bench) -> None:
        bench.apply(spec(replicas="1..3", scaling={"target": 2, "idle": "60s"}))
        await bench.start_replicas()
        await bench.look()
        with store.read() as connection:
            (replica,) = list_replicas(connection)
        bench.in_flight(replica.slot, 5)
        await bench.look(12.0)
        assert bench.row().num_desired == 3
        decided = bench.world.state.scaling["chat"]
        assert (decided.reason, round(decided.amount)) == ("steady", 5)
        bench.in_flight(replica.slot, 0)
        await bench.look(200.0)
        assert bench.row().num_desired == 1
        assert bench.events()[0].data["after"] == 3

    scene(store, tmp_path, clock, scenario)


def test_a_number_set_by_hand_stands(store: Store, tmp_path: Path, clock: Clock) -> None:
    async def scenario(bench: Bench) -> None:
        bench.apply(spec())
        scale_service(store, "chat", 2, "admin")
        assert bench.row().pinned_at is not None
        await bench.look(300.0)
        assert bench.row().num_desired == 2
        scale_service(store, "chat", 0, "admin")
        await asyncio.sleep(0.01)
        bench.waiting(3)
        await bench.look(30.0)
        assert bench.row().num_desired == 0
        release_service(store, "chat", "admin")
        await asyncio.sleep(0.01)
        await bench.look(1.0)
        assert (bench.row().num_desired, bench.row().pinned_at) == (2, None)

    scene(store, tmp_path, clock, scenario)


def test_a_pin_ends_with_a_new_range_and_stays_with_anything_else(store: Store, tmp_path: Path, clock: Clock) -> None:
    async def scenario(bench: Bench) -> None:
        bench.apply(spec())
        scale_service(store, "chat", 2, "admin")
        bench.apply(spec(priority=7))
        assert bench.row().pinned_at is not None
        bench.apply(spec(priority=7, replicas="0..4"))
        assert bench.row().pinned_at is None
        assert release_service(store, "chat", "admin") == bench.row()
        bench.apply(spec(scaling=None))
        with pytest.raises(UsageError, match="has no scaling"):
            release_service(store, "chat", "admin")
        scale_service(store, "chat", 1, "admin")
        assert (bench.row().pinned_at, bench.row().slot) == (None, None)

    scene(store, tmp_path, clock, scenario)


def test_a_new_control_process_goes_on_from_the_number_and_the_past(store: Store, tmp_path: Path, clock: Clock) -> None:
    async def scenario(bench: Bench) -> None:
        bench.apply(spec())
        bench.waiting(1)
        await bench.look()
        begun = clock.now
        with store.write("usage") as connection:
            insert_usage(connection, [settled(f"r{n}", at=begun + 30.0 * n, total_s=20.0) for n in range(20)])
        clock.tick(600.0)
        bench.waiting(0)
        bench.scale = ScaleReconciler(bench.world.state)
        await bench.look(1.0)
        assert bench.row().num_desired == 1
        await bench.look(5.0)
        assert bench.row().num_desired == 1  # 600 s after its first request, but only 30 s after its last
        await bench.look(120.0)
        assert bench.row().num_desired == 0

    scene(store, tmp_path, clock, scenario)


def test_servers_of_somebody_else_count_what_is_not_ours(store: Store, tmp_path: Path, clock: Clock) -> None:
    async def scenario(bench: Bench) -> None:
        urls = ["http://127.0.0.1:1", "http://127.0.0.1:2"]
        bench.apply(spec(engine={"kind": "openai", "urls": urls}, replicas="1..2"))
        await bench.start_replicas()
        await bench.look()
        report = LoadReport(num_running=3, num_waiting=2, kv_usage=0.1)
        bench.world.state.loads["chat-0"] = deque([LoadSample(at=clock.now, report=report)])
        await bench.look(8.0)
        assert bench.row().num_desired == 2
        await bench.look(20.0)
        assert bench.world.state.scaling["chat"].amount == 0.0  # nobody has heard of it for long

    scene(store, tmp_path, clock, scenario)


def test_a_change_between_look_and_wish_wins(store: Store, tmp_path: Path, clock: Clock) -> None:
    async def scenario(bench: Bench) -> None:
        bench.apply(spec())
        await bench.look()
        bench.waiting(1)
        row = bench.row()
        with store.write("usage") as connection:  # not heard by the loop
            put_service(
                connection, ServiceRow(**{**{f: getattr(row, f) for f in row.__struct_fields__}, "generation": 9})
            )
        await bench.look()
        assert (bench.row().generation, bench.row().num_desired) == (9, 0)

    scene(store, tmp_path, clock, scenario)


def test_a_deleted_service_is_forgotten_and_gives_its_slot_back(store: Store, tmp_path: Path, clock: Clock) -> None:
    async def scenario(bench: Bench) -> None:
        bench.apply(spec())
        bench.waiting(1)
        await bench.look()
        assert "chat" in bench.world.state.scaling
        delete_service(store, "chat", "admin")
        await asyncio.sleep(0.01)
        assert await bench.look() == QUIET_S
        assert bench.world.state.scaling == {}
        assert bench.row().slot is None

    scene(store, tmp_path, clock, scenario)
