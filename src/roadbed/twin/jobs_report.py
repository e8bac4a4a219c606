"""The page of a jobs comparison: who waited, what was allocated when and to whom, which node did what."""

from collections.abc import Callable, Sequence
from html import escape

from roadbed.twin.loans import LoansRow
from roadbed.twin.metrics import Figures
from roadbed.twin.page import figure, page, table
from roadbed.twin.scenario import JobsRow, Pictures
from roadbed.twin.stats import estimate, paired_ratio
from roadbed.twin.svg import NUM_COLOURS, Series, bar_chart, heat_map, line_chart

HOUR_S = 3600.0
COLUMNS: tuple[tuple[str, Callable[[Figures], float]], ...] = (
    ("queue h", lambda one: one.queue_s.mean / HOUR_S),
    ("queue p50 h", lambda one: one.queue_s.p50 / HOUR_S),
    ("queue p99 h", lambda one: one.queue_s.p99 / HOUR_S),
    ("JCT h", lambda one: one.jct_s.mean / HOUR_S),
    ("JCT p99 h", lambda one: one.jct_s.p99 / HOUR_S),
    ("allocated %", lambda one: 100 * one.allocation),
    ("useful %", lambda one: 100 * one.utilisation),
    ("fragments %", lambda one: 100 * one.fragmentation),
    ("goodput %", lambda one: 100 * one.goodput),
    ("preempted", lambda one: float(one.num_preemptions)),
    ("lost device-h", lambda one: one.lost_device_h),
)
"""The figures shown to people: heading and value."""
RATIOS: tuple[tuple[str, Callable[[Figures], float]], ...] = (
    ("queue", lambda one: one.queue_s.mean),
    ("queue p99", lambda one: one.queue_s.p99),
    ("JCT", lambda one: one.jct_s.mean),
)
"""What is compared with the baseline, as baseline ÷ own: how many times less."""


def lines_of(
    groups: Sequence[tuple[str, Sequence[tuple[int, Figures]]]], baseline: str
) -> tuple[list[str], list[list[str]]]:
    """Headings and rows of the table: means over seeds with intervals, then ratios to the baseline, paired by seed.

    groups: (name, [(seed, figures)])."""
    reference = {seed: one for name, rows in groups if name == baseline for seed, one in rows}
    headers = ["policy", *(title for title, _ in COLUMNS), *(f"{baseline} ÷ own: {title}" for title, _ in RATIOS)]
    lines = []
    for name, rows in groups:
        cells = [str(estimate([value(one) for _, one in rows])) for _, value in COLUMNS]
        for _, value in RATIOS:
            mine = {seed: value(one) for seed, one in rows}
            ratio = paired_ratio(mine, {seed: value(one) for seed, one in reference.items()})
            cells.append("" if name == baseline or ratio is None else f"{ratio}×")
        lines.append([name, *cells])
    return headers, lines


def jobs_report(rows: Sequence[JobsRow], baseline: str, facts: Sequence[str]) -> str:
    """The page of `roadbed twin jobs`. Rows of the first seed should have pictures: they are what is drawn."""
    groups = [(name, [(r.seed, r.figures) for r in rows if r.policy == name]) for name in _names(rows)]
    drawn = [(row.policy, row.pictures) for row in rows if row.pictures is not None]
    headers, lines = lines_of(groups, baseline)
    body = table(headers, lines) + _bars(groups) + _curves(drawn) + "".join(_detail(*one) for one in drawn)
    return page("roadbed twin jobs", facts, body)


def loans_report(rows: Sequence[LoansRow], baseline: str, facts: Sequence[str]) -> str:
    """The page of `roadbed twin loans`."""
    names = list(dict.fromkeys(row.arrangement for row in rows))
    groups = [(name, [(row.seed, row.figures) for row in rows if row.arrangement == name]) for name in names]
    headers, lines = lines_of(groups, baseline)
    served = [
        [name, str(estimate([100 * row.violations for row in mine])), str(estimate([row.num_returns for row in mine]))]
        for name in names
        for mine in [[row for row in rows if row.arrangement == name]]
    ]
    charts = [
        figure(
            f"{row.arrangement}: the service's load and its ready replicas",
            line_chart(
                [
                    Series("load", [(at / HOUR_S, load) for at, load, _ in row.curve]),
                    Series("ready", [(at / HOUR_S, float(ready)) for at, _, ready in row.curve], steps=True),
                ],
                "hours",
                "replicas",
            ),
        )
        for row in rows
        if row.curve
    ]
    body = table(headers, lines) + table(["policy", "SLO violations %", "returns"], served)
    return page("roadbed twin loans", facts, body + _bars(groups) + f"<main>{''.join(charts)}</main>")


def _bars(groups: Sequence[tuple[str, Sequence[tuple[int, Figures]]]]) -> str:
    charts = []
    for title, value in (COLUMNS[0], COLUMNS[2], COLUMNS[3]):
        means = [(name, estimate([value(one) for _, one in rows])) for name, rows in groups]
        charts.append(figure(title, bar_chart([(name, each.mean, each.half) for name, each in means], title)))
    return f"<main>{''.join(charts)}</main>"


def _curves(drawn: Sequence[tuple[str, Pictures]]) -> str:
    if not drawn:
        return ""
    used = [Series(name, _over(one, [100 * total / one.capacity for total in _total(one)])) for name, one in drawn]
    line = [Series(name, _over(one, one.waiting)) for name, one in drawn]
    return (
        "<main>"
        + figure("Allocated, % of all devices", line_chart(used, "hours", "allocated, %"))
        + figure("Jobs waiting", line_chart(line, "hours", "jobs"))
        + "</main>"
    )


def _detail(name: str, one: Pictures) -> str:
    largest = sorted(one.used, key=lambda quota: -sum(one.used[quota]))
    shown = [Series(quota, _over(one, one.used[quota])) for quota in largest[: NUM_COLOURS - 1]]
    rest = [sum(values) for values in zip(*(one.used[quota] for quota in largest[NUM_COLOURS - 1 :]), strict=True)]
    if rest:
        shown.append(Series(f"{len(largest) - NUM_COLOURS + 1} others", _over(one, rest)))
    hours = one.until_s / HOUR_S
    return (
        f"<h2>{escape(name)}</h2><main>"
        + figure("Devices held, by quota", line_chart(shown, "hours", "devices"))
        + figure(f"{len(one.nodes)} nodes × time: share of devices held", heat_map(one.nodes, "hours", "nodes", hours))
        + "</main>"
    )


def _names(rows: Sequence[JobsRow]) -> list[str]:
    return list(dict.fromkeys(row.policy for row in rows))


def _total(one: Pictures) -> list[float]:
    return [sum(values) for values in zip(*one.used.values(), strict=True)]


def _over(one: Pictures, values: Sequence[float]) -> list[tuple[float, float]]:
    each = one.until_s / HOUR_S / max(1, len(values))
    return [((at + 0.5) * each, value) for at, value in enumerate(values)]
