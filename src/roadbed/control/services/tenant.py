"""Tenants: who is billed, and their ceilings."""

from sqlalchemy import Connection

from roadbed.control.services.service import Plan, diff_fields
from roadbed.control.store import Store
from roadbed.control.store.event import append_event
from roadbed.control.store.key import list_keys
from roadbed.control.store.slot import take_slot
from roadbed.control.store.tables import api_keys, tenants
from roadbed.control.store.tenant import TenantRow, delete_tenant, get_tenant, list_tenants, put_tenant
from roadbed.errors import ConflictError, NotFoundError
from roadbed.gateway.account import MAX_LIMITS
from roadbed.spec.tenant import Tenant

DEFAULT_TENANT = "default"


def take_limit_slot(connection: Connection) -> int:
    """A row of the account's limits; keys and tenants share them."""
    return take_slot(connection, [tenants.c.slot, api_keys.c.slot], "limit", MAX_LIMITS)


def plan_tenant(connection: Connection, spec: Tenant) -> Plan:
    before = get_tenant(connection, spec.name)
    after = spec.limits.model_dump(mode="json")
    if before is None:
        fields = diff_fields({}, {"limits": after})
        return Plan(kind="tenant", name=spec.name, change="create", fields=fields)
    fields = diff_fields({"limits": before.limits.model_dump(mode="json")}, {"limits": after})
    return Plan(kind="tenant", name=spec.name, change="update" if fields else "unchanged", fields=fields)


def apply_tenant(store: Store, connection: Connection, spec: Tenant, actor: str) -> TenantRow:
    """Creates or changes a tenant; idempotent."""
    before = get_tenant(connection, spec.name)
    if before is not None and before.limits == spec.limits:
        return before
    now = store.clock()
    row = TenantRow(
        name=spec.name,
        limits=spec.limits,
        slot=take_limit_slot(connection) if before is None else before.slot,
        created_at=now if before is None else before.created_at,
        updated_at=now,
    )
    append_event(
        connection,
        now,
        noun="tenant",
        name=spec.name,
        code="tenant.created" if before is None else "tenant.updated",
        message="created" if before is None else "limits changed",
        actor=actor,
        data={"limits": spec.limits.model_dump(mode="json")},
    )
    put_tenant(connection, row)
    return row


def ensure_tenant(store: Store, connection: Connection, name: str, actor: str) -> TenantRow:
    """The tenant; the default one is made on first need. Raises NotFoundError for others."""
    row = get_tenant(connection, name)
    if row is not None:
        return row
    if name != DEFAULT_TENANT:
        known = ", ".join(tenant.name for tenant in list_tenants(connection)) or "none"
        raise NotFoundError(
            f"there is no tenant {name!r}; tenants: {known}", hint="roadbed apply -f tenant.yaml", field="tenant"
        )
    return apply_tenant(store, connection, Tenant(name=name), actor)


def remove_tenant(store: Store, name: str, actor: str) -> None:
    """Deletes a tenant; its usage stays. Raises NotFoundError, ConflictError while it has keys that are not revoked."""
    with store.write() as connection:
        if get_tenant(connection, name) is None:
            raise NotFoundError(f"there is no tenant {name!r}", hint="roadbed keys", field="name")
        keys = list_keys(connection, tenant=name)
        if keys:
            raise ConflictError(
                f"tenant {name!r} still has {len(keys)} key{'' if len(keys) == 1 else 's'}",
                hint=f"roadbed keys revoke {keys[0].id}",
            )
        append_event(
            connection,
            store.clock(),
            noun="tenant",
            name=name,
            code="tenant.deleted",
            message="deleted; its usage stays",
            actor=actor,
        )
        delete_tenant(connection, name)
