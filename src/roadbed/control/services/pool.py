"""The pool as people ask for it: who waits and why, how quotas stand, what nodes have free."""

from typing import Any

import msgspec
from sqlalchemy import Connection

from roadbed.control.jobs import FOR_EVER_S, replica_job_id, task_job_id
from roadbed.control.pool import LivePool
from roadbed.control.services.task import require_task
from roadbed.control.state import State
from roadbed.control.store.event import EventRow, append_event, list_events
from roadbed.control.store.node import NodeRow, list_node_rows, put_node
from roadbed.control.store.replica import ReplicaRow, list_replicas
from roadbed.control.store.task import ENDED, TaskRow, list_tasks
from roadbed.errors import NotFoundError, UsageError
from roadbed.scheduler.explain import Waiting

MILLI = 1000.0


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """One line of the queue. position counts from 1 within its quota; devices, cpu: of the whole gang."""

    noun: str
    name: str
    quota: str
    position: int
    priority: int
    num_processes: int
    devices: float
    cpu: float
    since: float
    reason: str
    message: str


class Why(msgspec.Struct, frozen=True, kw_only=True):
    """Why something waits. funnel: (nodes left, after which constraint). expected_at: Unix seconds, ± error_s."""

    reason: str
    message: str
    position: int = 0
    num_waiting: int = 0
    funnel: list[tuple[int, str]] = []
    victims: list[str] = []
    expected_at: float | None = None
    error_s: float = 0.0


class TaskStory(msgspec.Struct, frozen=True, kw_only=True):
    """Why a task is as it is. waiting: only while it is queued."""

    task: str
    state: str
    summary: str
    waiting: Why | None
    events: list[EventRow]


class Standing(msgspec.Struct, frozen=True, kw_only=True):
    """How a quota stands, in devices and cores by resource; max: None = no ceiling."""

    name: str
    parent: str | None
    strategy: str
    backfill: str
    weight: float
    lending: bool
    borrowing: bool
    resources: dict[str, dict[str, float | None]]
    num_waiting: int


class Holder(msgspec.Struct, frozen=True, kw_only=True):
    """What runs on a node: which devices, how many processes."""

    noun: str
    name: str
    quota: str
    devices: list[int]
    num_processes: int


class NodeView(msgspec.Struct, frozen=True, kw_only=True):
    """One machine. free: share of each device that is free, 0..1."""

    name: str
    chip: str
    num_devices: int
    device_memory_mib: int
    free: list[float]
    cpu: float
    cpu_free: float
    memory_mib: int
    memory_free_mib: int
    pod: str
    segment: str
    cordoned: bool
    drain: bool
    risk: float
    schedulable: bool
    holders: list[Holder]


def queue(state: State) -> list[Entry]:
    """Everything that waits, each quota's in order of turn."""
    now = state.store.clock()
    with state.store.read() as connection:
        tasks = {task_job_id(row.name): row for row in list_tasks(connection, active=True)}
        replicas = {replica_job_id(row.id): row for row in list_replicas(connection)}
    positions: dict[str, int] = {}
    found: list[Entry] = []
    for quota, id_ in state.pool.queue(now):
        positions[quota] = positions.get(quota, 0) + 1
        row = tasks.get(id_) or replicas.get(id_)
        if row is not None:
            found.append(_entry(row, quota, positions[quota], state.pool, id_, now))
    return found


def explain_task(state: State, name: str, *, num_events: int = 50) -> TaskStory:
    """Raises NotFoundError."""
    now = state.store.clock()
    with state.store.read() as connection:
        row = require_task(connection, name)
        events = list_events(connection, noun="task", name=name, limit=num_events, newest=True)
    waiting = explain_wait(state, task_job_id(name), now) if row.state == "queued" else None
    return TaskStory(task=name, state=row.state, summary=_summary(row, waiting, now), waiting=waiting, events=events)


def explain_wait(state: State, id_: str, now: float) -> Why | None:
    """Why a job waits, with who could make room and when it may start; None: it does not wait."""
    found = state.pool.why(id_, now)
    if found is None:
        return None
    if not isinstance(found, Waiting):
        return Why(reason=found.code, message=found.message)
    at = found.expected_start_s
    # Behind a service, which has no end, there is no start to expect.
    soon = at is not None and at - now < FOR_EVER_S / 2
    return Why(
        reason=found.reason,
        message=found.text,
        position=found.position,
        num_waiting=found.num_waiting,
        funnel=[(step.left, step.text) for step in found.funnel.steps] if found.funnel else [],
        victims=list(found.victims),
        expected_at=at if soon else None,
        error_s=found.error_s if soon else 0.0,
    )


def quotas(state: State) -> list[Standing]:
    """How every quota stands, parents before children."""
    pool = state.pool
    waiting: dict[str, int] = {}
    for name, _ in pool.queue(state.store.clock()):
        waiting[name] = waiting.get(name, 0) + 1
    tree = {node.quota.name: node.quota for node in pool.scheduler.pool.tree.nodes.values()}
    found = []
    for standing in pool.standings():
        quota = tree[standing.quota]
        names = sorted({*standing.used, *standing.waiting, *standing.min, *quota.max})
        found.append(
            Standing(
                name=quota.name,
                parent=quota.parent or None,
                strategy=quota.strategy,
                backfill=quota.backfill,
                weight=quota.weight,
                lending=quota.lending,
                borrowing=standing.borrowing,
                resources={
                    resource: {
                        "used": standing.used.get(resource, 0) / MILLI,
                        "waiting": standing.waiting.get(resource, 0) / MILLI,
                        "min": standing.min.get(resource, 0) / MILLI,
                        "max": quota.max[resource] / MILLI if resource in quota.max else None,
                        "fair": standing.fair.get(resource, 0) / MILLI,
                    }
                    for resource in names
                },
                num_waiting=waiting.get(quota.name, 0),
            )
        )
    return sorted(found, key=lambda each: _path(tree, each.name))


