"""`roadbed twin loans`: training beside a diurnal service, with a static partition and with loans."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click
import msgspec

from roadbed.cli.base import dim, json_option, print_json, print_table, talk
from roadbed.cli.twin_base import FILE, Ratio, counted, trace_options, write_report
from roadbed.twin.jobs_report import lines_of, loans_report
from roadbed.twin.loans import ARRANGEMENTS, STATIC, LoansRow, run_loans
from roadbed.twin.parallel import run_all
from roadbed.twin.queueing import make_queueing
from roadbed.twin.scenario import Settings, drawn, sized
from roadbed.twin.service import ServiceSpec, read_curve
from roadbed.twin.stats import estimate
from roadbed.twin.trace import read_trace, window

_Run = tuple[str, int, bool]


@click.command("loans")
@trace_options
@click.option("--demand", required=True, type=FILE, help="Request rate of a day: CSV with timestamp_anon and value.")
@click.option("--load", type=Ratio(0.01, 100), default=0.9, show_default=True, help="Of training on its own machines.")
@click.option(
    "--service", "share", type=Ratio(0.01, 100), default=1.0, show_default=True, help="Its machines ÷ training's."
)
@click.option("--policy", default="roadbed", show_default=True, help="Queueing of training, as in `twin jobs`.")
@json_option
def command(
    trace: Path,
    demand: Path,
    load: float,
    share: float,
    policy: str,
    seeds: tuple[int, ...],
    as_json: bool,
    **given: Any,
) -> None:
    """What does it bring to lend a service's idle machines to training, and what does it cost the service?

    \b
      roadbed twin loans --trace philly.csv --demand qps.csv --days 14

    The service is guaranteed its peak. Without loans it keeps that day and night; with them, what its forecast does not
    need is lent and asked back in time. A request suffers when the load is above what ready replicas carry.
    """
    make_queueing(policy)
    jobs = window(read_trace(trace), given["from_day"], given["days"])
    settings = Settings(sample=given["sample"], know=given["know"], checkpoint_s=given["checkpoint"])
    shared = {
        "jobs": jobs, "curve": read_curve(demand), "load": load, "share": share, "settings": settings,
        "per_node": given["per_node"], "policy": policy,
    }  # fmt: skip
    runs: list[_Run] = [
        (name, seed, given["report"] is not None and seed == seeds[0]) for seed in seeds for name in ARRANGEMENTS
    ]
    with counted("twin loans") as told:
        rows = run_all(_one, shared, runs, num_workers=given["workers"], told=told)
    rows.sort(key=lambda row: (ARRANGEMENTS.index(row.arrangement), seeds.index(row.seed)))
    facts = [f"{len(jobs):,} jobs; training at load {load:g}, the service's machines {share:g} × training's."]
    if given["report"] is not None:
        write_report(given["report"], loans_report(rows, STATIC, facts))
    if as_json:
        print_json({"rows": [_plain(row) for row in rows]})
        return
    groups = [(name, [(row.seed, row.figures) for row in rows if row.arrangement == name]) for name in ARRANGEMENTS]
    headers, lines = lines_of(groups, STATIC)
    for line in lines:
        mine = [row for row in rows if row.arrangement == line[0]]
        line.append(str(estimate([100 * row.violations for row in mine])))
        line.append(str(estimate([row.num_returns for row in mine])))
    headers += ["SLO violations %", "returns"]
    print_table([header.upper() for header in headers], lines, right=range(1, len(headers)))
    talk(dim(facts[0]))


def _one(shared: Mapping[str, Any], run: _Run) -> LoansRow:
    arrangement, seed, pictures = run
    settings: Settings = shared["settings"]
    per_node: int = shared["per_node"]
    jobs = drawn(shared["jobs"], settings.sample, seed)
    training = len(sized(jobs, shared["load"], per_node))
    served = max(1, round(training * shared["share"]))
    nodes = sized(jobs, shared["load"], per_node, num_extra=served)
    spec = ServiceSpec(peak=served * per_node)
    return run_loans(
        jobs, nodes, shared["curve"], spec, arrangement, seed, settings, policy=shared["policy"], pictures=pictures
    )


def _plain(row: LoansRow) -> dict[str, Any]:
    figures = msgspec.to_builtins(row.figures)
    return {
        "policy": row.arrangement, "seed": row.seed, **figures, "slo_violations": row.violations,
        "num_returns": row.num_returns,
    }  # fmt: skip
