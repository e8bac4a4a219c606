"""The service reconciler's mind: the world and a clock value in, actions out. Pure.

Three passes, each over facts only: what has happened to each replica (`_advance`), how many of which generation there
should be (`_size`), and where the pending ones go (`_place`). Each pass reads the same world, so a pass never sees the
effect of another's actions; what it can't do yet, it does next time. That costs one more turn now and then and buys
rules that can be read alone. States and invariants: docs/design/control.md.
"""

from collections.abc import Iterator, Sequence

from roadbed.control.placement import threads_per_replica
from roadbed.control.reconcilers.actions import (
    Action,
    Adopt,
    CreateReplica,
    Drain,
    Fail,
    FailReason,
    Forget,
    ModelFact,
    Pull,
    Ready,
    Retry,
    Start,
    Stop,
    StopUnknown,
    Wait,
    World,
)
from roadbed.control.store.replica import HOLDS_ROOM, LEAVING, ReplicaRow
from roadbed.control.store.service import ServiceRow
from roadbed.runtime.base import ProcessStatus
from roadbed.spec.service import LlamaCppEngine, VllmEngine

BACKOFF_FIRST_S = 0.5
BACKOFF_MAX_S = 60.0
STABLE_S = 60.0
"""A replica ready this long has its back-off forgiven."""
START_LIMIT_S = 300.0
"""Starting longer than this is stuck (vLLM brings its own limit)."""
DRAIN_MIN_S = 0.5
"""Gateways look at the snapshot every 0.1 s; only then does idle mean idle."""
STOP_AGAIN_S = 5.0
"""A stop that left the process running this long was lost; say it again."""
_USE = {"ready": 0, "starting": 1, "pulling": 2, "pending": 3}
"""How far a replica is from being of use; failed ones are last."""


def decide(world: World, now: float) -> list[Action]:
    """The next actions, in the order to carry them out. Empty when the world is as wished."""
    actions: list[Action] = list(_stop_unknown(world, now))
    for replica in world.replicas:
        action = _advance(world, replica, now)
        if action is not None:
            actions.append(action)
    moved = _moved(actions)
    for service in world.services:
        actions.extend(_size(world, service, moved))
    actions.extend(_place(world, _moved(actions)))
    return actions


def _moved(actions: list[Action]) -> set[str]:
    """Replicas whose state an action already changes in this turn."""
    return {action.replica for action in actions if not isinstance(action, StopUnknown | Adopt)}


def owns(replica: ReplicaRow, process: ProcessStatus) -> bool:
    """Whether the process is the one this row started (not a namesake from an earlier life)."""
    labels = process.labels
    return (
        process.name == replica.process
        and labels.get("replica") == replica.id
        and labels.get("generation") == str(replica.generation)
        and labels.get("port") == str(replica.port)
    )


def _process_of(world: World, replica: ReplicaRow) -> ProcessStatus | None:
    process = world.processes.get(replica.process)
    return process if process is not None and owns(replica, process) else None


def _stop_unknown(world: World, now: float) -> Iterator[StopUnknown]:
    rows = {replica.process: replica for replica in world.replicas if replica.process}
    for process in world.processes.values():
        if process.state != "running":
            continue
        row = rows.get(process.name)
        owned = row is not None and owns(row, process)
        left_over = row is not None and row.state == "failed" and now - row.since > STOP_AGAIN_S
        if not owned or left_over:
            yield StopUnknown(process.name)


def _advance(world: World, replica: ReplicaRow, now: float) -> Action | None:
    """What has happened to one replica since its row was written."""
    process = _process_of(world, replica)
    alive = process is not None and process.state != "exited"
    match replica.state:
        case "pulling":
            return _after_pull(world, replica, now)
        case "starting":
            return _dead(world, replica, process, now) or _after_start(world, replica, now)
        case "ready":
            return _dead(world, replica, process, now) or _while_ready(world, replica, now)
        case "draining":
            return _while_draining(world, replica, alive, now)
        case "stopping":
            if not alive:
                return Forget(replica.id)
            lost = process is not None and process.state == "running" and now - replica.since > STOP_AGAIN_S
            return Stop(replica.id, "still running") if lost else None
        case "failed":
            return Retry(replica.id) if not alive and now >= (replica.retry_at or 0.0) else None
        case _:
            return None


