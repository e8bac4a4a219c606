"""API keys as stored: a digest, never the key."""

from typing import Any

import msgspec
from sqlalchemy import Connection, Row, insert, select, update

from roadbed.control.store.tables import api_keys
from roadbed.spec.tenant import Limits


class KeyRow(msgspec.Struct, frozen=True, kw_only=True):
    """`slot` is given up when the key is revoked."""

    id: str
    name: str
    tenant: str
    digest: str
    prefix: str
    scopes: list[str]
    models: list[str]
    limits: Limits
    slot: int | None
    created_at: float
    expires_at: float | None = None
    revoked_at: float | None = None
    last_used_at: float | None = None

    def is_live(self, now: float) -> bool:
        """Neither revoked nor expired."""
        return self.revoked_at is None and (self.expires_at is None or self.expires_at > now)


def get_key(connection: Connection, key_id: str) -> KeyRow | None:
    row = connection.execute(select(api_keys).where(api_keys.c.id == key_id)).first()
    return None if row is None else _row(row)


def list_keys(connection: Connection, *, tenant: str | None = None, revoked: bool = False) -> list[KeyRow]:
    """By age; revoked ones only when asked for."""
    query = select(api_keys).order_by(api_keys.c.created_at, api_keys.c.id)
    if tenant is not None:
        query = query.where(api_keys.c.tenant == tenant)
    if not revoked:
        query = query.where(api_keys.c.revoked_at.is_(None))
    return [_row(row) for row in connection.execute(query)]


def insert_key(connection: Connection, row: KeyRow) -> None:
    values = {field: getattr(row, field) for field in row.__struct_fields__}
    values["limits"] = row.limits.model_dump(mode="json")
    connection.execute(insert(api_keys).values(**values))


def revoke_key(connection: Connection, key_id: str, at: float) -> None:
    """Marks it revoked and frees its slot."""
    connection.execute(update(api_keys).where(api_keys.c.id == key_id).values(revoked_at=at, slot=None))


def touch_keys(connection: Connection, last_used: dict[str, float]) -> None:
    """Moves last_used_at forward for each key id in `last_used`."""
    for key_id, at in last_used.items():
        older = api_keys.c.last_used_at.is_(None) | (api_keys.c.last_used_at < at)
        connection.execute(update(api_keys).where(api_keys.c.id == key_id, older).values(last_used_at=at))


def _row(row: Row[Any]) -> KeyRow:
    return KeyRow(**{**row._mapping, "limits": Limits.model_validate(row.limits)})
