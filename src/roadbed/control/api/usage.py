"""GET /api/usage: who used what, and what it cost."""

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Query

from roadbed.control.api.common import NameQuery, StateDep, TimeQuery, View, errors, require_admin
from roadbed.control.services.usage import cny, report_usage
from roadbed.control.store.usage import GroupBy, UsageSum, month_start

router = APIRouter(tags=["usage"], dependencies=[Depends(require_admin)])


class UsageSumView(View):
    group: dict[str, str]
    """The value of each column grouped by; of `key`, its id."""
    num_requests: int
    num_ok: int
    prompt_tokens: int
    cached_tokens: int
    completion_tokens: int
    num_estimated: int
    mean_ttft_s: float
    cost_cny: str
    """Exact decimal."""


class UsageView(View):
    by: list[Literal["key", "tenant", "model", "service", "day", "replica", "outcome"]]
    since: float
    until: float
    rows: list[UsageSumView]
    total: UsageSumView
    key_names: dict[str, str]


@router.get("/usage", response_model=UsageView, responses=errors())
def get_usage(
    state: StateDep,
    by: Annotated[list[GroupBy], Query(max_length=7)] = ["key"],  # noqa: B006 - FastAPI copies defaults
    since: TimeQuery = None,
    until: TimeQuery = None,
    tenant: NameQuery = None,
    key: Annotated[str | None, Query(pattern=r"^[a-z2-7]{12}$")] = None,
) -> dict[str, Any]:
    """Totals by one or several columns (`by=key&by=day`), costliest first; since the month's start (UTC) by default."""
    start = month_start(state.store.clock()) if since is None else since
    columns = list(dict.fromkeys(by))
    report = report_usage(state.store, columns, since=start, until=until, tenant=tenant, key=key)
    return {
        "by": columns,
        "since": report.since,
        "until": report.until,
        "rows": [_view(row) for row in report.rows],
        "total": _view(report.total),
        "key_names": report.key_names,
    }


def _view(row: UsageSum) -> dict[str, Any]:
    fields = {field: getattr(row, field) for field in row.__struct_fields__ if field != "cost_pico"}
    return {**fields, "cost_cny": cny(row.cost_pico)}
