"""API keys: made here, shown once, known afterwards only by their digest.

`rb_<id>_<secret>`: the id (12 of base32) finds the key, the secret (160 bits) proves it. The store keeps the SHA-256 of
the whole text: a random secret has no dictionary to try, so a slow hash would cost requests and buy nothing.
"""

import hashlib
import secrets

import msgspec
from sqlalchemy import Connection, update

from roadbed.control.services.service import Plan, diff_fields
from roadbed.control.services.tenant import ensure_tenant, take_limit_slot
from roadbed.control.store import Store
from roadbed.control.store.event import append_event
from roadbed.control.store.key import KeyRow, get_key, insert_key, list_keys, revoke_key
from roadbed.control.store.tables import api_keys
from roadbed.errors import NotFoundError
from roadbed.spec.tenant import Key

_ALPHABET = "abcdefghijklmnopqrstuvwxyz234567"
_ID_CHARS = 12
_SECRET_CHARS = 32


class NewKey(msgspec.Struct, frozen=True, kw_only=True):
    """A key just made. `secret` is the whole text; it exists nowhere else."""

    row: KeyRow
    secret: str


def digest_of(text: str) -> str:
    """What is stored of a key: hex SHA-256 of its whole text."""
    return hashlib.sha256(text.encode()).hexdigest()


def plan_key(connection: Connection, spec: Key) -> Plan:
    before = _named(connection, spec)
    after = _shown(spec)
    if before is None:
        effects = ["prints its secret once"]
        return Plan(kind="key", name=spec.name, change="create", fields=diff_fields({}, after), effects=effects)
    fields = diff_fields(_stored(before), after)
    return Plan(kind="key", name=spec.name, change="update" if fields else "unchanged", fields=fields)


def apply_key(store: Store, connection: Connection, spec: Key, actor: str) -> NewKey | KeyRow:
    """Makes the key, or changes limits, scopes and models of the live one with its name in its tenant."""
    before = _named(connection, spec)
    if before is None:
        return create_key(store, connection, spec, actor)
    if _stored(before) == _shown(spec):
        return before
    row = msgspec.structs.replace(before, scopes=list(spec.scopes), models=list(spec.models), limits=spec.limits)
    fields = [change.field for change in diff_fields(_stored(before), _shown(spec))]
    append_event(
        connection, store.clock(), noun="key", name=row.id, code="key.updated", message=", ".join(fields), actor=actor
    )
    values = {"scopes": row.scopes, "models": row.models, "limits": row.limits.model_dump(mode="json")}
    connection.execute(update(api_keys).where(api_keys.c.id == row.id).values(**values))
    return row


def create_key(store: Store, connection: Connection, spec: Key, actor: str) -> NewKey:
    """Makes a key, always a new one. Raises NotFoundError for an unknown tenant."""
    ensure_tenant(store, connection, spec.tenant, actor)
    now = store.clock()
    key_id = _random(_ID_CHARS)
    secret = f"rb_{key_id}_{_random(_SECRET_CHARS)}"
    row = KeyRow(
        id=key_id,
        name=spec.name,
        tenant=spec.tenant,
        digest=digest_of(secret),
        prefix=secret[: len(key_id) + 7],
        scopes=list(spec.scopes),
        models=list(spec.models),
        limits=spec.limits,
        slot=take_limit_slot(connection),
        created_at=now,
        expires_at=None if spec.expires_in is None else now + spec.expires_in,
    )
    message = f"created {row.name!r} for tenant {row.tenant!r}"
    append_event(connection, now, noun="key", name=row.id, code="key.created", message=message, actor=actor)
    insert_key(connection, row)
    return NewKey(row=row, secret=secret)


def remove_key(store: Store, key_id: str, actor: str) -> KeyRow:
    """Revokes a key; gateways refuse it within a second. Revoking twice is fine. Raises NotFoundError."""
    with store.write() as connection:
        row = get_key(connection, key_id)
        if row is None:
            raise NotFoundError(f"there is no key {key_id!r}", hint="roadbed keys", field="id")
        if row.revoked_at is not None:
            return row
        now = store.clock()
        append_event(
            connection, now, noun="key", name=key_id, code="key.revoked", message=f"revoked {row.name!r}", actor=actor
        )
        revoke_key(connection, key_id, now)
        return msgspec.structs.replace(row, revoked_at=now, slot=None)


def _named(connection: Connection, spec: Key) -> KeyRow | None:
    keys = [key for key in list_keys(connection, tenant=spec.tenant) if key.name == spec.name]
    return keys[-1] if keys else None


def _shown(spec: Key) -> dict[str, object]:
    return {"scopes": spec.scopes, "models": spec.models, "limits": spec.limits.model_dump(mode="json")}


def _stored(row: KeyRow) -> dict[str, object]:
    return {"scopes": row.scopes, "models": row.models, "limits": row.limits.model_dump(mode="json")}


def _random(num_chars: int) -> str:
    return "".join(secrets.choice(_ALPHABET) for _ in range(num_chars))
