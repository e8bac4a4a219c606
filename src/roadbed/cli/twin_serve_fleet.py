"""What `roadbed twin serve` does about fleets: mixed ones, and ones an autoscaler changes while requests run."""

from collections.abc import Sequence
from typing import Any

import click
import msgspec

from roadbed.cli.base import Duration, print_table
from roadbed.cli.twin_base import Names, Numbers, counted
from roadbed.errors import UsageError
from roadbed.profiles.profile import Profile, load
from roadbed.router.autoscale import AUTOSCALERS
from roadbed.twin.parallel import run_all
from roadbed.twin.serve import Settings
from roadbed.twin.serve_figures import Row
from roadbed.twin.serve_fleet import Fleet, doubts, load_all, num_replicas, parse, written
from roadbed.twin.serve_fleet_report import name_of
from roadbed.twin.serve_fleet_scale import Scaling
from roadbed.twin.serve_plan import Question, Run, smallest

_OPTIONAL = (
    "split", "role_changes", "kv_moved_bytes", "transfer_s", "fleet", "cny_per_hour", "cny_per_million_tokens",
    "autoscaler", "target", "gpu_hours", "cost_cny", "scale_events", "peak_replicas", "mean_replicas",
)  # fmt: skip

FLEET_OPTIONS = (
    click.option("--fleet", "fleets", multiple=True,
                 help="Mixed chips: PROFILE:REPLICAS[@CNY_PER_HOUR],…; may be given again, each is a fleet."),
    click.option("--autoscale", "autoscalers", type=Names(),
                 help=f"Let the fleet change, by each of these in turn: {','.join(AUTOSCALERS)}."),
    click.option("--min", "num_min", type=int, default=0, show_default=True, help="Replicas there always are."),
    click.option("--max", "num_max", type=int, default=16, show_default=True, help="Replicas there may be."),
    click.option("--target", "targets", type=Numbers(-1e9, 1e9), default="12", show_default=True,
                 help="Requests in flight that are right for one replica; several make a curve."),
    click.option("--cold-start", type=Duration(), default="90s", show_default=True,
                 help="From the decision to a replica that answers."),
    click.option("--scale-interval", type=Duration(), default="10s", show_default=True, help="Between decisions."),
    click.option("--idle", type=Duration(), default="10min", show_default=True,
                 help="Without requests before the last replica goes."),
    click.option("--start", "num_start", type=click.IntRange(0), help="Replicas at first. Default: --min, or 1."),
    click.option("--fixed/--no-fixed", default=True, show_default=True,
                 help="Also look for the smallest fixed fleets as good as each autoscaler."),
)  # fmt: skip


def planned(given: dict[str, Any], sized: bool) -> list[Run]:
    """The runs asked for. sized: --replicas was given. UsageError naming the option that makes no sense."""
    fleets: list[Fleet] = [parse(text, given["cost"]) for text in given["fleets"]]
    profile, autoscalers = given["profile"], given["autoscalers"] or ()
    if profile is None and not fleets:
        raise UsageError(
            "which engine? --profile names one, --fleet several", hint="roadbed twin serve --help", field="profile"
        )
    if autoscalers and (fleets or profile is None):
        raise UsageError(
            "--autoscale changes a fleet of one kind: give --profile and no --fleet",
            hint=f"roadbed twin serve --autoscale {autoscalers[0]} --profile {fleets[0][0].profile}", field="autoscale",
        )  # fmt: skip
    if min(given["replicas"]) < 1:
        raise UsageError("--replicas must be at least 1", hint="roadbed twin serve --replicas 1..4", field="replicas")
    base = Run(policy="", replicas=0, speedup=1.0, seed=given["seed"], samples=given["report"] is not None)
    change = msgspec.structs.replace
    kinds: list[Run] = []
    if profile is not None:
        alike = change(base, profile=profile, cost_per_hour=given["cost"], is_reference=bool(autoscalers))
        if sized or not autoscalers:
            kinds += [change(alike, replicas=num, base=f"{profile}:{num}") for num in given["replicas"]]
        for scaling in _scalings(given, autoscalers):
            name = f"{profile} {scaling.autoscaler} {scaling.target:g}"
            kinds.append(change(alike, scaling=scaling, base=name, is_reference=False))
    for fleet in fleets:
        kinds.append(change(base, fleet=fleet, replicas=num_replicas(fleet), base=written(fleet)))
    return [
        change(kind, policy=router, speedup=pace) for kind in kinds for pace in given["speedup"]
        for router in given["routers"]
    ]  # fmt: skip


