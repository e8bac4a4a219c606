"""`roadbed twin jobs`: a trace of jobs under several policies, by the scheduler that runs the real cluster."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import click
import msgspec

from roadbed.cli.base import dim, json_option, plural, print_json, print_table, talk
from roadbed.cli.twin_base import FILE, Names, Ratio, check_baseline, counted, trace_options, write_report
from roadbed.errors import UsageError
from roadbed.spec.inventory import NodeInfo
from roadbed.twin.machines import read_machines
from roadbed.twin.parallel import run_all
from roadbed.twin.queueing import QUEUEING_NAMES, make_queueing
from roadbed.twin.scenario import JobsRow, Settings, drawn, run_jobs, sized
from roadbed.twin.trace import TraceJob, read_trace, window

_Run = tuple[str, int, bool]


@click.command("jobs")
@trace_options
@click.option("--cluster", type=FILE, help="Machines: YAML of kind: cluster, or openb nodes CSV.")
@click.option("--load", type=Ratio(0.01, 100), help="Without --cluster: machines to make this load. Default: 0.9.")
@click.option(
    "--policy", "policies", type=Names(), default="roadbed,fair,fifo", show_default=True,
    help=f"{', '.join(QUEUEING_NAMES)}; /PLACEMENT puts another placement under one.",
)  # fmt: skip
@click.option("--baseline", help="Compare with this policy. Default: fifo, else the last one.")
@click.option("--mtbf", type=Ratio(0, 1e6), default=0.0, help="Mean hours between failures of a node. Default: never.")
@json_option
def command(
    trace: Path,
    cluster: Path | None,
    load: float | None,
    policies: tuple[str, ...],
    baseline: str | None,
    mtbf: float,
    seeds: tuple[int, ...],
    as_json: bool,
    **given: Any,
) -> None:
    """Replay a trace of jobs: queue time, JCT, allocation, preemptions and lost work per policy.

    \b
      roadbed twin jobs --trace philly.csv --load 0.9 --policy roadbed,fair,fifo
      roadbed twin jobs --trace jobs.jsonl --cluster cluster.yaml --policy roadbed,easy/bestfit --report jobs.html

    Every quota of the trace is guaranteed its share of the machines and lends what it does not use. The scheduler
    learns durations from finished jobs unless the trace declares them or --know exact tells it.
    """
    for policy in policies:
        make_queueing(policy)
    if cluster is not None and load is not None:
        raise UsageError("--cluster and --load exclude each other: machines given, or sized to a load", field="load")
    reference = check_baseline(baseline, policies, "fifo")
    jobs = window(read_trace(trace), given["from_day"], given["days"])
    settings = Settings(
        sample=given["sample"], know=given["know"], checkpoint_s=given["checkpoint"], node_mtbf_h=mtbf
    )  # fmt: skip
    machines = read_machines(cluster) if cluster else None
    shared = {"jobs": jobs, "nodes": machines, "load": load or 0.9, "per_node": given["per_node"], "settings": settings}
    runs: list[_Run] = [
        (policy, seed, given["report"] is not None and seed == seeds[0]) for seed in seeds for policy in policies
    ]
    with counted("twin jobs") as told:
        rows = run_all(_one, shared, runs, num_workers=given["workers"], told=told)
    rows.sort(key=lambda row: (policies.index(row.policy), seeds.index(row.seed)))
    first = drawn(jobs, settings.sample, seeds[0])
    facts = _facts(first, machines or sized(first, load or 0.9, given["per_node"]), seeds)
    if given["report"] is not None:
        from roadbed.twin.jobs_report import jobs_report

        write_report(given["report"], jobs_report(rows, reference, facts))
    if as_json:
        print_json({"rows": [_plain(row) for row in rows]})
        return
    _show(rows, policies, reference, facts)


def _one(shared: Mapping[str, Any], run: _Run) -> JobsRow:
    policy, seed, pictures = run
    settings: Settings = shared["settings"]
    jobs = drawn(shared["jobs"], settings.sample, seed)
    nodes: list[NodeInfo] = shared["nodes"] or sized(jobs, shared["load"], shared["per_node"])
    return run_jobs(jobs, nodes, policy, seed, settings, pictures=pictures)


def _plain(row: JobsRow) -> dict[str, Any]:
    figures = msgspec.to_builtins(row.figures)
    return {"policy": row.policy, "seed": row.seed, **figures}


def _facts(jobs: Sequence[TraceJob], nodes: Sequence[NodeInfo], seeds: Sequence[int]) -> list[str]:
    devices = sum(node.num_devices for node in nodes)
    days = jobs[-1].submit_s / 86_400
    return [
        f"{len(jobs):,} jobs of {plural(len({job.quota for job in jobs}), 'quota')} over {days:.1f} days;"
        f" {plural(len(nodes), 'node')} with {plural(devices, 'device')}; {plural(len(seeds), 'seed')}.",
    ]


def _show(rows: Sequence[JobsRow], policies: Sequence[str], reference: str, facts: Sequence[str]) -> None:
    from roadbed.twin.jobs_report import lines_of

    groups = [(name, [(row.seed, row.figures) for row in rows if row.policy == name]) for name in policies]
    headers, lines = lines_of(groups, reference)
    print_table([header.upper() for header in headers], lines, right=range(1, len(headers)))
    for fact in facts:
        talk(dim(fact))
    refused = max(row.figures.num_refused for row in rows)
    for row in rows:
        if row.figures.num_stuck:
            talk(f"{row.policy}, seed {row.seed}: {plural(row.figures.num_stuck, 'job')} never started")
    if refused:
        talk(f"{refused} jobs can't run on these machines at all and are left out")