def nodes(state: State) -> list[NodeView]:
    """All machines, what they have free and who is on them."""
    with state.store.read() as connection:
        said = {row.name: row for row in list_node_rows(connection)}
    holders: dict[int, list[Holder]] = {}
    for id_, placement, quota in state.pool.holders():
        noun, _, name = id_.partition("/")
        here: dict[int, list[tuple[int, ...]]] = {}
        for slot in placement.slots:
            here.setdefault(slot.node, []).append(slot.devices)
        for at, taken in here.items():
            devices = sorted({device for each in taken for device in each})
            holders.setdefault(at, []).append(
                Holder(noun=noun, name=name, quota=quota, devices=devices, num_processes=len(taken))
            )
    return [
        _node(at, each, said, sorted(holders.get(at, []), key=lambda h: (h.noun, h.name)))
        for at, each in enumerate(state.pool.free())
    ]


def cordon(state: State, name: str, actor: str, *, on: bool, drain: bool = False, risk: float | None = None) -> NodeRow:
    """Says of a node that it takes nothing new (drain: and what runs there leaves), or that it does again.

    Raises NotFoundError, UsageError."""
    known = {node.name for node in state.pool.nodes}
    if name not in known:
        raise NotFoundError(
            f"there is no node {name!r}; nodes: {', '.join(sorted(known))}", hint="roadbed nodes", field="name"
        )
    if risk is not None and not 0 <= risk <= 1:
        raise UsageError(f"risk {risk:g} is no probability", hint="roadbed nodes", field="risk")
    now = state.store.clock()
    with state.store.write() as connection:
        before = _said(connection, name)
        row = NodeRow(
            name=name,
            cordoned=on,
            drain=on and drain,
            risk=before.risk if risk is None else risk,
            updated_at=now,
        )
        words = "cordoned and drained" if row.drain else "cordoned" if on else "takes work again"
        append_event(
            connection, now, noun="node", name=name, code=f"node.{'cordoned' if on else 'uncordoned'}", message=words,
            actor=actor, data={"drain": row.drain, "risk": row.risk},
        )  # fmt: skip
        put_node(connection, row)
    return row


def _said(connection: Connection, name: str) -> NodeRow:
    return next((row for row in list_node_rows(connection) if row.name == name), NodeRow(name=name))


def _entry(row: TaskRow | ReplicaRow, quota: str, position: int, pool: LivePool, id_: str, now: float) -> Entry:
    reason = pool.reason(id_, now)
    is_task = isinstance(row, TaskRow)
    num = row.spec.gang.min if isinstance(row, TaskRow) else 1
    need = row.spec.resources
    devices = need.accelerators.num * need.accelerators.milli / MILLI if need.accelerators else 0.0
    return Entry(
        noun="task" if is_task else "replica",
        name=row.name if isinstance(row, TaskRow) else row.id,
        quota=quota,
        position=position,
        priority=row.spec.priority,
        num_processes=num,
        devices=devices * num,
        cpu=need.cpu * num,
        since=row.since,
        reason=reason.code if reason else "queued",
        message=reason.message if reason else "",
    )


def _summary(row: TaskRow, waiting: Why | None, now: float) -> str:
    if row.state == "queued" and row.retry_at is not None and row.retry_at > now:
        return f"failed ({row.message}); tried again in {row.retry_at - now:.0f} s"
    if waiting is not None:
        return f"waits: {waiting.message}"
    if row.state in ENDED and row.state != "finished":
        return f"{row.state}: {row.message}"
    if row.state == "finished" and row.started_at is not None and row.ended_at is not None:
        return f"finished after {row.ended_at - row.started_at:.1f} s"
    return f"{row.state}, attempt {row.attempt}" + (f": {row.message}" if row.message else "")


def _path(tree: dict[str, Any], name: str) -> tuple[str, ...]:
    parent = tree[name].parent
    return (*_path(tree, parent), name) if parent else (name,)


def _node(at: int, free: tuple[Any, list[int], int, int, bool], said: dict[str, NodeRow], on: list[Holder]) -> NodeView:
    node, left, cpu, memory, schedulable = free
    row = said.get(node.name, NodeRow(name=node.name))
    return NodeView(
        name=node.name,
        chip=node.chip,
        num_devices=node.num_devices,
        device_memory_mib=node.device_memory_mib,
        free=[milli / MILLI for milli in left],
        cpu=node.cpu_milli / MILLI,
        cpu_free=cpu / MILLI,
        memory_mib=node.memory_mib,
        memory_free_mib=memory,
        pod=node.pod,
        segment=node.segment,
        cordoned=row.cordoned,
        drain=row.drain,
        risk=row.risk,
        schedulable=schedulable,
        holders=on,
    )
