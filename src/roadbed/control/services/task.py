"""Tasks: plan, apply, stop, delete. What is stored here is a wish; the task reconciler does the rest."""

from collections.abc import Collection
from typing import Any

import msgspec
from sqlalchemy import Connection

from roadbed.control.jobs import task_job
from roadbed.control.pool import LivePool
from roadbed.control.services.quota import check_quota_of
from roadbed.control.services.service import Plan, diff_fields
from roadbed.control.store import Store
from roadbed.control.store.event import append_event
from roadbed.control.store.task import ENDED, TaskRow, get_task, insert_task, list_tasks, update_task
from roadbed.errors import ConflictError, NotFoundError, UsageError
from roadbed.spec.task import Task


def plan_task(connection: Connection, spec: Task, pool: LivePool, brought: Collection[str] = ()) -> Plan:
    """What applying would do. Raises ConflictError for a change of a task under way, UsageError for one that no
    machine here could ever run or whose quota is not there."""
    before = get_task(connection, spec.name)
    fresh = before is None or before.deleted_at is not None
    check_quota_of(connection, spec.quota, brought)
    _check(spec, pool)
    if not fresh and before is not None and before.state not in ENDED:
        if before.spec == spec:
            return Plan(kind="task", name=spec.name, change="unchanged")
        raise ConflictError(
            f"task {spec.name!r} is {before.state}; what runs can't be changed",
            hint=f"roadbed stop {spec.name}",
            field="name",
        )
    job = task_job(TaskRow(name=spec.name, spec=spec), pool.chips)
    num = spec.gang.min
    effects = [f"runs {num} process{'' if num == 1 else 'es'}{'' if fresh else ' again'}"]
    if not pool.how_many(job.gang, 1):
        effects.append("waits first: there is no room for it now")
    fields = diff_fields({} if fresh or before is None else _shown(before.spec), _shown(spec))
    return Plan(kind="task", name=spec.name, change="create" if fresh else "update", fields=fields, effects=effects)


def apply_task(store: Store, connection: Connection, spec: Task, actor: str) -> TaskRow:
    """Queues it; one under way with the same spec is left alone, one that ended runs again."""
    now = store.clock()
    before = get_task(connection, spec.name)
    if before is not None and before.deleted_at is None and before.state not in ENDED:
        return before
    again = before is not None and before.deleted_at is None
    row = TaskRow(
        name=spec.name,
        spec=spec,
        generation=1 if before is None else before.generation + 1,
        since=now,
        submitted_at=now,
        created_at=before.created_at if again and before is not None else now,
    )
    append_event(
        connection, now, noun="task", name=spec.name, code="task.submitted", actor=actor,
        message="queued again" if again else "queued", data={"generation": row.generation},
    )  # fmt: skip
    (insert_task if before is None else update_task)(connection, row)
    return row


def stop_task(store: Store, name: str, actor: str) -> TaskRow:
    """Asks it to stop; one that has ended stays as it is. Raises NotFoundError."""
    with store.write() as connection:
        row = require_task(connection, name)
        if row.state in ENDED or row.wanted == "stop":
            return row
        now = store.clock()
        append_event(connection, now, noun="task", name=name, code="task.stop", message="asked to stop", actor=actor)
        row = msgspec.structs.replace(row, wanted="stop")
        update_task(connection, row)
        return row


def delete_task(store: Store, name: str, actor: str) -> TaskRow:
    """Removes an ended task from the lists; its logs stay. Raises NotFoundError; ConflictError while it runs."""
    with store.write() as connection:
        row = require_task(connection, name)
        if row.state not in ENDED:
            raise ConflictError(f"task {name!r} is {row.state}", hint=f"roadbed stop {name}", field="name")
        now = store.clock()
        append_event(connection, now, noun="task", name=name, code="task.deleted", message="deleted", actor=actor)
        row = msgspec.structs.replace(row, deleted_at=now)
        update_task(connection, row)
        return row


def require_task(connection: Connection, name: str) -> TaskRow:
    """The task, not deleted. Raises NotFoundError naming some there are."""
    row = get_task(connection, name)
    if row is None or row.deleted_at is not None:
        known = ", ".join(task.name for task in list_tasks(connection, limit=10)) or "none"
        raise NotFoundError(f"there is no task {name!r}; tasks: {known}", hint="roadbed ps -a", field="name")
    return row


def _check(spec: Task, pool: LivePool) -> None:
    """What a spec alone can't know is wrong."""
    gang = task_job(TaskRow(name=spec.name, spec=spec), pool.chips).gang
    if not pool.possible(gang):
        funnel = pool.never(gang)
        words = f"task {spec.name!r} can never run on the machines here: {funnel}"
        raise UsageError(words, hint="roadbed nodes", field="resources")


def _shown(spec: Task) -> dict[str, Any]:
    return spec.model_dump(mode="json", exclude={"kind", "name"}, by_alias=True)