def _after_pull(world: World, replica: ReplicaRow, now: float) -> Action | None:
    model = world.models.get(replica.spec.model, ModelFact())
    if model.state == "present":
        return Start(replica.id, _threads(world))
    if model.state == "failed":
        return _fail(replica, "model", model.message, now)
    return Pull(replica.id, replica.spec.model) if model.state == "absent" else None


def _dead(world: World, replica: ReplicaRow, process: ProcessStatus | None, now: float) -> Fail | None:
    if replica.is_external:
        return None
    if process is None and replica.state == "ready" and replica.id not in world.known:
        return Fail(replica.id, "lost", "it stopped with the platform", replica.restarts, now, False)
    if process is None:
        return _fail(replica, "lost", "its process is gone", now)
    if process.state == "exited":
        how = f"signal {process.signal}" if process.signal is not None else f"exit code {process.exit_code}"
        return _fail(replica, "exited", f"its process ended with {how}", now)
    return None


def _after_start(world: World, replica: ReplicaRow, now: float) -> Action | None:
    if replica.id in world.answers:
        return Ready(replica.id, world.answers[replica.id])
    if replica.id in world.refusals:
        return _fail(replica, "refused", world.refusals[replica.id], now, stop=not replica.is_external)
    limit = _start_limit(replica)
    if now - replica.since <= limit:
        return None
    if replica.is_external:
        return _fail(replica, "unreachable", f"no answer within {limit:g} s", now)
    return _fail(replica, "stuck", f"not ready within {limit:g} s", now, stop=True)


def _while_ready(world: World, replica: ReplicaRow, now: float) -> Action | None:
    if replica.id in world.hung:
        reason: FailReason = "unreachable" if replica.is_external else "hung"
        return _fail(replica, reason, "it stopped answering health checks", now, stop=not replica.is_external)
    if replica.id in world.evicted:
        return Drain(replica.id, "its node is being drained")
    return None if replica.id in world.known else Adopt(replica.id)


def _while_draining(world: World, replica: ReplicaRow, alive: bool, now: float) -> Action | None:
    if not alive and not replica.is_external:
        return Forget(replica.id)
    for_s = now - replica.since
    # As the service says now: a changed limit restarts nothing, so the replica's own spec may be an old one.
    spec = next((row.spec for row in world.services if row.name == replica.service), replica.spec)
    if for_s >= max(spec.drain_timeout, DRAIN_MIN_S):
        return Stop(replica.id, f"still busy after draining {spec.drain_timeout:g} s")
    return Stop(replica.id, "idle") if for_s >= DRAIN_MIN_S and replica.id in world.idle else None


def _fail(replica: ReplicaRow, reason: FailReason, message: str, now: float, *, stop: bool = False) -> Fail:
    stable = replica.state == "ready" and replica.ready_at is not None and now - replica.ready_at >= STABLE_S
    restarts = 1 if stable else replica.restarts + 1
    return Fail(replica.id, reason, message, restarts, now + backoff_s(restarts), stop)


def backoff_s(restarts: int) -> float:
    """How long to wait before start number `restarts` + 1."""
    return min(BACKOFF_MAX_S, BACKOFF_FIRST_S * 2.0 ** min(restarts - 1, 20))


def _start_limit(replica: ReplicaRow) -> float:
    engine = replica.spec.engine
    return engine.start_timeout if isinstance(engine, VllmEngine) else START_LIMIT_S


