"""Carries out what the scheduler decides about tasks: rows and events first, in one transaction; then processes.

Each pass reads all tasks that have not ended and their processes, tells the scheduler, asks it, and moves every task
one step (`gang.step`). All rows of a pass are written together: a thousand short tasks cost a few commits.
"""

import asyncio
import logging
from collections import defaultdict
from pathlib import Path
from typing import cast

import msgspec

from roadbed.control.jobs import quota_tree, task_job, task_job_id
from roadbed.control.pool import Claimed
from roadbed.control.reconcilers.gang import Facts, Step, ranks, running_row, step
from roadbed.control.reconcilers.service import free_port
from roadbed.control.state import State
from roadbed.control.store.event import NewEvent, append_event, append_events
from roadbed.control.store.node import NodeRow, list_node_rows
from roadbed.control.store.quota import QuotaRow, list_quotas
from roadbed.control.store.task import HOLDS_DEVICES, Specs, TaskRow, list_tasks, move_tasks
from roadbed.errors import NotFoundError, RoadbedError, UsageError
from roadbed.hardware.chips import CPU
from roadbed.runtime.base import ProcessLimits, ProcessSpec, ProcessStatus
from roadbed.scheduler.events import Outcome
from roadbed.spec.inventory import NodeInfo

logger = logging.getLogger(__name__)

BUSY_PASS_S = 0.05
IDLE_PASS_S = 1.0
WHY_AGAIN_S = 5.0
"""A waiting task is asked for its reason this often; every answer costs a plan."""
NO_CODE = 127
"""Exit code of a rank that could not be started at all, as shells give it."""


