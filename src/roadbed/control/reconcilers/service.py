"""Carries out what `decide` decides: event and row first, in one transaction; then the runtime or the engine.

Facts are gathered before each pass: rows, processes, model store, and a short question to every engine whose answer
matters now. Stops run beside the loop because a process may take its whole grace; everything else is awaited in order.
"""

import asyncio
import logging
import socket
from contextlib import closing

import msgspec

from roadbed.control.reconcilers.actions import (
    Action,
    Adopt,
    CreateReplica,
    Fail,
    Forget,
    Pull,
    Ready,
    RowAction,
    Start,
    Stop,
    StopUnknown,
    World,
)
from roadbed.control.reconcilers.ask import ask
from roadbed.control.reconcilers.decide import DRAIN_MIN_S, decide
from roadbed.control.reconcilers.transition import create_row, move, tell
from roadbed.control.services.service import service_slot
from roadbed.control.state import State
from roadbed.control.store.event import append_event
from roadbed.control.store.replica import (
    ReplicaRow,
    delete_replica,
    insert_replica,
    list_replicas,
    update_replica,
)
from roadbed.control.store.service import ServiceRow, list_services
from roadbed.engine.base import Capacity, LaunchRequest
from roadbed.errors import NotFoundError, RoadbedError
from roadbed.runtime.base import ProcessStatus
from roadbed.spec.service import LlamaCppEngine, OpenAIEngine

logger = logging.getLogger(__name__)

BUSY_PASS_S = 0.1
QUIET_PASS_S = 0.5
"""A process that died is noticed this soon."""
PROBE_TIMEOUT_S = 5.0


