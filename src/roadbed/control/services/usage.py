"""Usage as people ask for it: totals by any of the columns, with money as exact decimal text."""

from collections.abc import Sequence
from decimal import Decimal

import msgspec

from roadbed.control.store import Store
from roadbed.control.store.key import list_keys
from roadbed.control.store.usage import GroupBy, UsageSum, sum_usage


class UsageReport(msgspec.Struct, frozen=True, kw_only=True):
    """`rows` costliest first; `total` over everything asked for. Times are Unix seconds."""

    by: list[str]
    since: float
    until: float
    rows: list[UsageSum]
    total: UsageSum
    key_names: dict[str, str]
    """Names of the key ids in the rows, where grouped by key."""


def report_usage(
    store: Store,
    by: Sequence[GroupBy],
    *,
    since: float,
    until: float | None = None,
    tenant: str | None = None,
    key: str | None = None,
) -> UsageReport:
    """Totals of what is in the store now; requests still running are not in it."""
    end = store.clock() if until is None else until
    with store.read() as connection:
        rows = sum_usage(connection, by, since=since, until=until, tenant=tenant, key=key) if by else []
        total = sum_usage(connection, [], since=since, until=until, tenant=tenant, key=key)[0]
        keys = list_keys(connection, revoked=True) if "key" in by else []
    names = {row.id: row.name for row in keys}
    used = {row.group["key"] for row in rows} if "key" in by else set()
    return UsageReport(
        by=list(by), since=since, until=end, rows=rows, total=total, key_names={k: names.get(k, "") for k in used}
    )


def cny(cost_pico: int) -> str:
    """1e-12 CNY as a decimal number of CNY, exact, without trailing zeros."""
    text = f"{Decimal(cost_pico).scaleb(-12):f}"
    return text.rstrip("0").rstrip(".") if "." in text else text