class TaskReconciler:
    """`one_pass` is what the loop runs. Holds only what can be learned again."""

    def __init__(self, state: State) -> None:
        self._state = state
        self._stopping: set[str] = set()
        self._specs: Specs = {}
        self._waits: dict[str, tuple[float, str]] = {}

    async def one_pass(self) -> float:
        """Reads, decides, acts; returns how long to rest."""
        state = self._state
        rows, quotas, nodes = await asyncio.to_thread(self._read)
        now = state.store.clock()
        self._tell_pool(quotas, nodes, now)
        if not rows:
            state.pool.sync("task", {}, now)
            return IDLE_PASS_S
        listed = await self._listed()
        claimed = {task_job_id(row.name): self._claim(row) for row in rows if self._joins(row, now)}
        state.pool.sync("task", claimed, now)
        state.pool.decide(now)
        steps = [found for row in rows if (found := step(row, self._facts(row, listed), now)) is not None]
        await asyncio.to_thread(self._write, steps, self._fresh_waits(rows, steps, now), now)
        await self._carry_out(steps, listed, now)
        if steps:
            return 0.0
        busy = any(row.state in HOLDS_DEVICES or row.retry_at is not None for row in rows)
        return BUSY_PASS_S if busy else IDLE_PASS_S

    def _read(self) -> tuple[list[TaskRow], list[QuotaRow], list[NodeRow]]:
        with self._state.store.read() as connection:
            return (
                list_tasks(connection, active=True, specs=self._specs),
                list_quotas(connection),
                list_node_rows(connection),
            )

    async def _listed(self) -> dict[str, list[ProcessStatus]]:
        found: dict[str, list[ProcessStatus]] = defaultdict(list)
        for status in await self._state.runtime.list():
            if status.labels.get("noun") == "task":
                found[status.labels["task"]].append(status)
        return found

    def _tell_pool(self, quotas: list[QuotaRow], nodes: list[NodeRow], now: float) -> None:
        pool = self._state.pool
        try:
            pool.set_quotas(quota_tree([row.spec for row in quotas]), now)
        except UsageError as error:
            # Applying checks the tree; a store edited by hand must not stop the scheduler.
            logger.error("the quotas in the store are not a tree; the last good ones stay: %s", error)
        for row in nodes:
            try:
                pool.set_node(row.name, cordoned=row.cordoned, drain=row.drain, risk=row.risk, now=now)
            except NotFoundError:
                logger.debug("node %s of the store is not in this pool", row.name)

    def _joins(self, row: TaskRow, now: float) -> bool:
        if row.state in HOLDS_DEVICES:
            return True
        return row.wanted == "run" and (row.retry_at is None or row.retry_at <= now)

    def _claim(self, row: TaskRow) -> Claimed:
        job = task_job(row, self._state.pool.chips)
        holds = row.placement if row.state in HOLDS_DEVICES else None
        return Claimed(job, holds, row.started_at or row.since)

    def _facts(self, row: TaskRow, listed: dict[str, list[ProcessStatus]]) -> Facts:
        pool, id_ = self._state.pool, task_job_id(row.name)
        return Facts(
            processes=ranks(row, listed.get(row.name, [])),
            granted=pool.granted.get(id_),
            stop=pool.stops.get(id_),
            move=pool.moves.get(id_),
        )

    def _fresh_waits(self, rows: list[TaskRow], steps: list[Step], now: float) -> list[TaskRow]:
        """Rows of waiting tasks whose reason is another than the one told last."""
        moving = {each.row.name for each in steps}
        queued = {row.name: row for row in rows if row.state == "queued" and row.name not in moving}
        self._waits = {name: said for name, said in self._waits.items() if name in queued}
        found = []
        for name, row in queued.items():
            looked_s, told = self._waits.get(name, (0.0, row.reason))
            if now - looked_s < WHY_AGAIN_S or row.retry_at is not None:
                continue
            reason = self._state.pool.reason(task_job_id(name), now)
            self._waits[name] = (now, told if reason is None else reason.code)
            if reason is None or told == reason.code:
                continue
            found.append(msgspec.structs.replace(row, reason=reason.code, message=reason.message))
        return found

    def _write(self, steps: list[Step], waits: list[TaskRow], now: float) -> None:
        if not steps and not waits:
            return
        told = [
            NewEvent(
                noun="task", name=each.row.name, code=each.code, message=each.message,
                data={"attempt": each.row.attempt, "reason": each.row.reason},
            )
            for each in steps
            if each.code
        ]  # fmt: skip
        told += [
            NewEvent(noun="task", name=row.name, code="task.waits", message=row.message, data={"reason": row.reason})
            for row in waits
        ]
        with self._state.store.write() as connection:
            append_events(connection, now, told)
            move_tasks(connection, [*(each.row for each in steps), *waits])

    async def _carry_out(self, steps: list[Step], listed: dict[str, list[ProcessStatus]], now: float) -> None:
        pool = self._state.pool
        for each in steps:
            id_ = task_job_id(each.row.name)
            if each.exited:
                pool.exited(id_, cast(Outcome, each.exited), now)
            if each.moved:
                pool.moved(id_, now)
            if each.started:
                pool.started(id_, now)
            if each.stop:
                for status in ranks(each.row, listed.get(each.row.name, [])).values():
                    self._stop(status, each.row.spec.grace_period)
            if each.row.state in ("finished", "failed", "stopped", "queued"):
                await self._forget(listed.get(each.row.name, []))
        starts = [each for each in steps if each.start]
        if starts:
            for each in starts:
                pool.granted.pop(task_job_id(each.row.name), None)
            results = await asyncio.gather(*(self._start(each.row) for each in starts))
            now = self._state.store.clock()
            begun = [each.row for each, runs in zip(starts, results, strict=True) if runs]
            running = [Step(row=running_row(row, now), code="task.running", message="all ranks run") for row in begun]
            await asyncio.to_thread(self._write, running, [], now)
            for row in begun:
                pool.started(task_job_id(row.name), now)

    def _stop(self, status: ProcessStatus, grace_s: float) -> None:
        if status.state == "exited" or status.name in self._stopping:
            return
        self._stopping.add(status.name)
        self._state.spawn(self._stop_one(status.name, grace_s), f"stop {status.name}")

    async def _stop_one(self, process: str, grace_s: float) -> None:
        try:
            await self._state.runtime.stop(process, grace_s=grace_s)
        except RoadbedError as error:
            logger.warning("stopping %s: %s", process, error)  # said again by a later pass if it still runs
        finally:
            self._stopping.discard(process)

    async def _forget(self, processes: list[ProcessStatus]) -> None:
        """Records of ended processes go; their logs stay."""
        for status in processes:
            if status.state == "exited":
                try:
                    await self._state.runtime.forget(status.name)
                except NotFoundError:
                    logger.debug("%s was forgotten already", status.name)

    async def _start(self, row: TaskRow) -> bool:
        """Starts all ranks; where one can't be started, the gang is stopped by the next pass. Whether all run."""
        assert row.placement is not None
        folder = self._folder(row)
        port = free_port()
        specs = [
            process_spec(row, rank, self._state.pool.nodes[slot.node], port, folder)
            for rank, slot in enumerate(row.placement.slots)
        ]
        results = await asyncio.gather(*map(self._state.runtime.start, specs), return_exceptions=True)
        errors = [result for result in results if isinstance(result, BaseException)]
        if not errors:
            return True
        if not isinstance(errors[0], RoadbedError):
            raise errors[0]
        await asyncio.to_thread(self._could_not_start, row, str(errors[0]))
        for status in results:
            if isinstance(status, ProcessStatus):
                self._stop(status, row.spec.grace_period)
        return False

    def _could_not_start(self, row: TaskRow, message: str) -> None:
        now = self._state.store.clock()
        codes: list[int | None] = [NO_CODE] * len(row.exit_codes)
        failing = msgspec.structs.replace(
            row, state="stopping", outcome="failed", reason="start", message=message, exit_codes=codes, since=now
        )
        with self._state.store.write() as connection:
            append_event(connection, now, noun="task", name=row.name, code="task.failing", message=message)
            move_tasks(connection, [failing])

    def _folder(self, row: TaskRow) -> str:
        """Where its processes run: what the task says, else a directory of its own that stays."""
        if row.spec.working_dir is not None:
            return row.spec.working_dir
        path = self._state.home.root / "tasks" / row.name
        path.mkdir(parents=True, exist_ok=True, mode=0o700)
        return str(path)


