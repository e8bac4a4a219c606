"""The page of `roadbed twin serve`: curves over load by router, replicas over time, what a change is worth."""

import math
from collections.abc import Callable, Mapping, Sequence

from roadbed.twin.page import figure, page, table
from roadbed.twin.serve_figures import Row
from roadbed.twin.svg import Series, bar_chart, line_chart

_HEADERS = (
    "router", "replicas", "load ×", "TTFT mean ms", "p50", "p90", "p99", "ITL mean ms", "p99", "E2E mean ms", "good %",
    "output tok/s", "reuse %", "shed", "preempted", "busy %",
)  # fmt: skip


def report(rows: Sequence[Row], what_ifs: Sequence[Row], costs: Mapping[str, float], facts: Sequence[str]) -> str:
    """HTML. what_ifs: the same routers with one replica more, or another profile; costs: CNY per replica-hour."""
    routers = list(dict.fromkeys(row.router for row in rows))
    body = ["<h2>Figures</h2>", table(_HEADERS, [_cells(row) for row in rows]), "<h2>Over load</h2><main>"]
    for replicas in sorted({row.replicas for row in rows}):
        mine = [row for row in rows if row.replicas == replicas]
        body += _curves(routers, mine, replicas)
    body.append("</main><h2>Over time</h2><main>")
    for router in routers:
        sampled = [row for row in rows if row.router == router and row.samples]
        if sampled:
            body += _timelines(max(sampled, key=lambda row: (row.speedup, -row.replicas)))
    body.append("</main>")
    if what_ifs:
        body += ["<h2>What if</h2>", _what_if_table(rows, what_ifs, costs)]
    return page("Requests in the twin", facts, "".join(body))


def cost_of(row: Row, costs: Mapping[str, float]) -> tuple[float, float]:
    """(CNY per hour, CNY per million output tokens) of a run."""
    hourly = costs.get(row.profile, 0.0) * row.replicas
    tokens = row.output_tokens_per_s * 3600
    return hourly, hourly / tokens * 1e6 if tokens else 0.0


def _curves(routers: Sequence[str], rows: Sequence[Row], replicas: int) -> list[str]:
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
            found.append(figure(f"{name}, {replicas} replicas, load × {rows[0].speedup:g}", bar_chart(bars, unit)))
            continue
        series = [
            Series(router, sorted((row.speedup, value(row)) for row in rows if row.router == router))
            for router in routers
        ]
        found.append(figure(f"{name}, {replicas} replicas", line_chart(series, "load ×", unit)))
    return found


def _timelines(row: Row) -> list[str]:
    samples = row.samples
    where = f"{row.router}, {row.replicas} replicas, load × {row.speedup:g}"
    shown = range(min(row.replicas, 8))
    kv = [Series(f"r{at}", [(one.at_s, one.kv_usage[at]) for one in samples]) for at in shown]
    running = [Series(f"r{at}", [(one.at_s, float(one.running[at])) for one in samples]) for at in shown]
    queue = [
        Series("in the gateway", [(one.at_s, float(one.queued)) for one in samples]),
        Series("in engines", [(one.at_s, float(sum(one.waiting))) for one in samples]),
    ]
    return [
        figure(f"KV cache in use: {where}", line_chart(kv, "s", "share")),
        figure(f"requests running: {where}", line_chart(running, "s", "requests")),
        figure(f"requests waiting: {where}", line_chart(queue, "s", "requests")),
    ]


def _what_if_table(rows: Sequence[Row], what_ifs: Sequence[Row], costs: Mapping[str, float]) -> str:
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
    for other in what_ifs:
        before = next(
            row for row in sorted(rows, key=lambda row: -row.replicas)
            if (row.router, row.speedup) == (other.router, other.speedup)
        )  # fmt: skip
        if not any(line[0] == other.router for line in lines):
            lines.append(
                [other.router, f"as it is: {before.replicas}, load × {before.speedup:g}", *_worth(before, costs)]
            )
        swapped = other.profile != before.profile
        change = f"on {other.profile}" if swapped else f"+{other.replicas - before.replicas} replica"
        lines.append([other.router, change, *_worth(other, costs)])
    return table(headers, lines)


def _worth(row: Row, costs: Mapping[str, float]) -> list[str]:
    hourly, million = cost_of(row, costs)
    return [
        f"{row.ttft_s.mean * 1e3:,.0f}", f"{row.goodput_share:.1%}", f"{row.output_tokens_per_s:,.0f}",
        f"{hourly:,.2f}" if hourly else "–", f"{million:,.2f}" if hourly else "–",
    ]  # fmt: skip


def _cells(row: Row) -> list[str]:
    times = (row.ttft_s.mean, row.ttft_s.p50, row.ttft_s.p90, row.ttft_s.p99)
    return [
        row.router, str(row.replicas), f"{row.speedup:g}", *(f"{value * 1e3:,.0f}" for value in times),
        f"{row.itl_s.mean * 1e3:.1f}", f"{row.itl_s.p99 * 1e3:.1f}", f"{row.e2e_s.mean * 1e3:,.0f}",
        f"{row.goodput_share * 100:.1f}", f"{row.output_tokens_per_s:,.0f}", f"{row.reuse * 100:.1f}", str(row.shed),
        str(row.preemptions), f"{row.busy_share * 100:.0f}",
    ]  # fmt: skip
