"""Queueing and loaning on Philly's trace, and how long the whole of it takes.

Queueing: three windows of the trace, all virtual clusters as quotas, machines for a load of 0.9; mean and p99 queue
time and JCT of `roadbed` against one FIFO line and against fair shares without backfill, as ratios (theirs ÷ ours).
Loaning: training beside a service of equal size whose load follows a day of image-generation requests; a static
partition against loans, for several loads of the machines that are training's own: what a loan is worth depends on how
much there is to wait for. Speed: all 82,247 jobs, end to end, on one core.

    python -m bench.twin_jobs DATA [--parts queueing,loans,speed] [--save]
"""

import argparse
import json
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from bench.common import save
from roadbed.twin.loans import ARRANGEMENTS, LoansRow, run_loans
from roadbed.twin.parallel import run_all
from roadbed.twin.scenario import JobsRow, Settings, run_jobs, sized
from roadbed.twin.service import ServiceSpec, read_curve
from roadbed.twin.trace import TraceJob, read_trace, window

LOAD, PER_NODE = 0.9, 8
WINDOWS = ((20.0, 14.0), (40.0, 14.0), (60.0, 14.0))
"""(first day, days): each begins on an empty cluster."""
LOADS = (0.9, 1.0, 1.1, 1.2)
"""Work ÷ (own machines × the days in which jobs arrive). Some is done after that, so fewer devices are `busy`."""
POLICIES = ("roadbed", "defrag", "easy", "fair", "fifo")
SETTINGS = Settings()


def replay(shared: Mapping[str, Any], run: tuple[str, tuple[float, float]]) -> JobsRow:
    policy, (from_day, days) = run
    jobs: list[TraceJob] = window(shared["jobs"], from_day, days)
    began_s = time.process_time()
    row = run_jobs(jobs, sized(jobs, LOAD, PER_NODE), policy, int(from_day), SETTINGS)
    return msgspec.structs.replace(row, cpu_s=time.process_time() - began_s)


def lend(shared: Mapping[str, Any], run: tuple[str, tuple[float, float], float]) -> LoansRow:
    arrangement, (from_day, days), load = run
    jobs: list[TraceJob] = window(shared["jobs"], from_day, days)
    num = len(sized(jobs, load, PER_NODE))
    nodes = sized(jobs, load, PER_NODE, num_extra=num)
    spec = ServiceSpec(peak=num * PER_NODE)
    return run_loans(jobs, nodes, shared["curve"], spec, arrangement, int(from_day), SETTINGS)


def queueing(jobs: list[TraceJob]) -> list[dict[str, Any]]:
    runs = [(policy, each) for each in WINDOWS for policy in POLICIES]
    rows = run_all(replay, {"jobs": jobs}, runs)
    found = []
    for at, (from_day, days) in enumerate(WINDOWS):
        here = {row.policy: row for row in rows[at * len(POLICIES) : (at + 1) * len(POLICIES)]}
        ours = here["roadbed"].figures
        for policy, row in here.items():
            one = row.figures
            found.append(
                {
                    "kind": "queueing", "from_day": from_day, "days": days, "policy": policy, "jobs": one.num_jobs,
                    **_figures(row), "cpu_s": round(row.cpu_s, 1),
                    "queue_ratio": _ratio(one.queue_s.mean, ours.queue_s.mean),
                    "queue_p99_ratio": _ratio(one.queue_s.p99, ours.queue_s.p99),
                    "jct_ratio": _ratio(one.jct_s.mean, ours.jct_s.mean),
                    "jct_p99_ratio": _ratio(one.jct_s.p99, ours.jct_s.p99),
                }
            )  # fmt: skip
    return found


def loaning(jobs: list[TraceJob], curve: list[float]) -> list[dict[str, Any]]:
    pairs = [(each, load) for each in WINDOWS for load in LOADS]
    rows = run_all(lend, {"jobs": jobs, "curve": curve}, [(name, *pair) for pair in pairs for name in ARRANGEMENTS])
    found = []
    for at, ((from_day, days), load) in enumerate(pairs):
        static, loans = rows[2 * at], rows[2 * at + 1]
        alone_s = static.figures.jct_s.mean - static.figures.queue_s.mean  # what it would be if nobody ever waited
        for row in (static, loans):
            found.append(
                {
                    "kind": "loans", "from_day": from_day, "days": days, "load": load, "policy": row.arrangement,
                    **_figures(row),
                    "busy": round(2 * row.figures.allocation, 3),  # of training's own machines, half of all
                    "queue_ratio": _ratio(static.figures.queue_s.mean, row.figures.queue_s.mean),
                    "jct_ratio": _ratio(static.figures.jct_s.mean, row.figures.jct_s.mean),
                    "jct_ratio_possible": _ratio(static.figures.jct_s.mean, alone_s),
                    "slo_violations_percent": round(100 * row.violations, 4), "num_returns": row.num_returns,
                }
            )  # fmt: skip
    return found


def speed(jobs: list[TraceJob]) -> list[dict[str, Any]]:
    row = replay({"jobs": jobs}, ("roadbed", (0.0, 0.0)))
    return [
        {
            "kind": "speed",
            "policy": "roadbed",
            "jobs": row.figures.num_jobs,
            **_figures(row),
            "cpu_s": round(row.cpu_s, 1),
        }
    ]


def _figures(row: JobsRow | LoansRow) -> dict[str, Any]:
    one = row.figures
    return {
        "queue_h": round(one.queue_s.mean / 3600, 3), "queue_p99_h": round(one.queue_s.p99 / 3600, 2),
        "jct_h": round(one.jct_s.mean / 3600, 3), "jct_p99_h": round(one.jct_s.p99 / 3600, 2),
        "allocation": round(one.allocation, 4), "goodput": round(one.goodput, 5), "preemptions": one.num_preemptions,
        "lost_device_h": round(one.lost_device_h, 1), "stuck": one.num_stuck,
    }  # fmt: skip


def _ratio(theirs: float, ours: float) -> float | None:
    return round(theirs / ours, 2) if ours > 0 else None


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("data", nargs="?", default=os.environ.get("ROADBED_BENCH_DATA"), type=Path)
    parser.add_argument("--parts", default="queueing,loans,speed")
    parser.add_argument("--save", action="store_true")
    options = parser.parse_args()
    if options.data is None:
        parser.error("name the folder with the traces, or set ROADBED_BENCH_DATA")
    data = Path(options.data)
    jobs = read_trace(data / "jobs" / "philly.csv")
    parts = {
        "queueing": lambda: queueing(jobs),
        "loans": lambda: loaning(jobs, read_curve(data / "requests" / "genai_qps.csv")),
        "speed": lambda: speed(jobs),
    }
    found = []
    for name in options.parts.split(","):
        rows = parts[name]()
        found += rows
        for row in rows:
            print(json.dumps(row), flush=True)
    if options.save:
        print(save("twin-jobs", "python -m bench.twin_jobs DATA --save", found))


if __name__ == "__main__":
    main()
