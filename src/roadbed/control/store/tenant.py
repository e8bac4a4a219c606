"""Tenants as stored."""

from typing import Any

import msgspec
from sqlalchemy import Connection, Row, delete, insert, select, update

from roadbed.control.store.tables import tenants
from roadbed.spec.tenant import Limits


class TenantRow(msgspec.Struct, frozen=True, kw_only=True):
    name: str
    limits: Limits
    slot: int
    created_at: float
    updated_at: float


def get_tenant(connection: Connection, name: str) -> TenantRow | None:
    row = connection.execute(select(tenants).where(tenants.c.name == name)).first()
    return None if row is None else _row(row)


def list_tenants(connection: Connection) -> list[TenantRow]:
    return [_row(row) for row in connection.execute(select(tenants).order_by(tenants.c.name))]


def put_tenant(connection: Connection, row: TenantRow) -> None:
    """Inserts or replaces."""
    values = {field: getattr(row, field) for field in row.__struct_fields__}
    values["limits"] = row.limits.model_dump(mode="json")
    changed = connection.execute(update(tenants).where(tenants.c.name == row.name).values(**values))
    if changed.rowcount == 0:
        connection.execute(insert(tenants).values(**values))


def delete_tenant(connection: Connection, name: str) -> None:
    connection.execute(delete(tenants).where(tenants.c.name == name))


def _row(row: Row[Any]) -> TenantRow:
    return TenantRow(**{**row._mapping, "limits": Limits.model_validate(row.limits)})
