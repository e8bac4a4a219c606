"""Services: plan, apply, scale, delete. What is stored here is a wish; reconcilers do the rest."""

from typing import Any, Literal

import msgspec
from sqlalchemy import Connection

from roadbed.control.jobs import replica_job_id, shape_of
from roadbed.control.pool import LivePool
from roadbed.control.scaling import hold_s, target_of
from roadbed.control.store import Store
from roadbed.control.store.event import append_event, last_starts_s
from roadbed.control.store.replica import ReplicaRow, list_replicas
from roadbed.control.store.service import ServiceRow, get_service, list_services, put_service
from roadbed.control.store.slot import take_slot
from roadbed.control.store.tables import replicas as replicas_table
from roadbed.control.store.tables import services as services_table
from roadbed.errors import ConflictError, NotFoundError, UsageError
from roadbed.gateway.account import MAX_REPLICAS
from roadbed.scheduler.base import Gang
from roadbed.spec.service import OpenAIEngine, Service

LAUNCH_FIELDS = ("model", "engine", "resources")
"""What a running engine depends on: a change of these replaces replicas, no other does."""


class FieldChange(msgspec.Struct, frozen=True, kw_only=True):
    field: str
    before: Any = None
    after: Any = None


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """What applying one spec would do. `effects` are sentences for people."""

    kind: str
    name: str
    change: Literal["create", "update", "unchanged"]
    fields: list[FieldChange] = []
    effects: list[str] = []


def diff_fields(before: dict[str, Any], after: dict[str, Any], prefix: str = "") -> list[FieldChange]:
    """Leaf by leaf, in the order of `after`; keys that are gone come last."""
    changes: list[FieldChange] = []
    for key in [*after, *(key for key in before if key not in after)]:
        old, new = before.get(key), after.get(key)
        if isinstance(old, dict) and isinstance(new, dict):
            changes.extend(diff_fields(old, new, f"{prefix}{key}."))
        elif old != new:
            changes.append(FieldChange(field=f"{prefix}{key}", before=old, after=new))
    return changes


def plan_service(connection: Connection, spec: Service, pool: LivePool) -> Plan:
    """What `apply_service` would change and what would follow from it."""
    before = get_service(connection, spec.name)
    _check_names(connection, spec)
    after = _shown(spec)
    if before is None or before.deleted_at is not None:
        effects = [f"starts {_replicas(spec.replicas.min)} of {spec.model}"]
        effects += _fit(spec, spec.replicas.min, [], pool) + _scaling(connection, spec)
        return Plan(kind="service", name=spec.name, change="create", fields=diff_fields({}, after), effects=effects)
    fields = diff_fields(_shown(before.spec), after)
    if not fields:
        return Plan(kind="service", name=spec.name, change="unchanged")
    effects = []
    num_desired = _clamp(before.num_desired, spec)
    if num_desired != before.num_desired:
        effects.append(f"scales from {before.num_desired} to {_replicas(num_desired)}")
    if {change.field.partition(".")[0] for change in fields} & {"replicas", "scaling"}:
        effects += _scaling(connection, spec)
    if _relaunches(before.spec, spec):
        effects.append(f"replaces {_replicas(num_desired)} one by one: {', '.join(_launch_changes(before.spec, spec))}")
        effects += _fit(spec, num_desired, list_replicas(connection, spec.name), pool)
    return Plan(kind="service", name=spec.name, change="update", fields=fields, effects=effects or ["restarts nothing"])


def apply_service(store: Store, connection: Connection, spec: Service, actor: str) -> ServiceRow:
    """Stores the wish: idempotent, a new generation only for a change. Raises ConflictError for a taken name."""
    now = store.clock()
    before = get_service(connection, spec.name)
    _check_names(connection, spec)
    if before is not None and before.deleted_at is None and before.spec == spec:
        return before
    fresh = before is None or before.deleted_at is not None
    generation = 1 if before is None else before.generation + 1
    relaunch = before is None or fresh or _relaunches(before.spec, spec)
    row = ServiceRow(
        name=spec.name,
        spec=spec,
        generation=generation,
        launch_generation=generation if before is None or relaunch else before.launch_generation,
        num_desired=spec.replicas.min if before is None or fresh else _clamp(before.num_desired, spec),
        created_at=now if before is None or fresh else before.created_at,
        updated_at=now,
        slot=_slot(connection, spec, before),
        pinned_at=None if before is None or fresh or _unpins(before.spec, spec) else before.pinned_at,
    )
    changed = [] if before is None or fresh else [c.field for c in diff_fields(_shown(before.spec), _shown(spec))]
    append_event(
        connection,
        now,
        noun="service",
        name=spec.name,
        code="service.created" if fresh else "service.updated",
        message=f"generation {generation}: {'new' if fresh else ', '.join(changed)}",
        actor=actor,
        data={"generation": generation, "relaunch": relaunch, "fields": changed, "num_desired": row.num_desired},
    )
    put_service(connection, row)
    return row


def service_slot(connection: Connection) -> int:
    """A row of the account for what gateways hold for a service; replicas and services share these rows."""
    return take_slot(connection, [replicas_table.c.slot, services_table.c.slot], "replica", MAX_REPLICAS)


