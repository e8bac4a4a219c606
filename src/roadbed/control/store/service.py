"""Services as stored: the spec, its generations and how many replicas are wanted."""

from typing import Any

import msgspec
from sqlalchemy import Connection, Row, insert, select, update

from roadbed.control.store.tables import services
from roadbed.spec.service import Service


class ServiceRow(msgspec.Struct, frozen=True, kw_only=True):
    """`launch_generation`: the last generation that changed what a running engine depends on. `slot`: the row of the
    account where gateways count who waits for it, only with scaling. `pinned_at`: since when a number set by hand
    stands against the autoscaler."""

    name: str
    spec: Service
    generation: int
    launch_generation: int
    num_desired: int
    created_at: float
    updated_at: float
    deleted_at: float | None = None
    slot: int | None = None
    pinned_at: float | None = None


def get_service(connection: Connection, name: str) -> ServiceRow | None:
    """The service, deleted ones included."""
    row = connection.execute(select(services).where(services.c.name == name)).first()
    return None if row is None else _row(row)


def list_services(connection: Connection, *, deleted: bool = False) -> list[ServiceRow]:
    """By name; with `deleted`, also those on their way out."""
    query = select(services).order_by(services.c.name)
    if not deleted:
        query = query.where(services.c.deleted_at.is_(None))
    return [_row(row) for row in connection.execute(query)]


def put_service(connection: Connection, row: ServiceRow) -> None:
    """Inserts or replaces."""
    values = {field: getattr(row, field) for field in row.__struct_fields__}
    values["spec"] = row.spec.model_dump(mode="json")
    changed = connection.execute(update(services).where(services.c.name == row.name).values(**values))
    if changed.rowcount == 0:
        connection.execute(insert(services).values(**values))


def _row(row: Row[Any]) -> ServiceRow:
    return ServiceRow(**{**row._mapping, "spec": Service.model_validate(row.spec)})
