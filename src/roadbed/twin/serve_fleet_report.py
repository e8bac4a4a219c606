"""The part of the page about fleets that change: what each autoscaler used, and replicas over time against load."""

import itertools
import math
from collections.abc import Sequence

from roadbed.twin.page import figure, table
from roadbed.twin.serve_figures import Row
from roadbed.twin.svg import Series, line_chart

HEADERS = (
    "router", "autoscaler", "target", "load ×", "good %", "GPU-hours", "CNY", "CNY per million output tokens",
    "changes", "most", "mean", "TTFT mean ms", "p99", "ITL mean ms", "shed",
)  # fmt: skip


def scaled_section(rows: Sequence[Row]) -> list[str]:
    """HTML parts; nothing where no fleet changed. Rows of fixed fleets are references."""
    if not rows:
        return []
    parts = ["<h2>Replicas that come and go</h2>", table(HEADERS, [cells(row) for row in rows]), "<main>"]
    for router, speedup in dict.fromkeys((row.router, row.speedup) for row in rows):
        mine = [row for row in rows if (row.router, row.speedup) == (router, speedup)]
        where = f"{router}, load × {speedup:g}"
        sampled = [row for row in mine if row.samples]
        for target in sorted({row.target for row in sampled if row.target is not None}):
            parts += _over_time([row for row in sampled if row.target == target], target, where)
        if len({row.target for row in mine if row.target is not None}) > 1:
            parts.append(figure(f"GPU-hours for goodput: {where}", line_chart(_frontiers(mine), "GPU-hours", "share")))
    return [*parts, "</main>"]


def cells(row: Row) -> list[str]:
    """One line of the table; a dash for what is unknown."""
    return [
        row.router, name_of(row), _known(row.target, "g"), f"{row.speedup:g}", f"{row.goodput_share * 100:.2f}",
        _known(row.gpu_hours, ",.2f"), _known(row.cost_cny, ",.2f"), _known(row.cny_per_million_tokens, ",.2f"),
        _known(row.scale_events, "d"), _known(row.peak_replicas, "d"), _known(row.mean_replicas, ",.2f"),
        f"{row.ttft_s.mean * 1e3:,.0f}", f"{row.ttft_s.p99 * 1e3:,.0f}", f"{row.itl_s.mean * 1e3:.1f}", str(row.shed),
    ]  # fmt: skip


def name_of(row: Row) -> str:
    """`hpa`, or `fixed 6, as good as hpa`."""
    if row.autoscaler != "fixed":
        return row.autoscaler or ""
    return f"fixed {row.peak_replicas}" + (f", {row.change}" if row.change else "")


def _over_time(rows: Sequence[Row], target: float, where: str) -> list[str]:
    """Replicas by autoscaler over the load in replicas' worth (of the first), and requests per second below it."""
    first = rows[0].samples
    load = [(one.at_s, (sum(one.running) + sum(one.waiting) + one.queued) / target) for one in first]
    curves = [
        Series(name_of(row), [(one.at_s, float(len(one.running) + one.starting)) for one in row.samples], steps=True)
        for row in rows
    ]
    curves.append(Series(f"load under {name_of(rows[0])} ÷ target", load))
    rates = [
        (after.at_s, (after.arrived - before.arrived) / (after.at_s - before.at_s))
        for before, after in itertools.pairwise(first)
        if after.at_s > before.at_s
    ]
    return [
        figure(f"replicas, starting ones included, target {target:g}: {where}", line_chart(curves, "s", "replicas")),
        figure(f"arrivals: {where}", line_chart([Series("requests", rates)], "s", "per second")),
    ]


def _frontiers(rows: Sequence[Row]) -> list[Series]:
    names = dict.fromkeys(row.autoscaler or "" for row in rows)
    return [
        Series(name, sorted((row.gpu_hours or 0.0, row.goodput_share) for row in rows if row.autoscaler == name))
        for name in names
    ]


def _known(value: float | None, form: str) -> str:
    return "–" if value is None or not math.isfinite(value) else format(value, form)