def scale_service(store: Store, name: str, num_desired: int, actor: str) -> ServiceRow:
    """Sets how many replicas are wanted; with scaling, the number stands until `release_service` or an apply that
    changes replicas or scaling. Raises NotFoundError, UsageError outside the spec's range."""
    with store.write() as connection:
        row = require_service(connection, name)
        allowed = row.spec.replicas
        if not allowed.min <= num_desired <= allowed.max:
            raise UsageError(
                f"replicas: {num_desired} is outside {allowed.min}..{allowed.max} of service {name!r}",
                hint=f"change replicas in its spec, then: roadbed apply -f {name}.yaml",
                field="replicas",
            )
        pins = row.spec.scaling is not None
        if num_desired == row.num_desired and (not pins or row.pinned_at is not None):
            return row
        now = store.clock()
        append_event(
            connection,
            now,
            noun="service",
            name=name,
            code="service.scaled",
            message=f"wants {_replicas(num_desired)}, before {row.num_desired}{': set by hand' if pins else ''}",
            actor=actor,
            data={"before": row.num_desired, "after": num_desired} | ({"reason": "pinned"} if pins else {}),
        )
        pinned_at = now if pins else None
        row = msgspec.structs.replace(row, num_desired=num_desired, updated_at=now, pinned_at=pinned_at)
        put_service(connection, row)
        return row


def release_service(store: Store, name: str, actor: str) -> ServiceRow:
    """Lets load decide again. Raises NotFoundError, UsageError for a service without scaling."""
    with store.write() as connection:
        row = require_service(connection, name)
        if row.spec.scaling is None:
            raise UsageError(
                f"service {name!r} has no scaling: nothing would decide its number",
                hint=f"add scaling: {{}} to its spec, then: roadbed apply -f {name}.yaml",
                field="replicas",
            )
        if row.pinned_at is None:
            return row
        now = store.clock()
        append_event(
            connection, now, noun="service", name=name, code="service.released",
            message=f"load decides again, from {_replicas(row.num_desired)}", actor=actor,
        )  # fmt: skip
        row = msgspec.structs.replace(row, updated_at=now, pinned_at=None)
        put_service(connection, row)
        return row


def delete_service(store: Store, name: str, actor: str) -> ServiceRow:
    """Marks it deleted; its replicas drain and stop. Raises NotFoundError."""
    with store.write() as connection:
        row = require_service(connection, name)
        now = store.clock()
        append_event(connection, now, noun="service", name=name, code="service.deleted", message="deleted", actor=actor)
        row = msgspec.structs.replace(row, deleted_at=now, updated_at=now, slot=None, pinned_at=None)
        put_service(connection, row)
        return row


def require_service(connection: Connection, name: str) -> ServiceRow:
    """The service, not deleted. Raises NotFoundError naming what there is."""
    row = get_service(connection, name)
    if row is None or row.deleted_at is not None:
        known = ", ".join(service.name for service in list_services(connection)) or "none"
        raise NotFoundError(f"there is no service {name!r}; services: {known}", hint="roadbed ps", field="name")
    return row


def model_names(spec: Service) -> tuple[str, ...]:
    """Names clients may ask for, the canonical one first. A source such as file:… is no name; the service's is."""
    catalogue = () if ":" in spec.model else (spec.model,)
    return tuple(dict.fromkeys((*catalogue, spec.name, *spec.aliases)))


def _own_names(spec: Service) -> set[str]:
    """Names that may lead to no other service."""
    return {spec.name, *spec.aliases, *(adapter.name for adapter in spec.adapters)}


def _check_names(connection: Connection, spec: Service) -> None:
    """Aliases must lead to one service; a model may be served by several only under names of their own."""
    for other in list_services(connection):
        if other.name == spec.name:
            continue
        taken = _own_names(other.spec) & _own_names(spec)
        if taken:
            raise ConflictError(
                f"service {spec.name!r}: the name {min(taken)!r} already leads to service {other.name!r}",
                hint=f"roadbed explain {other.name}",
                field="aliases",
            )


def _shown(spec: Service) -> dict[str, Any]:
    """What a person would call its content; kind and name are its identity."""
    return spec.model_dump(mode="json", exclude={"kind", "name"})


def _relaunches(before: Service, after: Service) -> bool:
    return bool(_launch_changes(before, after))


def _launch_changes(before: Service, after: Service) -> list[str]:
    return [field for field in LAUNCH_FIELDS if getattr(before, field) != getattr(after, field)]


def _unpins(before: Service, after: Service) -> bool:
    return (before.replicas, before.scaling) != (after.replicas, after.scaling)


def _slot(connection: Connection, spec: Service, before: ServiceRow | None) -> int | None:
    if spec.scaling is None:
        return None
    return before.slot if before is not None and before.slot is not None else service_slot(connection)


def _scaling(connection: Connection, spec: Service) -> list[str]:
    """What load will do to it, in words."""
    if spec.scaling is None:
        return []
    said = [
        f"load decides: {spec.replicas.min} to {_replicas(spec.replicas.max)} ({spec.scaling.policy}), "
        f"{target_of(spec, None):g} requests in flight are right for one"
    ]
    if spec.replicas.min == 0:
        held_s = hold_s(spec, last_starts_s(connection, spec.name))
        said.append(f"with no replica left, requests are held up to {held_s:g} s while one starts")
    return said


def _clamp(num_desired: int, spec: Service) -> int:
    """The wish inside a range that has just changed; the plan says so."""
    return min(max(num_desired, spec.replicas.min), spec.replicas.max)


def _fit(spec: Service, num_wanted: int, leaving: list[ReplicaRow], pool: LivePool) -> list[str]:
    """Says how many would fit now, if not all."""
    if isinstance(spec.engine, OpenAIEngine):
        return []
    gang = Gang(shape=shape_of(spec.resources, pool.chips))
    fit = pool.how_many(gang, num_wanted, [replica_job_id(row.id) for row in leaving])
    if fit >= num_wanted:
        return []
    why = "the rest waits for room" if pool.possible(gang) else "one is larger than any machine here"
    return [f"only {fit} of {num_wanted} fit now; {why}"]


def _replicas(count: int) -> str:
    return f"{count} replica{'' if count == 1 else 's'}"
