"""Tasks carried out on a world of recorded processes: rows before deeds, gangs whole, everything adopted."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import msgspec

from roadbed.control.placement import node_info
from roadbed.control.pool import LivePool
from roadbed.control.reconcilers.task import NO_CODE, TaskReconciler
from roadbed.control.services.apply import apply
from roadbed.control.services.pool import cordon, explain_task, nodes, queue, quotas
from roadbed.control.services.task import stop_task
from roadbed.control.store import Store
from roadbed.control.store.event import list_events
from roadbed.control.store.task import TaskRow, get_task
from roadbed.errors import RuntimeFailure
from roadbed.runtime.base import ProcessSpec, ProcessStatus
from roadbed.spec.load import applicable, load_text
from tests.control.conftest import Clock
from tests.control.harness import MACHINE, NODE, World, world_of

GANG = "kind: task\nname: gang\ncommand: train\nprocesses: 2\nresources: {cpu: 2}\n"
NEXT = "kind: task\nname: next\ncommand: train\nresources: {cpu: 1}\n"


def wish(world: World, text: str) -> None:
    apply(world.store, applicable(load_text(text)), world.state.pool, "test")


def row(world: World, name: str) -> TaskRow:
    with world.store.read() as connection:
        found = get_task(connection, name)
    assert found is not None
    return found


def codes(world: World, name: str) -> list[str]:
    with world.store.read() as connection:
        return [event.code for event in list_events(connection, noun="task", name=name)]


def end(world: World, name: str, code: int = 0) -> None:
    world.runtime.processes[name] = msgspec.structs.replace(
        world.runtime.processes[name], state="exited", exit_code=code, exited_at=world.store.clock()
    )


def run(store: Store, root: Path, scenario: Callable[[World], Awaitable[None]]) -> None:
    async def inside() -> None:
        async with world_of(store, root) as world:
            await scenario(world)

    asyncio.run(inside())


async def passes(world: World, reconciler: TaskReconciler, clock: Clock, num: int = 4) -> None:
    for _ in range(num):
        await reconciler.one_pass()
        await asyncio.gather(*world.state.background)
        clock.tick(0.1)


def test_a_gang_runs_whole_and_the_next_one_waits_for_it(store: Store, tmp_path: Path, clock: Clock) -> None:
    async def scenario(world: World) -> None:
        wish(world, GANG + "---\n" + NEXT)
        reconciler = TaskReconciler(world.state)
        await passes(world, reconciler, clock)
        assert row(world, "gang").state == "running"
        env = world.runtime.specs["task-gang.1.1.1"].env
        assert (env["RANK"], env["LOCAL_RANK"], env["WORLD_SIZE"], env["LOCAL_WORLD_SIZE"]) == ("1", "1", "2", "2")
        assert env["MASTER_ADDR"] == "127.0.0.1"
        assert env["MASTER_PORT"] == world.runtime.specs["task-gang.1.1.0"].env["MASTER_PORT"]
        assert world.runtime.specs["task-gang.1.1.0"].argv == ("sh", "-c", "train")
        waiting = row(world, "next")
        assert (waiting.state, waiting.reason) == ("queued", "no_capacity")
        assert [entry.name for entry in queue(world.state)] == ["next"]
        told = explain_task(world.state, "next")
        assert told.waiting is not None
        assert told.waiting.expected_at is not None or told.waiting.funnel
        (machine,) = nodes(world.state)
        assert (machine.cpu_free, [one.name for one in machine.holders]) == (0.0, ["gang"])
        for rank in (0, 1):
            end(world, f"task-gang.1.1.{rank}")
        await passes(world, reconciler, clock)
        assert row(world, "gang").state == "finished"
        assert row(world, "next").state == "running"
        assert codes(world, "gang") == ["task.submitted", "task.placed", "task.running", "task.finished"]
        assert [name for name in world.runtime.processes if "gang" in name] == []

    run(store, tmp_path, scenario)


def test_a_failing_rank_ends_the_gang_and_a_retry_is_another_attempt(
    store: Store, tmp_path: Path, clock: Clock
) -> None:
    async def scenario(world: World) -> None:
        wish(world, GANG + "retries: 1\n")
        reconciler = TaskReconciler(world.state)
        await passes(world, reconciler, clock)
        end(world, "task-gang.1.1.0", 3)
        await passes(world, reconciler, clock)
        assert (row(world, "gang").state, row(world, "gang").num_failures) == ("queued", 1)
        clock.tick(2.0)
        await passes(world, reconciler, clock)
        assert (row(world, "gang").state, row(world, "gang").attempt) == ("running", 2)
        end(world, "task-gang.1.2.1", 4)
        await passes(world, reconciler, clock)
        failed = row(world, "gang")
        assert (failed.state, failed.exit_codes) == ("failed", [-15, 4])
        assert world.state.pool.holders() == []

    run(store, tmp_path, scenario)


def test_a_new_control_process_adopts_running_tasks(store: Store, tmp_path: Path, clock: Clock) -> None:
    async def scenario(world: World) -> None:
        wish(world, GANG)
        await passes(world, TaskReconciler(world.state), clock)
        world.state.pool = LivePool([node_info(NODE, MACHINE, "local")])
        second = TaskReconciler(world.state)
        wish(world, NEXT)
        await passes(world, second, clock)
        assert row(world, "gang").attempt == 1
        assert (row(world, "gang").state, row(world, "next").state) == ("running", "queued")
        world.runtime.processes.clear()  # the agent died, and everything with it
        await passes(world, second, clock, 8)
        again = row(world, "gang")
        assert (again.num_preemptions, again.num_failures) == (1, 0)
        assert sorted((row(world, "gang").state, row(world, "next").state)) in (
            ["queued", "running"],
            ["running", "running"],
        )

    run(store, tmp_path, scenario)


def test_priority_takes_the_place_of_what_may_be_preempted(store: Store, tmp_path: Path, clock: Clock) -> None:
    async def scenario(world: World) -> None:
        wish(world, GANG + "priority: 2\n")
        reconciler = TaskReconciler(world.state)
        await passes(world, reconciler, clock)
        clock.tick(60.0)
        wish(world, NEXT.replace("cpu: 1", "cpu: 3") + "priority: 9\n")
        await passes(world, reconciler, clock, 10)
        assert row(world, "next").state == "running"
        assert (row(world, "gang").state, row(world, "gang").num_preemptions) == ("queued", 1)
        assert "task.preempted" in codes(world, "gang")

    run(store, tmp_path, scenario)


def test_stopping_and_draining(store: Store, tmp_path: Path, clock: Clock) -> None:
    async def scenario(world: World) -> None:
        wish(world, GANG)
        reconciler = TaskReconciler(world.state)
        await passes(world, reconciler, clock)
        stop_task(world.store, "gang", "test")
        await passes(world, reconciler, clock)
        assert row(world, "gang").state == "stopped"
        cordon(world.state, "local", "test", on=True)
        wish(world, NEXT)
        await passes(world, reconciler, clock)
        assert (row(world, "next").state, row(world, "next").reason) == ("queued", "no_capacity")
        assert "not cordoned" in row(world, "next").message
        cordon(world.state, "local", "test", on=False)
        await passes(world, reconciler, clock)
        assert row(world, "next").state == "running"

    run(store, tmp_path, scenario)


def test_a_program_that_is_not_there_fails_the_task_in_words(store: Store, tmp_path: Path, clock: Clock) -> None:
    async def scenario(world: World) -> None:
        started = world.runtime.start

        async def refuse(spec: ProcessSpec) -> ProcessStatus:
            if spec.labels.get("rank") == "1":
                raise RuntimeFailure("program 'train' not found")
            return await started(spec)

        world.runtime.start = refuse  # type: ignore[method-assign]
        wish(world, GANG)
        await passes(world, TaskReconciler(world.state), clock, 6)
        failed = row(world, "gang")
        assert (failed.state, failed.exit_codes) == ("failed", [NO_CODE, NO_CODE])
        assert "program 'train' not found" in failed.message
        assert all(status.state == "exited" for status in world.runtime.processes.values())

    run(store, tmp_path, scenario)


def test_quotas_of_the_store_are_the_schedulers(store: Store, tmp_path: Path, clock: Clock) -> None:
    async def scenario(world: World) -> None:
        wish(world, "kind: quota\nname: small\nresources: {cpu: 1}\n---\n" + NEXT + "quota: small\n")
        clock.tick(1.0)
        wish(world, NEXT.replace("next", "more") + "quota: small\n")
        reconciler = TaskReconciler(world.state)
        await passes(world, reconciler, clock)
        assert row(world, "next").state == "running"
        assert (row(world, "more").state, row(world, "more").reason) == ("queued", "quota_max")
        small = next(each for each in quotas(world.state) if each.name == "small")
        assert small.resources["cpu"]["used"] == 1.0
        assert small.resources["cpu"]["max"] == 1.0
        assert small.num_waiting == 1

    run(store, tmp_path, scenario)
