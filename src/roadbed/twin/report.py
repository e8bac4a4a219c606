"""The page of a fill-up comparison: allocation, what was lost and why, per list of pods.

Each plot stands over the table its numbers come from. Unmet demand is drawn instead of allocation: the curves of all
good policies lie on one line until the cluster is nearly full, and only what is missing tells them apart.
"""

from collections.abc import Mapping, Sequence
from html import escape

from roadbed.twin.fill import FillRow
from roadbed.twin.page import figure, page, table
from roadbed.twin.stats import estimate, paired
from roadbed.twin.svg import Series, bar_chart, line_chart


def fill_report(rows: Sequence[FillRow], baseline: str) -> str:
    """The page of `roadbed twin schedule`: allocation, fragments and their differences, per list of pods."""
    seeds = sorted({row.seed for row in rows})
    facts = [
        f"Fill-up protocol of FGD's evaluation, {len(seeds)} seeds ({seeds[0]}..{seeds[-1]}); intervals are 95 %.",
        f"Differences are to {baseline}, seed by seed.",
    ]
    parts = []
    for workload in dict.fromkeys(row.workload for row in rows):
        mine = [row for row in rows if row.workload == workload]
        parts.append(f"<h2>{escape(workload)}</h2>{_fill_figures(mine)}{_fill_table(mine, baseline)}")
    return page("roadbed twin schedule", facts, "".join(parts))


def _by_policy(rows: Sequence[FillRow]) -> Mapping[str, list[FillRow]]:
    found: dict[str, list[FillRow]] = {}
    for row in rows:
        found.setdefault(row.policy, []).append(row)
    return found


def _fill_figures(rows: Sequence[FillRow]) -> str:
    keys = list(rows[0].alloc)
    lost, fragments, bars = [], [], []
    for policy, mine in _by_policy(rows).items():
        each = [(float(key), estimate([row.alloc[key] for row in mine]).mean) for key in keys]
        lost.append(Series(policy, [(x, max(0.0, min(x, 100.0) - y)) for x, y in each]))
        fragments.append(Series(policy, [(float(key), estimate([row.frag[key] for row in mine]).mean) for key in keys]))
        at = estimate([row.alloc[_at(keys)] for row in mine])
        bars.append((policy, at.mean, at.half))
    arrived = "arrived demand, % of all accelerators"
    return (
        "<main>"
        + figure(f"Allocated at {_at(keys)} % arrived, %", bar_chart(bars, "allocated, %", from_zero=False))
        + figure("Demand that could be met and was not, % of all accelerators", line_chart(lost, arrived, "unmet, %"))
        + figure("Fragments, % of all accelerators", line_chart(fragments, arrived, "fragments, %"))
        + "</main>"
    )


def _fill_table(rows: Sequence[FillRow], baseline: str) -> str:
    keys = list(rows[0].alloc)
    at = _at(keys)
    groups = _by_policy(rows)
    theirs = {row.seed: row.alloc[at] for row in groups.get(baseline, [])}
    lines = []
    for policy, mine in groups.items():
        difference = paired({row.seed: row.alloc[at] for row in mine}, theirs)
        cells = [str(estimate([row.alloc[key] for row in mine])) for key in keys if float(key) >= 80]
        lines.append([policy, *cells, "" if difference is None or policy == baseline else str(difference)])
    headers = ["policy", *(f"@{key}" for key in keys if float(key) >= 80), f"vs {baseline} @{at}"]
    return table(headers, lines)


def _at(keys: Sequence[str]) -> str:
    return "100" if "100" in keys else keys[-1]
