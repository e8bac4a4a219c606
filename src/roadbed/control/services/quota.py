"""Quotas: plan, apply, delete. The tree is checked as a whole, with all that one file brings."""

from collections.abc import Collection, Sequence
from typing import Any

import msgspec
from sqlalchemy import Connection

from roadbed.control.jobs import DEFAULT_QUOTA, quota_name, quota_tree
from roadbed.control.services.service import Plan, diff_fields
from roadbed.control.store import Store
from roadbed.control.store.event import append_event
from roadbed.control.store.quota import QuotaRow, delete_quota, get_quota, list_quotas, put_quota
from roadbed.control.store.service import list_services
from roadbed.control.store.task import list_tasks
from roadbed.errors import ConflictError, NotFoundError, UsageError
from roadbed.spec.quota import Quota, check_tree


def plan_quota(connection: Connection, spec: Quota) -> Plan:
    """What applying would change."""
    before = get_quota(connection, spec.name)
    after = _shown(spec)
    if before is None:
        return Plan(kind="quota", name=spec.name, change="create", fields=diff_fields({}, after))
    fields = diff_fields(_shown(before.spec), after)
    effects = ["what runs goes on; the order of what waits may change"] if fields else []
    return Plan(
        kind="quota", name=spec.name, change="update" if fields else "unchanged", fields=fields, effects=effects
    )


def check_quotas(connection: Connection, specs: Sequence[Quota]) -> None:
    """The stored tree with these specs put in. Raises SpecError for a broken one, ConflictError where a quota that
    work is in would be divided."""
    if not specs:
        return
    tree = {row.name: row.spec for row in list_quotas(connection)} | {spec.name: spec for spec in specs}
    check_tree(list(tree.values()))
    used = _used(connection)
    for spec in specs:
        if spec.parent in used:
            raise ConflictError(
                f"quota {spec.name!r}: its parent {spec.parent!r} has work of its own ({used[spec.parent]})",
                hint="roadbed ps",
                field="parent",
            )


def check_quota_of(connection: Connection, path: str | None, brought: Collection[str] = ()) -> None:
    """That work may be in a quota. brought: leaves the same file brings. Raises NotFoundError, UsageError."""
    name = quota_name(path)
    tree = {quota.name: quota for quota in quota_tree([row.spec for row in list_quotas(connection)])}
    if name in brought:
        return
    if name not in tree:
        known = ", ".join(sorted(tree))
        raise NotFoundError(f"quota: there is no quota {name!r}; there is {known}", hint="roadbed quota", field="quota")
    below = sorted(quota.name for quota in tree.values() if quota.parent == name)
    if below:
        words = f"quota: {name!r} is divided; use one of {', '.join(below)}"
        raise UsageError(words, hint="roadbed quota", field="quota")


def apply_quota(store: Store, connection: Connection, spec: Quota, actor: str) -> QuotaRow:
    """Stores it; `check_quotas` came first."""
    now = store.clock()
    before = get_quota(connection, spec.name)
    if before is not None and before.spec == spec:
        return before
    row = QuotaRow(name=spec.name, spec=spec, created_at=now if before is None else before.created_at, updated_at=now)
    code = "quota.created" if before is None else "quota.updated"
    append_event(connection, now, noun="quota", name=spec.name, code=code, message=code.partition(".")[2], actor=actor)
    put_quota(connection, row)
    return row


def remove_quota(store: Store, name: str, actor: str) -> QuotaRow:
    """Deletes a quota nobody uses. Raises NotFoundError, ConflictError."""
    with store.write() as connection:
        row = get_quota(connection, name)
        rows = list_quotas(connection)
        if row is None:
            known = ", ".join(each.name for each in rows) or "none"
            raise NotFoundError(f"there is no quota {name!r}; quotas: {known}", hint="roadbed quota", field="name")
        below = [each.name for each in rows if each.spec.parent == name]
        if below:
            raise ConflictError(f"quota {name!r} has {', '.join(below)} below it", hint="roadbed quota", field="name")
        used = _used(connection)
        if name in used and name != DEFAULT_QUOTA:
            raise ConflictError(f"quota {name!r} is used by {used[name]}", hint="roadbed ps", field="name")
        append_event(
            connection, store.clock(), noun="quota", name=name, code="quota.deleted", message="deleted", actor=actor
        )
        delete_quota(connection, name)
        return row


def _used(connection: Connection) -> dict[str, str]:
    """One user of each quota that work is in."""
    found: dict[str, str] = {}
    for service in list_services(connection):
        found.setdefault(quota_name(service.spec.quota), f"service {service.name}")
    for task in list_tasks(connection, active=True):
        found.setdefault(quota_name(task.spec.quota), f"task {task.name}")
    return found


def _shown(spec: Quota) -> dict[str, Any]:
    content: dict[str, Any] = msgspec.to_builtins(spec.model_dump(mode="json", exclude={"kind", "name"}))
    return content
