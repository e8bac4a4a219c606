"""The page of `roadbed twin serve`: curves over load by router, replicas over time, what a change is worth."""

import math
from collections.abc import Callable, Sequence

import msgspec

from roadbed.twin.page import figure, page, table
from roadbed.twin.serve_figures import Row
from roadbed.twin.serve_fleet_report import name_of, scaled_section
from roadbed.twin.svg import Series, bar_chart, line_chart

_MOST_SHOWN = 8
_HEADERS = (
    "router", "replicas", "load ×", "TTFT mean ms", "p50", "p90", "p99", "ITL mean ms", "p99", "E2E mean ms", "good %",
    "output tok/s", "reuse %", "shed", "preempted", "busy %",
)  # fmt: skip


def report(rows: Sequence[Row], what_ifs: Sequence[Row], facts: Sequence[str]) -> str:
    """HTML. what_ifs: the same routers with one replica more, or other chips. Rows know what they cost."""
    rows = [msgspec.structs.replace(row, router=f"{row.router} {row.split}") if row.split else row for row in rows]
    fixed = [row for row in rows if row.autoscaler is None]
    routers = list(dict.fromkeys(row.router for row in fixed))
    body = ["<h2>Figures</h2>", table(_HEADERS, [_cells(row) for row in rows])]
    if fixed:
        body.append("<h2>Over load</h2><main>")
        for fleet in dict.fromkeys(fleet_of(row) for row in sorted(fixed, key=lambda row: row.replicas)):
            body += _curves(routers, [row for row in fixed if fleet_of(row) == fleet], fleet)
        body.append("</main><h2>Over time</h2><main>")
        for router in routers:
            body += _busiest(router, fixed)
        body.append("</main>")
    body += scaled_section([row for row in rows if row.autoscaler is not None])
    if what_ifs:
        body += ["<h2>What if</h2>", _what_if_table(rows, what_ifs)]
    return page("Requests in the twin", facts, "".join(body))


def fleet_of(row: Row) -> str:
    """`4 replicas`, or a mixed fleet as it is written."""
    return row.fleet or f"{row.replicas} replicas"


def _busiest(router: str, rows: Sequence[Row]) -> list[str]:
    """Timelines of a router at its highest load: the smallest fleet of one kind, and every mixed one."""
    sampled = [row for row in rows if row.router == router and row.samples]
    alike = [row for row in sampled if row.fleet is None]
    chosen = [max(alike, key=lambda row: (row.speedup, -row.replicas))] if alike else []
    for fleet in dict.fromkeys(row.fleet for row in sampled if row.fleet is not None):
        chosen.append(max((row for row in sampled if row.fleet == fleet), key=lambda row: row.speedup))
    return [part for row in chosen for part in _timelines(row)]


def _curves(routers: Sequence[str], rows: Sequence[Row], fleet: str) -> list[str]:
    wanted: tuple[tuple[str, str, Callable[[Row], float]], ...] = (
        ("TTFT, mean", "s", lambda row: row.ttft_s.mean),
        ("TTFT, p99", "s", lambda row: row.ttft_s.p99),
        ("goodput, share of requests", "share", lambda row: row.goodput_share),
        ("output tokens per second", "tok/s", lambda row: row.output_tokens_per_s),
    )
    found = []
    single = len({row.speedup for row in rows}) == 1
    for name, unit, value in wanted:
        if single:  # one load is no curve
            bars = [(row.router, value(row), math.nan) for row in rows]
            found.append(figure(f"{name}, {fleet}, load × {rows[0].speedup:g}", bar_chart(bars, unit)))
            continue
        series = [
            Series(router, sorted((row.speedup, value(row)) for row in rows if row.router == router))
            for router in routers
        ]
        found.append(figure(f"{name}, {fleet}", line_chart(series, "load ×", unit)))
    return found


def _timelines(row: Row) -> list[str]:
    samples = row.samples
    where = f"{row.router}, {fleet_of(row)}, load × {row.speedup:g}"
    shown = _shown(row)
    names = [f"r{at} {row.labels[at]}" if row.labels else f"r{at}" for at in range(row.replicas)]
    kv = [Series(names[at], [(one.at_s, one.kv_usage[at]) for one in samples]) for at in shown]
    running = [Series(names[at], [(one.at_s, float(one.running[at])) for one in samples]) for at in shown]
    queue = [
        Series("in the gateway", [(one.at_s, float(one.queued)) for one in samples]),
        Series("in engines", [(one.at_s, float(sum(one.waiting))) for one in samples]),
    ]
    return [
        figure(f"KV cache in use: {where}", line_chart(kv, "s", "share")),
        figure(f"requests running: {where}", line_chart(running, "s", "requests")),
        figure(f"requests waiting: {where}", line_chart(queue, "s", "requests")),
    ]


def _shown(row: Row) -> list[int]:
    """At most eight replicas, of every kind some."""
    if not row.labels:
        return list(range(min(row.replicas, _MOST_SHOWN)))
    kinds = list(dict.fromkeys(row.labels))
    each = max(1, _MOST_SHOWN // len(kinds))
    first = [[at for at, label in enumerate(row.labels) if label == kind][:each] for kind in kinds]
    return sorted(at for group in first for at in group)[:_MOST_SHOWN]


def _what_if_table(rows: Sequence[Row], what_ifs: Sequence[Row]) -> str:
    headers = (
        "router",
        "change",
        "TTFT mean ms",
        "good %",
        "output tok/s",
        "CNY/hour",
        "CNY per million output tokens",
    )
    lines: list[list[str]] = []
    seen: set[tuple[str, str]] = set()
    for other in what_ifs:
        before = _before(rows, other)
        if (other.router, other.base) not in seen:
            seen.add((other.router, other.base))
            lines.append(
                [other.router, f"as it is: {_is(before)}, load × {before.speedup:g}", *_worth(before)]
            )  # fmt: skip
        lines.append([other.router, other.change, *_worth(other)])
    return table(headers, lines)


def _before(rows: Sequence[Row], other: Row) -> Row:
    """The row a what-if changes something of."""
    return next(
        row for row in rows if (row.router, row.speedup, row.base) == (other.router, other.speedup, other.base)
    )  # fmt: skip


def _is(row: Row) -> str:
    if row.autoscaler is not None:
        return name_of(row) if row.target is None else f"{name_of(row)} at {row.target:g}"
    return row.fleet or str(row.replicas)


def _worth(row: Row) -> list[str]:
    hourly, million = row.cny_per_hour, row.cny_per_million_tokens
    return [
        f"{row.ttft_s.mean * 1e3:,.0f}", f"{row.goodput_share:.1%}", f"{row.output_tokens_per_s:,.0f}",
        "–" if hourly is None else f"{hourly:,.2f}", "–" if million is None else f"{million:,.2f}",
    ]  # fmt: skip


def _cells(row: Row) -> list[str]:
    times = (row.ttft_s.mean, row.ttft_s.p50, row.ttft_s.p90, row.ttft_s.p99)
    return [
        row.router, _is(row), f"{row.speedup:g}", *(f"{value * 1e3:,.0f}" for value in times),
        f"{row.itl_s.mean * 1e3:.1f}", f"{row.itl_s.p99 * 1e3:.1f}", f"{row.e2e_s.mean * 1e3:,.0f}",
        f"{row.goodput_share * 100:.1f}", f"{row.output_tokens_per_s:,.0f}", f"{row.reuse * 100:.1f}", str(row.shed),
        str(row.preemptions), f"{row.busy_share * 100:.0f}",
    ]  # fmt: skip
