"""Why a service is as it is: its story, where each replica stands, and what happens next and when."""

import msgspec
from sqlalchemy import Connection

from roadbed.control.reconcilers.decide import START_LIMIT_S
from roadbed.control.services.scaling import ScalingStatus, scaling_status
from roadbed.control.services.service import require_service
from roadbed.control.state import State
from roadbed.control.store.event import EventRow, list_events
from roadbed.control.store.replica import ReplicaRow, list_replicas
from roadbed.control.store.service import ServiceRow
from roadbed.spec.service import VllmEngine


class ReplicaStory(msgspec.Struct, frozen=True, kw_only=True):
    """`why` says what keeps it in its state, `next` what comes, `next_at` when (Unix seconds, None = on an event)."""

    id: str
    state: str
    since: float
    why: str
    next: str
    next_at: float | None = None


class Explanation(msgspec.Struct, frozen=True, kw_only=True):
    service: str
    summary: str
    generation: int
    num_desired: int
    num_ready: int
    scaling: ScalingStatus | None
    replicas: list[ReplicaStory]
    events: list[EventRow]
    """Oldest first: the service's and its replicas'."""


def explain_service(state: State, name: str, *, num_events: int = 50) -> Explanation:
    """Raises NotFoundError."""
    with state.store.read() as connection:
        service = require_service(connection, name)
        replicas = list_replicas(connection, name)
        events = _events(connection, service, replicas, num_events)
    num_ready = sum(row.state == "ready" for row in replicas)
    return Explanation(
        service=name,
        summary=_summary(service, replicas, num_ready),
        generation=service.generation,
        num_desired=service.num_desired,
        num_ready=num_ready,
        scaling=scaling_status(state, service),
        replicas=[_story(row, service) for row in replicas],
        events=events,
    )


def _events(connection: Connection, service: ServiceRow, replicas: list[ReplicaRow], num_events: int) -> list[EventRow]:
    events = list_events(connection, noun="service", name=service.name, limit=num_events, newest=True)
    for row in replicas:
        story = list_events(connection, noun="replica", name=row.id, limit=num_events, newest=True)
        events.extend(event for event in story if event.at >= row.created_at)
    return sorted(events, key=lambda event: event.seq)[-num_events:]


def _summary(service: ServiceRow, replicas: list[ReplicaRow], num_ready: int) -> str:
    wanted = service.num_desired
    if not wanted and not replicas and service.spec.scaling is not None and service.pinned_at is None:
        return "asleep: no replica until a request comes, which is held meanwhile"
    if num_ready >= wanted and all(row.state == "ready" for row in replicas):
        return f"as wished: {num_ready} of {wanted} ready"
    blocked = [row for row in replicas if row.state in ("pending", "failed") and row.message]
    worst = f"; {blocked[0].id}: {blocked[0].message}" if blocked else ""
    return f"on its way: {num_ready} of {wanted} ready{worst}"


def _story(row: ReplicaRow, service: ServiceRow) -> ReplicaStory:
    why, following, at = _because(row, service)
    if row.generation < service.launch_generation and row.state not in ("draining", "stopping"):
        following, at = "replaced by a newer spec once its successor is ready", None
    return ReplicaStory(id=row.id, state=row.state, since=row.since, why=why, next=following, next_at=at)


def _because(row: ReplicaRow, service: ServiceRow) -> tuple[str, str, float | None]:
    match row.state:
        case "pending":
            why = f"{row.reason}: {row.message}" if row.reason else "not placed yet"
            impossible = row.reason == "too_large"
            return why, "change its resources" if impossible else "placed as soon as there is room", None
        case "pulling":
            return f"its model {row.spec.model} is being fetched", "starts when the model is here", None
        case "starting":
            engine = row.spec.engine
            limit_s = engine.start_timeout if isinstance(engine, VllmEngine) else START_LIMIT_S
            return "its engine is loading", "ready when the engine answers; given up then", row.since + limit_s
        case "ready":
            return "answers requests", "nothing to do", None
        case "draining":
            return row.message, "stops when idle, at the latest then", row.since + service.spec.drain_timeout
        case "stopping":
            return row.message, "forgotten when its process is gone", None
        case _:
            return f"{row.reason}: {row.message} (failure {row.restarts})", "tried again", row.retry_at
