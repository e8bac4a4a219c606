"""Why things are as they are: an append-only story of every noun, each entry naming what caused it."""

from collections.abc import Sequence
from itertools import islice
from typing import Any

import msgspec
from sqlalchemy import Connection, insert, select

from roadbed.control.store.tables import events


class EventRow(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that happened or was decided. `code` is stable; `message` is for people."""

    seq: int
    at: float
    actor: str
    noun: str
    name: str
    code: str
    message: str
    data: dict[str, Any] = {}
    cause: int | None = None


def append_event(
    connection: Connection,
    at: float,
    *,
    noun: str,
    name: str,
    code: str,
    message: str,
    actor: str = "control",
    data: dict[str, Any] | None = None,
    cause: int | None = None,
) -> int:
    """Writes one event and returns its number, to be the `cause` of what follows."""
    values = {
        "at": at,
        "actor": clean(actor),
        "noun": noun,
        "name": clean(name),
        "code": code,
        "message": clean(message),
        "data": data or {},
        "cause": cause,
    }
    result = connection.execute(insert(events).values(**values).returning(events.c.seq))
    return int(result.scalar_one())


class NewEvent(msgspec.Struct, frozen=True, kw_only=True):
    """An event on its way into the store."""

    noun: str
    name: str
    code: str
    message: str
    data: dict[str, Any] = {}


def append_events(connection: Connection, at: float, rows: Sequence[NewEvent]) -> None:
    """Many at once, in order; cheaper than one by one where nobody asks for their numbers."""
    if rows:
        values = [
            {"at": at, "actor": "control", "noun": row.noun, "name": clean(row.name), "code": row.code,
             "message": clean(row.message), "data": row.data, "cause": None}
            for row in rows
        ]  # fmt: skip
        connection.execute(insert(events), values)


def list_events(
    connection: Connection,
    *,
    after: int = 0,
    limit: int = 100,
    noun: str | None = None,
    name: str | None = None,
    newest: bool = False,
) -> list[EventRow]:
    """At most `limit` events numbered above `after`, oldest first; with `newest`, the last `limit` of them."""
    query = select(events).where(events.c.seq > after)
    if noun is not None:
        query = query.where(events.c.noun == noun)
    if name is not None:
        query = query.where(events.c.name == name)
    query = query.order_by(events.c.seq.desc() if newest else events.c.seq.asc()).limit(limit)
    rows = [EventRow(**row._mapping) for row in connection.execute(query)]
    return rows[::-1] if newest else rows


def last_starts_s(connection: Connection, service: str, num: int = 5) -> list[float]:
    """Seconds the last `num` replicas of a service took from their start to their first answer, latest first."""
    query = (
        select(events.c.name, events.c.data)
        .where(events.c.noun == "replica", events.c.code == "replica.ready")
        .where(events.c.name.startswith(f"{service}-", autoescape=True))
        .order_by(events.c.seq.desc())
    )
    found = (row.data["after_s"] for row in connection.execute(query) if row.name.rpartition("-")[0] == service)
    return [float(after_s) for after_s in islice(found, num)]


def clean(text: str) -> str:
    """Text both databases take: no NUL, no lone surrogates."""
    return text.replace("\x00", "\ufffd").encode("utf-8", "replace").decode("utf-8")
