"""Tasks as stored: the wish, the run under way, and how the last one ended."""

import zlib
from collections.abc import Sequence
from typing import Any, Literal

import msgspec
from sqlalchemy import Connection, Row, bindparam, insert, select, update

from roadbed.control.store.tables import tasks
from roadbed.scheduler.base import Placement
from roadbed.spec.task import Task

TaskState = Literal["queued", "starting", "running", "stopping", "finished", "failed", "stopped"]
ENDED: frozenset[str] = frozenset({"finished", "failed", "stopped"})
HOLDS_DEVICES: frozenset[str] = frozenset({"starting", "running", "stopping"})


class TaskRow(msgspec.Struct, frozen=True, kw_only=True):
    """One task. attempt counts starts; exit_codes has one entry per rank, negative for a signal, None while it runs.

    wanted: "run" or "stop". outcome: while stopping, what it will be when its last process is gone: "failed",
    "stopped", "preempted" (queued again), "moved" (started again at once where `placement` says).
    """

    name: str
    spec: Task
    generation: int = 1
    state: TaskState = "queued"
    wanted: str = "run"
    reason: str = ""
    message: str = ""
    outcome: str = ""
    attempt: int = 0
    num_failures: int = 0
    num_preemptions: int = 0
    placement: Placement | None = None
    exit_codes: list[int | None] = []
    since: float = 0.0
    submitted_at: float = 0.0
    started_at: float | None = None
    ended_at: float | None = None
    retry_at: float | None = None
    created_at: float = 0.0
    deleted_at: float | None = None

    def process(self, rank: int) -> str:
        """The name of a rank's process and log; unique over attempts and generations."""
        base = self.name
        if len(base) > MAX_BASE:
            base = f"{base[: MAX_BASE - 9].rstrip('._-')}-{zlib.crc32(base.encode()):08x}"
        return f"task-{base}.{self.generation}.{self.attempt}.{rank}"


MAX_BASE = 32
"""Process names have 63 characters; a longer task name is cut and told apart by its checksum."""


def get_task(connection: Connection, name: str) -> TaskRow | None:
    """The task, deleted ones included."""
    row = connection.execute(select(tasks).where(tasks.c.name == name)).first()
    return None if row is None else _row(row)


Specs = dict[tuple[str, int], Task]
"""Specs read before, by task and generation: they never change, and checking them anew costs more than reading them."""


def list_tasks(
    connection: Connection, *, active: bool = False, limit: int | None = None, specs: Specs | None = None
) -> list[TaskRow]:
    """Not deleted, oldest submission first; `active`: only those that have not ended. `limit`: the newest so many.
    `specs`: read before; holds those of this answer afterwards."""
    query = select(tasks).where(tasks.c.deleted_at.is_(None))
    if active:
        query = query.where(tasks.c.state.not_in(ENDED))
    if limit is not None:
        query = query.order_by(tasks.c.submitted_at.desc(), tasks.c.name.desc()).limit(limit)
        return [_row(row) for row in connection.execute(query)][::-1]
    found = [_row(row, specs) for row in connection.execute(query.order_by(tasks.c.submitted_at, tasks.c.name))]
    if specs is not None:
        specs.clear()
        specs.update({(row.name, row.generation): row.spec for row in found})
    return found


def insert_task(connection: Connection, row: TaskRow) -> None:
    connection.execute(insert(tasks).values(**_values(row)))


def update_task(connection: Connection, row: TaskRow) -> None:
    connection.execute(update(tasks).where(tasks.c.name == row.name).values(**_values(row)))


def move_tasks(connection: Connection, rows: Sequence[TaskRow]) -> None:
    """Writes where tasks stand, many at once; their specs stay."""
    if not rows:
        return
    fields = [field for field in TaskRow.__struct_fields__ if field not in ("name", "spec")]
    wish = update(tasks).where(tasks.c.name == bindparam("task")).values({field: bindparam(field) for field in fields})
    connection.execute(wish, [{"task": row.name, **{field: _plain(row, field) for field in fields}} for row in rows])


def _plain(row: TaskRow, field: str) -> Any:
    value = getattr(row, field)
    return msgspec.to_builtins(value) if field == "placement" and value is not None else value


def _values(row: TaskRow) -> dict[str, Any]:
    values = {field: getattr(row, field) for field in row.__struct_fields__}
    values["spec"] = row.spec.model_dump(mode="json", by_alias=True)
    values["placement"] = None if row.placement is None else msgspec.to_builtins(row.placement)
    return values


def _row(row: Row[Any], specs: Specs | None = None) -> TaskRow:
    known = specs.get((row.name, row.generation)) if specs else None
    placement = None if row.placement is None else msgspec.convert(row.placement, Placement)
    return TaskRow(**{**row._mapping, "placement": placement, "spec": known or Task.model_validate(row.spec)})
