"""Replicas as stored: where each is in its life, and why."""

from typing import Any, Literal

import msgspec
from sqlalchemy import Connection, Row, delete, insert, select, update

from roadbed.control.store.tables import replicas
from roadbed.engine.base import Capacity
from roadbed.scheduler.base import Placement
from roadbed.spec.service import OpenAIEngine, Service

ReplicaState = Literal["pending", "pulling", "starting", "ready", "draining", "stopping", "failed"]

HOLDS_ROOM: frozenset[str] = frozenset({"pulling", "starting", "ready", "draining", "stopping"})
"""States whose replicas hold their CPU and memory."""
LEAVING: frozenset[str] = frozenset({"draining", "stopping"})


class ReplicaRow(msgspec.Struct, frozen=True, kw_only=True):
    """`idx` is its place among its generation (an engine URL's index), `since` when it entered its state."""

    id: str
    service: str
    generation: int
    spec: Service
    """The service as it was when this replica was made: what its engine really runs."""
    idx: int
    slot: int
    state: ReplicaState = "pending"
    reason: str = ""
    message: str = ""
    process: str = ""
    port: int = 0
    capacity: Capacity | None = None
    restarts: int = 0
    since: float = 0.0
    ready_at: float | None = None
    retry_at: float | None = None
    created_at: float = 0.0
    placement: Placement | None = None
    """Where the scheduler put it; kept so that a new control process can tell its scheduler."""

    @property
    def is_external(self) -> bool:
        """Someone else runs the engine: no process, no room taken here, no model to fetch."""
        return isinstance(self.spec.engine, OpenAIEngine)


def list_replicas(connection: Connection, service: str | None = None) -> list[ReplicaRow]:
    query = select(replicas).order_by(replicas.c.service, replicas.c.created_at, replicas.c.id)
    if service is not None:
        query = query.where(replicas.c.service == service)
    return [_row(row) for row in connection.execute(query)]


def insert_replica(connection: Connection, row: ReplicaRow) -> None:
    connection.execute(insert(replicas).values(**_values(row)))


def update_replica(connection: Connection, row: ReplicaRow) -> None:
    connection.execute(update(replicas).where(replicas.c.id == row.id).values(**_values(row)))


def delete_replica(connection: Connection, replica_id: str) -> None:
    connection.execute(delete(replicas).where(replicas.c.id == replica_id))


def _values(row: ReplicaRow) -> dict[str, Any]:
    values = {field: getattr(row, field) for field in row.__struct_fields__}
    values["spec"] = row.spec.model_dump(mode="json")
    values["capacity"] = None if row.capacity is None else msgspec.to_builtins(row.capacity)
    values["placement"] = None if row.placement is None else msgspec.to_builtins(row.placement)
    return values


def _row(row: Row[Any]) -> ReplicaRow:
    capacity = None if row.capacity is None else msgspec.convert(row.capacity, Capacity)
    placement = None if row.placement is None else msgspec.convert(row.placement, Placement)
    fields = {"capacity": capacity, "placement": placement, "spec": Service.model_validate(row.spec)}
    return ReplicaRow(**{**row._mapping, **fields})
