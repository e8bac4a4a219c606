"""Usage as stored: one row per request, written once, and the sums people ask for."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, Literal

import msgspec
from sqlalchemy import Connection, Integer, Row, Select, cast, delete, func, insert, select
from sqlalchemy.dialects import postgresql, sqlite

from roadbed.control.store.event import clean
from roadbed.control.store.tables import ledger_cursors, usage
from roadbed.gateway.ledger.record import UsageRow

GroupBy = Literal["key", "tenant", "model", "service", "day", "replica", "outcome"]

_COLUMNS = {
    "key": usage.c.key_id,
    "tenant": usage.c.tenant,
    "model": usage.c.model,
    "service": usage.c.service,
    "day": usage.c.day,
    "replica": usage.c.replica,
    "outcome": usage.c.outcome,
}
_SOURCES = {"at": "ended_at", "tries": "num_tries"}
_NAMES = [column.name for column in usage.columns if column.name != "day"]
_MICRO = 10**6
_SLICE = 500
"""Rows per statement: SQLite binds at most 32,766 values."""


class UsageSum(msgspec.Struct, frozen=True, kw_only=True):
    """Totals of one group; `group` holds the value of each column grouped by."""

    group: dict[str, str]
    num_requests: int
    num_ok: int
    prompt_tokens: int
    cached_tokens: int
    completion_tokens: int
    num_estimated: int
    mean_ttft_s: float
    cost_pico: int


class UsageSample(msgspec.Struct, frozen=True, kw_only=True):
    """What the live page needs of one finished request."""

    at: float
    service: str
    replica: str
    outcome: str
    completion_tokens: int
    ttft_s: float
    predicted_ttft_s: float
    total_s: float
    route: str


def insert_usage(connection: Connection, records: Sequence[UsageRow]) -> int:
    """Writes settled requests; those already there (by request id) are left alone. Returns how many were new."""
    if not records:
        return 0
    dialect = sqlite if connection.dialect.name == "sqlite" else postgresql
    statement = dialect.insert(usage).on_conflict_do_nothing(index_elements=["request_id"])
    rows = [_values(record) for record in records]
    num_new = 0
    for first in range(0, len(rows), _SLICE):
        written = connection.execute(statement.values(rows[first : first + _SLICE]).returning(usage.c.request_id))
        num_new += len(written.all())
    return num_new


def sum_usage(
    connection: Connection,
    by: Sequence[GroupBy],
    *,
    since: float = 0.0,
    until: float | None = None,
    tenant: str | None = None,
    key: str | None = None,
    limit: int = 10_000,
) -> list[UsageSum]:
    """Totals per group, costliest first. Times are Unix seconds, half open."""
    columns = [_COLUMNS[name].label(f"by_{name}") for name in by]
    cost = [
        func.sum(usage.c.cost_pico // _MICRO).label("cost_high"),
        func.sum(usage.c.cost_pico % _MICRO).label("cost_low"),
    ]
    query: Select[Any] = select(
        *columns,
        func.count().label("num_requests"),
        func.count().filter(usage.c.outcome == "ok").label("num_ok"),
        func.coalesce(func.sum(usage.c.prompt_tokens), 0).label("prompt_tokens"),
        func.coalesce(func.sum(usage.c.cached_tokens), 0).label("cached_tokens"),
        func.coalesce(func.sum(usage.c.completion_tokens), 0).label("completion_tokens"),
        func.count().filter(usage.c.estimated).label("num_estimated"),
        func.coalesce(func.avg(usage.c.ttft_s).filter(usage.c.ttft_s > 0), 0.0).label("mean_ttft_s"),
        *cost,
    ).where(usage.c.at >= since)
    query = _narrow(query, until, tenant, key)
    if columns:
        query = query.group_by(*columns).order_by(func.sum(usage.c.cost_pico // _MICRO).desc(), *columns)
    return [_sum(row, by) for row in connection.execute(query.limit(limit))]


def list_samples(connection: Connection, since: float, limit: int = 20_000) -> list[UsageSample]:
    """The newest `limit` requests finished at or after `since`, oldest first."""
    columns = [getattr(usage.c, name) for name in UsageSample.__struct_fields__]
    query = select(*columns).where(usage.c.at >= since).order_by(usage.c.at.desc()).limit(limit)
    return [UsageSample(**row._mapping) for row in connection.execute(query)][::-1]


def busy_minutes(connection: Connection, service: str, since: float) -> dict[int, float]:
    """Seconds of requests (in flight or waiting) by the Unix minute they ended in, at or after `since`."""
    quotient = usage.c.at / 60.0
    # PostgreSQL rounds a cast, SQLite cuts and may lack floor.
    minute = cast(quotient if connection.dialect.name == "sqlite" else func.floor(quotient), Integer).label("minute")
    query = select(minute, func.sum(usage.c.total_s).label("busy_s")).where(usage.c.service == service)
    return {
        int(row.minute): float(row.busy_s)
        for row in connection.execute(query.where(usage.c.at >= since).group_by(minute))
    }


def list_cursors(connection: Connection) -> dict[str, Any]:
    """Where ingest stands in each ledger segment."""
    return {row.segment: row.position for row in connection.execute(select(ledger_cursors))}


def put_cursors(connection: Connection, cursors: dict[str, Any], at: float) -> None:
    """Replaces the position of each segment named; others stay."""
    for segment, position in cursors.items():
        connection.execute(delete(ledger_cursors).where(ledger_cursors.c.segment == segment))
        connection.execute(insert(ledger_cursors).values(segment=segment, position=position, updated_at=at))


def drop_cursors(connection: Connection, segments: Sequence[str]) -> None:
    """Forgets positions of what has been read to its end."""
    if segments:
        connection.execute(delete(ledger_cursors).where(ledger_cursors.c.segment.in_(segments)))


def month_start(now: float) -> float:
    """The first second of the UTC month that `now` is in."""
    moment = datetime.fromtimestamp(now, UTC)
    return moment.replace(day=1, hour=0, minute=0, second=0, microsecond=0).timestamp()


def _narrow(query: Select[Any], until: float | None, tenant: str | None, key: str | None) -> Select[Any]:
    if until is not None:
        query = query.where(usage.c.at < until)
    if tenant is not None:
        query = query.where(usage.c.tenant == tenant)
    if key is not None:
        query = query.where(usage.c.key_id == key)
    return query


def _sum(row: Row[Any], by: Sequence[GroupBy]) -> UsageSum:
    return UsageSum(
        group={name: str(getattr(row, f"by_{name}")) for name in by},
        num_requests=row.num_requests,
        num_ok=row.num_ok,
        prompt_tokens=int(row.prompt_tokens),
        cached_tokens=int(row.cached_tokens),
        completion_tokens=int(row.completion_tokens),
        num_estimated=row.num_estimated,
        mean_ttft_s=float(row.mean_ttft_s),
        cost_pico=int(row.cost_high or 0) * _MICRO + int(row.cost_low or 0),
    )


def _values(record: UsageRow) -> dict[str, Any]:
    values: dict[str, Any] = {name: getattr(record, _SOURCES.get(name, name)) for name in _NAMES}
    values["day"] = datetime.fromtimestamp(record.ended_at, UTC).strftime("%Y-%m-%d")
    return {name: clean(value) if isinstance(value, str) else value for name, value in values.items()}