class ServiceReconciler:
    """`one_pass` is what the loop runs. Holds only what can be learned again."""

    def __init__(self, state: State) -> None:
        self._state = state
        self._known: set[str] = set()

    async def one_pass(self) -> float:
        """Reads, decides, acts; returns how long to rest."""
        world = await self._read()
        actions = decide(world, self._state.store.clock())
        rows = {row.id: row for row in world.replicas}
        services = {row.name: row for row in world.services}
        for action in actions:
            await self._carry_out(action, rows, services)
        if actions:
            return 0.0
        moving = any(row.state not in ("ready", "pending", "failed") for row in world.replicas)
        return BUSY_PASS_S if moving else QUIET_PASS_S

    # facts

    async def _read(self) -> World:
        state = self._state
        # Rows before processes: a process started by us after this can't look lost.
        services, rows = await asyncio.to_thread(self._read_store)
        listed = await state.runtime.list()
        processes = {status.name: status for status in listed if status.labels.get("noun") == "replica"}
        answers: dict[str, Capacity] = {}
        refusals: dict[str, str] = {}
        idle: set[str] = set()
        await asyncio.gather(*(self._probe(row, answers, refusals, idle) for row in rows))
        by_name = {row.name: row for row in services}
        kept = tuple(row for row in services if row.deleted_at is None) + tuple(
            by_name[name] for name in {row.service for row in rows} if by_name[name].deleted_at is not None
        )
        asked = ask(state.pool, rows, processes, state.store.clock())
        return World(
            node=state.node,
            granted=asked.granted,
            waits=asked.waits,
            evicted=asked.evicted,
            relieves=asked.relieves,
            services=kept,
            replicas=tuple(rows),
            processes=processes,
            models={row.spec.model: state.models.fact(row.spec.model) for row in rows if not row.is_external},
            answers=answers,
            refusals=refusals,
            idle=frozenset(idle),
            hung=frozenset(state.hung),
            known=frozenset(self._known),
            in_flight={} if state.account is None else {r.id: state.account.totals(r.slot).in_flight for r in rows},
        )

    def _read_store(self) -> tuple[list[ServiceRow], list[ReplicaRow]]:
        with self._state.store.read() as connection:
            return list_services(connection, deleted=True), list_replicas(connection)

    async def _probe(
        self, row: ReplicaRow, answers: dict[str, Capacity], refusals: dict[str, str], idle: set[str]
    ) -> None:
        """Asks the engine what matters in the replica's state; an engine that can't answer yet is no error."""
        if row.state not in ("starting", "draining"):
            return
        try:
            adapter = self._state.create_engine(row.spec.engine)
            endpoint = adapter.endpoint(row.idx, row.port)
            async with asyncio.timeout(PROBE_TIMEOUT_S):
                if row.state == "starting":
                    capacity = await adapter.ready(endpoint)
                    if capacity is not None:
                        answers[row.id] = capacity
                elif self._state.store.clock() - row.since >= DRAIN_MIN_S and await adapter.drain(endpoint):
                    idle.add(row.id)
        except RoadbedError as error:
            if row.state == "starting":
                refusals[row.id] = error.message
            else:
                idle.add(row.id)  # nobody there to be busy
        except (OSError, TimeoutError) as error:
            logger.debug("%s does not answer yet: %r", row.id, error)

    # actions

    async def _carry_out(self, action: Action, rows: dict[str, ReplicaRow], services: dict[str, ServiceRow]) -> None:
        match action:
            case CreateReplica():
                await asyncio.to_thread(self._create, action, services[action.service])
            case Forget():
                await self._forget(rows[action.replica])
            case StopUnknown():
                await asyncio.to_thread(self._note, "process", action.process, "process.unknown", "owned by no replica")
                self._state.spawn(self._stop(action.process), f"stop {action.process}")
            case _:
                await self._move(rows[action.replica], action)

    async def _move(self, row: ReplicaRow, action: RowAction) -> None:
        if isinstance(action, Fail):
            action = await self._explain(row, action)
        port = free_port() if isinstance(action, Start) and not row.is_external else row.port
        moved = await asyncio.to_thread(self._write, row, action, port)
        match action:
            case Pull():
                self._state.models.start_pull(action.model)
            case Start():
                await self._start(moved, action)
            case Ready() | Adopt():
                self._known.add(row.id)
            case Fail() | Stop():
                self._known.discard(row.id)
                self._state.hung.discard(row.id)
                if row.process and (isinstance(action, Stop) or action.stop):
                    self._state.spawn(self._stop(row.process), f"stop {row.process}")

    async def _start(self, row: ReplicaRow, action: Start) -> None:
        if row.is_external:
            return
        try:
            engine = row.spec.engine
            threads = engine.threads if isinstance(engine, LlamaCppEngine) and engine.threads else action.threads
            request = LaunchRequest(
                replica=row.process,
                served_model=row.spec.model if ":" not in row.spec.model else row.spec.name,
                model_path=self._state.models.fact(row.spec.model).path,
                port=row.port,
                threads=threads,
                memory_bytes=row.spec.resources.memory,
                labels=labels_of(row),
            )
            spec = self._state.create_engine(row.spec.engine).process(request)
            if spec is not None:
                merged = msgspec.structs.replace(spec, name=row.process, labels=spec.labels | labels_of(row))
                await self._state.runtime.start(merged)
        except RoadbedError as error:
            now = self._state.store.clock()
            restarts = row.restarts + 1
            failed = Fail(row.id, "start", error.message, restarts, now + min(60.0, 0.5 * 2.0 ** min(restarts, 10)))
            await asyncio.to_thread(self._write, row, failed, row.port)

    async def _explain(self, row: ReplicaRow, action: Fail) -> Fail:
        """Puts the engine's own last words into the failure, where it left some."""
        if not row.process or action.reason not in ("exited", "stuck", "hung", "refused"):
            return action
        status = next((s for s in await self._state.runtime.list() if s.name == row.process), None)
        try:
            tail = (await self._state.runtime.log_tail(row.process)).decode("utf-8", "replace")
        except RoadbedError as error:
            logger.warning("no log of %s to explain its end: %s", row.process, error)
            return action
        return msgspec.structs.replace(action, message=self._last_words(row, action, status, tail))

    def _last_words(self, row: ReplicaRow, action: Fail, status: ProcessStatus | None, tail: str) -> str:
        if action.reason != "exited" or status is None:
            return action.message
        failure = self._state.create_engine(row.spec.engine).explain_exit(tail, status.exit_code, status.signal)
        return f"{failure.message} (hint: {failure.hint})" if failure.hint else failure.message

    async def _forget(self, row: ReplicaRow) -> None:
        if row.process:
            try:
                await self._state.runtime.forget(row.process)
            except NotFoundError:
                logger.debug("%s was forgotten already", row.process)
        await asyncio.to_thread(self._delete, row)
        self._known.discard(row.id)
        self._state.loads.pop(row.id, None)

    async def _stop(self, process: str) -> None:
        try:
            await self._state.runtime.stop(process)
        except RoadbedError as error:
            # Said again by a later pass if it still runs.
            logger.warning("stopping %s: %s", process, error)

    # transactions

    def _create(self, action: CreateReplica, service: ServiceRow) -> None:
        now = self._state.store.clock()
        with self._state.store.write() as connection:
            slot = service_slot(connection)
            row = create_row(action, service, slot, now)
            append_event(
                connection, now, noun="replica", name=row.id, code="replica.created",
                message=f"replica {row.idx} of generation {row.generation}",
                data={"service": row.service, "slot": slot},
            )  # fmt: skip
            insert_replica(connection, row)

    def _write(self, row: ReplicaRow, action: RowAction, port: int) -> ReplicaRow:
        now = self._state.store.clock()
        story = tell(row, action, now)
        moved = move(row, action, now, port=port)
        with self._state.store.write() as connection:
            append_event(
                connection, now, noun="replica", name=row.id, code=story.code, message=story.message, data=story.data
            )
            update_replica(connection, moved)
        return moved

    def _delete(self, row: ReplicaRow) -> None:
        now = self._state.store.clock()
        with self._state.store.write() as connection:
            append_event(
                connection, now, noun="replica", name=row.id, code="replica.gone", message="stopped and forgotten"
            )
            delete_replica(connection, row.id)

    def _note(self, noun: str, name: str, code: str, message: str) -> None:
        with self._state.store.write("usage") as connection:
            append_event(connection, self._state.store.clock(), noun=noun, name=name, code=code, message=message)


def labels_of(row: ReplicaRow) -> dict[str, str]:
    """What lets a later control process know this one again (`decide.owns`)."""
    return {
        "noun": "replica",
        "service": row.service,
        "replica": row.id,
        "generation": str(row.generation),
        "port": str(row.port),
    }


def upstream_model(row: ReplicaRow) -> str | None:
    """The name the engine knows its model by, where it is not the client's."""
    return row.spec.engine.upstream_model if isinstance(row.spec.engine, OpenAIEngine) else None


def free_port() -> int:
    """A loopback port free at this moment; who loses the race for it fails and is started on another."""
    with closing(socket.socket(socket.AF_INET, socket.SOCK_STREAM)) as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])
