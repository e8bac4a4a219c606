"""Gateway workers: as many as configured, again when they die, never in a tight loop."""

import asyncio
import sys
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from roadbed.control.reconcilers.gateway import (
    GatewayReconciler,
    Memory,
    NoteDeath,
    StartWorker,
    StopWorker,
    decide_workers,
)
from roadbed.control.store import Store
from roadbed.control.store.event import list_events
from roadbed.gateway.account import Account
from roadbed.runtime.base import ProcessStatus
from tests.control.conftest import Clock
from tests.control.harness import world_of


def worker(index: int, *, exited_at: float | None = None, started_at: float = 0.0) -> ProcessStatus:
    return ProcessStatus(
        name=f"gateway-{index}", pid=1, state="running" if exited_at is None else "exited", started_at=started_at,
        exited_at=exited_at, signal=None if exited_at is None else 9,
    )  # fmt: skip


def test_starts_what_is_missing_and_stops_what_is_too_many() -> None:
    assert decide_workers(2, [], {}, 0.0) == [StartWorker(0), StartWorker(1)]
    assert decide_workers(1, [worker(0), worker(1)], {}, 0.0) == [StopWorker("gateway-1")]
    assert decide_workers(2, [worker(0), worker(1)], {}, 0.0) == []


def test_the_first_death_is_answered_at_once_the_next_with_back_off() -> None:
    memory: dict[int, Memory] = {}
    assert decide_workers(1, [worker(0, exited_at=5.0)], memory, 5.0) == [NoteDeath(0, "signal 9"), StartWorker(0)]
    again = [worker(0, exited_at=6.0, started_at=5.0)]
    assert decide_workers(1, again, memory, 6.0) == [NoteDeath(0, "signal 9")]
    assert decide_workers(1, again, memory, 6.4) == []
    assert decide_workers(1, again, memory, 6.5) == [StartWorker(0)]
    late = [worker(0, exited_at=100.0, started_at=6.5)]
    assert decide_workers(1, late, memory, 100.0) == [NoteDeath(0, "signal 9"), StartWorker(0)]


@given(st.lists(st.tuples(st.floats(0.01, 5.0), st.booleans()), min_size=5, max_size=60))
def test_a_worker_that_keeps_dying_is_started_ever_more_rarely(turns: list[tuple[float, bool]]) -> None:
    memory: dict[int, Memory] = {}
    now, num_starts, status = 0.0, 0, None
    for wait_s, dies in turns:
        now += wait_s
        if status is not None and status.state == "running" and dies:
            status = worker(0, exited_at=now, started_at=status.started_at)
        for action in decide_workers(1, [] if status is None else [status], memory, now):
            if isinstance(action, StartWorker):
                assert status is None or status.state == "exited"
                status, num_starts = worker(0, started_at=now), num_starts + 1
    assert num_starts <= 1 + memory[0].num_deaths


def test_workers_are_started_once_there_is_a_snapshot(store: Store, tmp_path: Path, clock: Clock) -> None:
    async def scenario() -> None:
        async with world_of(store, tmp_path) as world:
            reconciler = GatewayReconciler(world.state)
            await reconciler.one_pass()
            assert world.runtime.processes == {}
            world.state.home.snapshot.write_text("{}")
            await reconciler.one_pass()
            spec = world.runtime.specs["gateway-0"]
            home = str(world.state.home.root)
            assert spec.argv == (sys.executable, "-m", "roadbed.gateway.worker", "--home", home, "--index", "0")
            assert spec.stop_grace_s > world.state.config.gateway.drain_timeout
            sister = Account(world.state.home.account, num_workers=2, worker=0)
            sister.write(3, 7, 0, 0, 0)
            clock.tick(1.0)
            world.runtime.die("gateway-0")
            await reconciler.one_pass()
            assert world.runtime.processes["gateway-0"].state == "running"
            assert world.state.account is not None
            assert world.state.account.totals(3).in_flight == 0
            sister.close()
        with store.read() as connection:
            events = [event.code for event in list_events(connection, noun="gateway")]
        assert events == ["gateway.starting", "gateway.died", "gateway.starting"]

    asyncio.run(scenario())
