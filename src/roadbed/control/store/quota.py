"""Quotas as stored, one row each; the tree is what they say of their parents."""

from typing import Any

import msgspec
from sqlalchemy import Connection, Row, delete, insert, select, update

from roadbed.control.store.tables import quotas
from roadbed.spec.quota import Quota


class QuotaRow(msgspec.Struct, frozen=True, kw_only=True):
    name: str
    spec: Quota
    created_at: float
    updated_at: float


def get_quota(connection: Connection, name: str) -> QuotaRow | None:
    row = connection.execute(select(quotas).where(quotas.c.name == name)).first()
    return None if row is None else _row(row)


def list_quotas(connection: Connection) -> list[QuotaRow]:
    """By name."""
    return [_row(row) for row in connection.execute(select(quotas).order_by(quotas.c.name))]


def put_quota(connection: Connection, row: QuotaRow) -> None:
    """Inserts or replaces."""
    values = {field: getattr(row, field) for field in row.__struct_fields__}
    values["spec"] = row.spec.model_dump(mode="json")
    changed = connection.execute(update(quotas).where(quotas.c.name == row.name).values(**values))
    if changed.rowcount == 0:
        connection.execute(insert(quotas).values(**values))


def delete_quota(connection: Connection, name: str) -> None:
    connection.execute(delete(quotas).where(quotas.c.name == name))


def _row(row: Row[Any]) -> QuotaRow:
    return QuotaRow(**{**row._mapping, "spec": Quota.model_validate(row.spec)})