def process_spec(row: TaskRow, rank: int, node: NodeInfo, port: int, folder: str) -> ProcessSpec:
    """One rank's process: the variables torchrun and its like set, and which devices are its own."""
    assert row.placement is not None
    slots = row.placement.slots
    slot = slots[rank]
    here = [at for at, other in enumerate(slots) if other.node == slot.node]
    env = {
        **row.spec.environment,
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
        "RANK": str(rank),
        "WORLD_SIZE": str(len(slots)),
        "LOCAL_RANK": str(here.index(rank)),
        "LOCAL_WORLD_SIZE": str(len(here)),
        "ROADBED_TASK": row.name,
        "ROADBED_ATTEMPT": str(row.attempt),
    }
    devices = ",".join(map(str, slot.devices))
    if slot.devices and node.chip != CPU:
        env |= {"CUDA_VISIBLE_DEVICES": devices, "ASCEND_RT_VISIBLE_DEVICES": devices, "HIP_VISIBLE_DEVICES": devices}
    if slot.devices:
        env["ROADBED_DEVICES"] = devices
    given = "memory" in row.spec.resources.model_fields_set
    return ProcessSpec(
        name=row.process(rank),
        argv=tuple(row.spec.argv),
        env=env,
        cwd=str(Path(folder).expanduser()),
        labels={
            "noun": "task",
            "task": row.name,
            "generation": str(row.generation),
            "attempt": str(row.attempt),
            "rank": str(rank),
        },
        limits=ProcessLimits(memory_bytes=row.spec.resources.memory if given else None),
        stop_grace_s=row.spec.grace_period,
    )