def _scalings(given: dict[str, Any], autoscalers: Sequence[str]) -> list[Scaling]:
    return [
        Scaling(
            autoscaler=name, num_min=given["num_min"], num_max=given["num_max"], target=target,
            cold_start_s=given["cold_start"], interval_s=given["scale_interval"], idle_s=given["idle"],
            num_start=-1 if given["num_start"] is None else given["num_start"],
        )
        for target in given["targets"] for name in autoscalers
    ]  # fmt: skip


def profiles_of(given: dict[str, Any], runs: Sequence[Run]) -> dict[str, Profile]:
    """Every profile that a run or a what-if may need. NotFoundError, or UsageError for one in a fleet."""
    found = {name: load(name) for name in (given["profile"], given["swap"]) if name}
    return {**load_all([run.fleet for run in runs if run.fleet]), **found}


def doubts_of(runs: Sequence[Run], profiles: dict[str, Profile], settings: Settings) -> list[str]:
    """What fleets make a reader doubt."""
    said = [words for run in runs if run.fleet for words in doubts(run.fleet, profiles)]
    for scaling in (run.scaling for run in runs if run.scaling is not None):
        if not scaling.num_min and settings.max_wait_s <= scaling.cold_start_s:
            said.append(
                f"--max-wait {settings.max_wait_s:g} s is no longer than a cold start of {scaling.cold_start_s:g} s:"
                " who comes while there is no replica is shed"
            )
    return list(dict.fromkeys(said))


def references(shared: dict[str, Any], runs: Sequence[Run], rows: Sequence[Row], num_workers: int) -> list[Row]:
    """The smallest fixed fleets as good as each autoscaler, by router and load; those already there left out."""
    questions: dict[tuple[str, float], Question] = {}
    for run, row in zip(runs, rows, strict=True):
        if run.scaling is not None:
            key = (run.policy, run.speedup)
            before = questions.get(key, Question(run=run, num_max=run.scaling.num_max, wanted=()))
            whom = f"{run.scaling.autoscaler} at {run.scaling.target:g}"
            questions[key] = msgspec.structs.replace(before, wanted=(*before.wanted, (row.goodput_share, whom)))
    with counted("twin serve, fixed fleets") as told:
        found = run_all(smallest, shared, list(questions.values()), num_workers=num_workers, told=told)
    return [row for rows in found for row in rows]


def plain(found: Row) -> dict[str, Any]:
    """A row as JSON has it: without samples, and without what does not apply."""
    values: dict[str, Any] = msgspec.to_builtins(found)
    for name in ("samples", "labels", "base", *(name for name in _OPTIONAL if values[name] is None)):
        del values[name]
    if not values["change"]:
        del values["change"]
    return values


def show_scaled(rows: Sequence[Row]) -> None:
    """A table of autoscaled fleets and their references; nothing for none."""
    if not rows:
        return
    headers = ["ROUTER", "AUTOSCALER", "TARGET", "SPEED", "GOOD", "GPU-HOURS", "CHANGES", "MOST", "MEAN", "TTFT MEAN",
               "P99", "ITL MEAN", "SHED"]  # fmt: skip
    priced = any(row.cost_cny is not None for row in rows)
    headers += ["CNY", "CNY/M TOK"] if priced else []
    lines = []
    for row in rows:
        name = name_of(row) + (f" {row.change}" if row.change and row.autoscaler != "fixed" else "")
        line = [
            row.router, name, dash(row.target, "g"), f"{row.speedup:g}", f"{row.goodput_share:.2%}",
            dash(row.gpu_hours, ",.2f"), dash(row.scale_events, "d"), dash(row.peak_replicas, "d"),
            dash(row.mean_replicas, ",.2f"), f"{row.ttft_s.mean * 1e3:,.0f}", f"{row.ttft_s.p99 * 1e3:,.0f}",
            f"{row.itl_s.mean * 1e3:.1f}", str(row.shed),
        ]  # fmt: skip
        lines.append(line + ([dash(row.cost_cny, ",.2f"), dash(row.cny_per_million_tokens, ",.2f")] if priced else []))
    print_table(headers, lines, right=range(2, len(headers)))


def dash(value: float | None, form: str) -> str:
    """A number, or a dash for what is unknown."""
    return "–" if value is None else format(value, form)