def _size(world: World, service: ServiceRow, moved: set[str]) -> Iterator[Action]:
    """How many replicas of which generation: create, drain, stop."""
    rows = [row for row in world.replicas if row.service == service.name]
    live = [row for row in rows if row.state not in LEAVING]
    num_wanted = 0 if service.deleted_at is not None else service.num_desired
    current = [row for row in live if row.generation >= service.launch_generation]
    old = [row for row in live if row.generation < service.launch_generation]
    why = "service deleted" if service.deleted_at is not None else "scaled down"
    excess = sorted(current, key=lambda row: _keep_first(world, row))[num_wanted:]
    yield from _remove(excess, moved, why)
    current = [row for row in current if row not in excess]
    num_new = num_wanted - len(current)
    if old:
        num_ready = sum(row.state == "ready" and row.id not in moved for row in current)
        waiting = (row for row in old if row.state == "ready" and row.id not in moved)
        old_ready = sorted(waiting, key=lambda row: _keep_first(world, row))
        num_spare = num_ready + len(old_ready) - num_wanted
        if num_spare <= 0 and _must_make_room(world, rows, current, old_ready, num_spare):
            num_spare = 1
        leaving = [row for row in old if row.state != "ready"] + old_ready[::-1][: max(0, num_spare)]
        yield from _remove(leaving, moved, "replaced by a newer spec")
        num_new = min(num_new, num_wanted + 1 - len(current) - len(old_ready) + max(0, num_spare))
    yield from _create(service, rows, current, num_new)


def _keep_first(world: World, row: ReplicaRow) -> tuple[int, int, int]:
    """Most useful first: nearest to ready, then with the most requests (whose loss would cost most and whose end takes
    longest), then the oldest place."""
    return (_USE.get(row.state, len(_USE)), -world.in_flight.get(row.id, 0), row.idx)


def _must_make_room(
    world: World, rows: list[ReplicaRow], current: list[ReplicaRow], old_ready: list[ReplicaRow], num_spare: int
) -> bool:
    """Rolling without room for one more: an old one goes first, if that is enough and none is on its way already."""
    blocked = [row for row in current if row.state == "pending" and row.id in world.waits]
    if not blocked or not old_ready or num_spare < 0 or any(row.state in LEAVING for row in rows):
        return False
    return (blocked[0].id, old_ready[-1].id) in world.relieves


def _remove(rows: Sequence[ReplicaRow], moved: set[str], why: str) -> Iterator[Action]:
    for row in rows:
        if row.id not in moved:
            yield Drain(row.id, why) if row.state == "ready" else Stop(row.id, why)


def _create(service: ServiceRow, rows: list[ReplicaRow], current: list[ReplicaRow], num_new: int) -> Iterator[Action]:
    used_ids = {row.id for row in rows}
    used_idx = {row.idx for row in current}
    number = idx = 0
    for _ in range(num_new):
        while f"{service.name}-{number}" in used_ids:
            number += 1
        while idx in used_idx:
            idx += 1
        used_ids.add(f"{service.name}-{number}")
        used_idx.add(idx)
        yield CreateReplica(service.name, f"{service.name}-{number}", idx)


def _place(world: World, moved: set[str]) -> Iterator[Action]:
    """Pending replicas: those the scheduler has placed begin, the others say why they wait."""
    waiting = [row for row in world.replicas if row.state == "pending" and row.id not in moved]
    for row in waiting:
        if row.is_external:
            yield Start(row.id, 0)
            continue
        placement = world.granted.get(row.id)
        if placement is None:
            reason = world.waits.get(row.id)
            if reason is not None and reason != (row.reason, row.message):
                yield Wait(row.id, *reason)
            continue
        model = world.models.get(row.spec.model, ModelFact())
        if model.state == "present":
            yield Start(row.id, _threads(world), placement)
        else:
            yield Pull(row.id, row.spec.model, placement)


def holds_room(row: ReplicaRow, process: ProcessStatus | None) -> bool:
    """Whether its devices, CPU and memory are taken: also by a failed replica whose process is not gone yet."""
    still_there = row.state == "failed" and process is not None and owns(row, process) and process.state != "exited"
    return not row.is_external and (row.state in HOLDS_ROOM or still_there)


def _threads(world: World) -> int:
    wanted = [row for row in world.services if row.deleted_at is None and isinstance(row.spec.engine, LlamaCppEngine)]
    return threads_per_replica(world.node, sum(row.num_desired for row in wanted))
