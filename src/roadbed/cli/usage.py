"""`roadbed usage`: who used what, and what it cost, as the ledger settled it."""

import time
from datetime import UTC, datetime
from typing import Any

import click

from roadbed.cli.base import client, json_option, print_json, print_table, talk

COLUMNS = ("key", "tenant", "model", "service", "day", "replica", "outcome")


class Columns(click.ParamType[list[str]]):
    """`key,model` → the columns to group by."""

    name = "columns"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> list[str]:
        if isinstance(value, list):
            return value
        columns = [part.strip() for part in str(value).split(",") if part.strip()]
        unknown = [column for column in columns if column not in COLUMNS]
        if unknown:
            self.fail(f"{unknown[0]!r} is not one of {', '.join(COLUMNS)}", param, ctx)
        return columns


class Moment(click.ParamType[float]):
    """`7d` (ago), `2026-11-01` or `2026-11-01T12:00` (UTC) → Unix seconds."""

    name = "time"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        if isinstance(value, float):
            return value
        try:
            moment = datetime.fromisoformat(str(value))
            return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
        except ValueError:
            pass  # no date: a length of time before now
        from roadbed.spec.quantity import parse_seconds

        try:
            return time.time() - parse_seconds(value)
        except ValueError as error:
            self.fail(f"{error}; or a date such as 2026-11-01", param, ctx)


@click.command("usage")
@click.option("--by", type=Columns(), default="key", show_default=True, help=f"Any of {', '.join(COLUMNS)}; commas.")
@click.option("--since", type=Moment(), help="7d, 12h or a date (UTC). Default: this month.")
@click.option("--until", type=Moment(), help="As --since. Default: now.")
@click.option("--tenant", help="Only this tenant's.")
@click.option("--key", help="Only of this key: id or name.")
@json_option
def command(
    by: list[str], since: float | None, until: float | None, tenant: str | None, key: str | None, as_json: bool
) -> None:
    """Requests, tokens and CNY. Requests still running are not in it.

    \b
      roadbed usage
      roadbed usage --by model,day --since 7d
      roadbed usage --by outcome --key ci
    """
    from roadbed.cli.keys import find_key

    control = client()
    key_id = None if key is None else find_key(control, key)["id"]
    said = control.usage(by, since=since, until=until, tenant=tenant, key=key_id)
    if as_json:
        print_json(said)
        return
    begin = datetime.fromtimestamp(said["since"], UTC).strftime("%Y-%m-%d %H:%M")
    if not said["rows"]:
        talk(f"nothing was used since {begin} UTC; try: roadbed chat 'Hello!'")
        return
    headers = (*(column.upper() for column in by), "REQUESTS", "OK", "PROMPT", "CACHED", "OUTPUT", "TTFT", "CNY")
    rows = [(*_group(row, said), *_numbers(row)) for row in said["rows"]]
    rows.append((*("total" if i == 0 else "" for i in range(len(by))), *_numbers(said["total"])))
    print_table(headers, rows, right=range(len(by), len(headers)))
    talk(f"since {begin} UTC; TTFT is the mean")


def _group(row: dict[str, Any], said: dict[str, Any]) -> tuple[str, ...]:
    return tuple(
        said["key_names"].get(value) or value if column == "key" else value for column, value in row["group"].items()
    )


def _numbers(row: dict[str, Any]) -> tuple[str, ...]:
    counts = ("num_requests", "num_ok", "prompt_tokens", "cached_tokens", "completion_tokens")
    return (
        *(f"{row[name]:,}" for name in counts),
        f"{row['mean_ttft_s'] * 1000:.0f} ms",
        f"{float(row['cost_cny']):.6f}",
    )
