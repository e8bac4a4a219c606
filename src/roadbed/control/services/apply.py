"""Plan and apply of a whole file: every spec or none, in an order that lets later ones refer to earlier ones."""

from collections.abc import Sequence

import msgspec
from sqlalchemy import Connection

from roadbed import engine
from roadbed.control.pool import LivePool
from roadbed.control.services.key import NewKey, apply_key, plan_key
from roadbed.control.services.quota import apply_quota, check_quota_of, check_quotas, plan_quota
from roadbed.control.services.service import Plan, apply_service, plan_service
from roadbed.control.services.task import apply_task, plan_task
from roadbed.control.services.tenant import apply_tenant, plan_tenant
from roadbed.control.store import Store
from roadbed.models import catalogue
from roadbed.spec.load import Applicable
from roadbed.spec.quota import Quota
from roadbed.spec.service import OpenAIEngine, Service
from roadbed.spec.task import Task
from roadbed.spec.tenant import Tenant

_ORDER = {"tenant": 0, "key": 1, "quota": 2, "service": 3, "task": 4}


class Applied(msgspec.Struct, frozen=True, kw_only=True):
    """What was done with one spec. `secret` only for a key just made."""

    plan: Plan
    generation: int | None = None
    id: str | None = None
    secret: str | None = None


def plan(store: Store, specs: Sequence[Applicable], pool: LivePool) -> list[Plan]:
    """What `apply` of these specs would do, without doing it. Raises ConflictError, and NotFoundError or
    UsageError for a model nobody knows."""
    with store.read() as connection:
        check_quotas(connection, [spec for spec in specs if isinstance(spec, Quota)])
        return [_plan(connection, spec, pool, _leaves(specs)) for spec in specs]


def apply(store: Store, specs: Sequence[Applicable], pool: LivePool, actor: str) -> list[Applied]:
    """Applies all in one transaction; results in the order given. Raises ConflictError, NotFoundError: nothing done."""
    results: dict[int, Applied] = {}
    with store.write() as connection:
        check_quotas(connection, [spec for spec in specs if isinstance(spec, Quota)])
        for index, spec in sorted(enumerate(specs), key=lambda item: _ORDER[item[1].kind]):
            planned = _plan(connection, spec, pool, _leaves(specs))
            results[index] = _apply(store, connection, spec, planned, actor)
    return [results[index] for index in range(len(specs))]


def _leaves(specs: Sequence[Applicable]) -> set[str]:
    """Quotas of a file that work may be in."""
    quotas = [spec for spec in specs if isinstance(spec, Quota)]
    return {quota.name for quota in quotas} - {quota.parent for quota in quotas if quota.parent}


def _plan(connection: Connection, spec: Applicable, pool: LivePool, brought: set[str]) -> Plan:
    if isinstance(spec, Service):
        _check_service(spec)
        check_quota_of(connection, spec.quota, brought)
        return plan_service(connection, spec, pool)
    if isinstance(spec, Task):
        return plan_task(connection, spec, pool, brought)
    if isinstance(spec, Quota):
        return plan_quota(connection, spec)
    return plan_tenant(connection, spec) if isinstance(spec, Tenant) else plan_key(connection, spec)


def _check_service(spec: Service) -> None:
    """What a spec alone can't know is wrong: a model nobody knows, URLs that lead nowhere, a key that is not set."""
    if isinstance(spec.engine, OpenAIEngine):
        engine.create(spec.engine)
    else:
        catalogue.resolve(spec.model)


def _apply(store: Store, connection: Connection, spec: Applicable, planned: Plan, actor: str) -> Applied:
    if isinstance(spec, Service):
        return Applied(plan=planned, generation=apply_service(store, connection, spec, actor).generation)
    if isinstance(spec, Task):
        return Applied(plan=planned, generation=apply_task(store, connection, spec, actor).generation)
    if isinstance(spec, Quota):
        apply_quota(store, connection, spec, actor)
        return Applied(plan=planned)
    if isinstance(spec, Tenant):
        apply_tenant(store, connection, spec, actor)
        return Applied(plan=planned)
    made = apply_key(store, connection, spec, actor)
    if isinstance(made, NewKey):
        return Applied(plan=planned, id=made.row.id, secret=made.secret)
    return Applied(plan=planned, id=made.id)
