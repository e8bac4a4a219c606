"""`roadbed twin schedule`: policies side by side on the fill-up protocol of FGD's evaluation."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import click
import msgspec

from roadbed.cli.base import dim, json_option, print_json, print_table, talk
from roadbed.cli.twin_base import FILE, Names, Ratio, Seeds, check_baseline, counted, write_report
from roadbed.errors import UsageError
from roadbed.scheduler.policies.registry import POLICY_NAMES, check_policy
from roadbed.twin.fill import FillRow, fill
from roadbed.twin.machines import read_machines
from roadbed.twin.openb import read_pods, workload_name
from roadbed.twin.parallel import run_all
from roadbed.twin.stats import estimate, paired

_SHOWN = ("80", "90", "95", "100", "130")
_COMPARED = "100"
_Run = tuple[str, str, int]


@click.command("schedule")
@click.option("--nodes", required=True, type=FILE, help="Machines: openb nodes CSV, or YAML of kind: cluster.")
@click.option("--pods", required=True, multiple=True, type=FILE, help="openb pods CSV; may be given again.")
@click.option(
    "--policy", "policies", type=Names(), default="roadbed,fgd", show_default=True, help=", ".join(POLICY_NAMES)
)
@click.option("--seeds", type=Seeds(), default="42..51", show_default=True, help="Such as 42..51 or 1,2,5.")
@click.option("--inflate", type=Ratio(0.01, 10), default=1.3, show_default=True, help="Demand ÷ capacity at the end.")
@click.option("--baseline", help="Compare with this policy. Default: fgd, else the last one.")
@click.option("--workers", type=click.IntRange(0, 1024), default=0, help="Processes. Default: one per core.")
@click.option("--report", type=FILE, help="Write an HTML report with plots here.")
@json_option
def command(
    nodes: Path,
    pods: tuple[Path, ...],
    policies: tuple[str, ...],
    seeds: tuple[int, ...],
    inflate: float,
    baseline: str | None,
    workers: int,
    report: Path | None,
    as_json: bool,
) -> None:
    """Offer pods one by one, never take one back: what share of the accelerators is given out?

    \b
      roadbed twin schedule --nodes nodes.csv --pods pods.csv --policy roadbed,fgd,bestfit
      roadbed twin schedule --nodes nodes.csv --pods pods.csv --seeds 1..3 --inflate 1.1 --json

    The protocol is that of "Beware of Fragmentation" (ATC '23). Every policy sees the same pods in the same order on
    one seed, so differences are paired.
    """
    for policy in policies:
        check_policy(policy)
    reference = check_baseline(baseline, policies, "fgd")
    machines = read_machines(nodes)
    if not any(node.num_devices for node in machines):
        raise UsageError(f"{nodes}: no node has an accelerator", hint="roadbed twin schedule --help", field="nodes")
    lists = _read_lists(pods)
    runs: list[_Run] = [(policy, name, seed) for name in lists for seed in seeds for policy in policies]
    shared = {"nodes": machines, "lists": lists, "inflate": inflate}
    with counted("twin schedule") as told:
        rows = run_all(_one, shared, runs, num_workers=workers, told=told)
    rows.sort(key=lambda row: (list(lists).index(row.workload), policies.index(row.policy), seeds.index(row.seed)))
    if report is not None:
        from roadbed.twin.report import fill_report

        write_report(report, fill_report(rows, reference))
    if as_json:
        print_json({"rows": [msgspec.structs.asdict(row) for row in rows]})
        return
    for name in lists:
        _show(name, [row for row in rows if row.workload == name], policies, reference)


def _read_lists(pods: Sequence[Path]) -> dict[str, list[Any]]:
    lists: dict[str, list[Any]] = {}
    for path in pods:
        name = workload_name(path)
        if name in lists:
            raise UsageError(f"two lists of pods are called {name!r}", hint="rename one of the files", field="pods")
        lists[name] = [pod.shape for pod in read_pods(path)]
    return lists


def _one(shared: Mapping[str, Any], run: _Run) -> FillRow:
    policy, name, seed = run
    shapes = shared["lists"][name]
    return fill(shared["nodes"], shapes, policy, seed, workload=name, inflate=shared["inflate"])


def _show(name: str, rows: Sequence[FillRow], policies: Sequence[str], reference: str) -> None:
    shown = [key for key in _SHOWN if key in rows[0].alloc] or list(rows[0].alloc)[-1:]
    at = _COMPARED if _COMPARED in rows[0].alloc else shown[-1]
    theirs = {row.seed: row.alloc[at] for row in rows if row.policy == reference}
    lines = []
    for policy in policies:
        mine = [row for row in rows if row.policy == policy]
        difference = paired({row.seed: row.alloc[at] for row in mine}, theirs)
        cells = [str(estimate([row.alloc[key] for row in mine])) for key in shown]
        fragments = str(estimate([row.frag[at] for row in mine]))
        speed = f"{estimate([row.decisions_per_s for row in mine]).mean:,.0f}"
        versus = "" if policy == reference or difference is None else _signed(str(difference))
        lines.append((policy, *cells, fragments, versus, speed))
    click.echo(f"{name}: allocated, % of all accelerators, at % of demand arrived")
    headers = ("POLICY", *(f"@{key}" for key in shown), f"FRAGMENTS @{at}", f"VS {reference} @{at}", "DECISIONS/S")
    print_table(headers, lines, right=range(1, len(headers)))
    talk(dim(f"mean ± half of the 95 % interval over {len({row.seed for row in rows})} seeds; differences are paired"))


def _signed(text: str) -> str:
    return text if text.startswith("-") else f"+{text}"
