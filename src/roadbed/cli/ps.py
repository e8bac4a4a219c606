"""`roadbed ps`: services, replicas and tasks, with what they are doing right now."""

import json
import sys
import time
from typing import TYPE_CHECKING, Any

import click

from roadbed.cli.base import age, client, dim, json_option, print_json, print_table, state, talk

if TYPE_CHECKING:
    from roadbed.control.client import ControlClient

HEADERS = ("NAME", "ENGINE", "STATE", "READY", "IN FLIGHT", "TOK/S", "RESTARTS", "AGE", "MESSAGE")
LIVE_S = 10.0
"""Window of the rates."""


@click.command("ps")
@click.option(
    "-a", "--all", "everything", is_flag=True, help="Gateway workers, the control plane, and tasks that have ended too."
)
@click.option("-q", "--quiet", is_flag=True, help="Replica ids only.")
@click.option("-w", "--watch", is_flag=True, help="Again and again, until Ctrl-C.")
@click.option("--interval", default=1.0, show_default=True, type=click.FloatRange(0.1), help="Seconds between looks.")
@json_option
def command(everything: bool, quiet: bool, watch: bool, interval: float, as_json: bool) -> None:
    """Services and their replicas, and tasks.

    \b
      roadbed ps
      roadbed ps -w                 live
      roadbed ps -q | xargs -n1 roadbed logs
    """
    control = client()
    while True:
        facts = look(control, everything)
        if watch and sys.stdout.isatty() and not as_json:
            click.clear()
        if as_json and watch:
            click.echo(json.dumps(facts, ensure_ascii=False))
        elif as_json:
            print_json(facts)
        elif quiet:
            for replica in facts["replicas"]:
                click.echo(replica["id"])
        else:
            show(facts)
        if not watch:
            return
        time.sleep(interval)


def look(control: "ControlClient", everything: bool = False) -> dict[str, Any]:
    """Services and replicas with their live numbers: {"services", "replicas"[, "processes"]}."""
    services = control.services()
    live = control.live(LIVE_S)
    of_service = {row["name"]: row for row in live["services"]}
    of_replica = {row["id"]: row for row in live["replicas"]}
    numbers = ("requests_per_s", "tokens_per_s", "ttft_s")
    rows = [
        {
            "name": row["name"],
            "model": row["spec"]["model"],
            "engine": row["spec"]["engine"]["kind"],
            "state": service_state(row),
            "num_desired": row["num_desired"],
            "scaling": row["scaling"],
            "num_ready": sum(replica["state"] == "ready" for replica in row["replicas"]),
            "created_at": row["created_at"],
            **{name: of_service.get(row["name"], {}).get(name) for name in numbers},
        }
        for row in services
    ]
    replicas = [
        {**replica, **{name: of_replica.get(replica["id"], {}).get(name) for name in ("in_flight", "tokens_per_s")}}
        for row in services
        for replica in row["replicas"]
    ]
    facts: dict[str, Any] = {"services": rows, "replicas": replicas, "tasks": control.tasks(everything=everything)}
    if everything:
        facts["processes"] = [
            p for p in control.status()["processes"] if p["labels"].get("noun") not in ("replica", "task")
        ]
    return facts


def service_state(row: dict[str, Any]) -> str:
    """One word for a service: the state of the replica that is furthest from ready."""
    if row["deleted_at"] is not None:
        return "stopping"
    states = {replica["state"] for replica in row["replicas"]}
    for word in ("failed", "pending", "pulling", "starting"):
        if word in states:
            return word
    num_ready = sum(replica["state"] == "ready" for replica in row["replicas"])
    if num_ready < row["num_desired"]:
        return "pending"
    if row["num_desired"]:
        return "ready"
    return "asleep" if row["scaling"] is not None and not row["scaling"]["pinned"] else "stopped"


def show(facts: dict[str, Any]) -> None:
    """The table for people."""
    if not facts["services"] and not facts["tasks"]:
        talk("no service yet; try: roadbed apply -f service.yaml   (what goes in it: roadbed schema service)")
    rows: list[tuple[Any, ...]] = []
    for service in facts["services"]:
        mine = [replica for replica in facts["replicas"] if replica["service"] == service["name"]]
        ready = f"{service['num_ready']}/{service['num_desired']}"
        in_flight = sum(replica["in_flight"] or 0 for replica in mine)
        note = service["model"]
        if service["scaling"] is not None:
            scaling = service["scaling"]
            held = f", {scaling['num_waiting']} held" if scaling["num_waiting"] else ""
            note += f" · {scaling['num_min']}..{scaling['num_max']}, {scaling['reason'] or 'undecided'}{held}"
        name = click.style(service["name"], bold=True)
        head = (name, service["engine"], state(service["state"]), ready, in_flight, _rate(service["tokens_per_s"]))
        rows.append((*head, sum(r["restarts"] for r in mine), age(service["created_at"]), dim(note)))
        rows.extend(_replica(replica) for replica in mine)
    for process in facts.get("processes", ()):
        rows.append((process["name"], "", state(process["state"]), "", "", "", "", age(process["started_at"]), ""))
    rows += [_task(task) for task in facts["tasks"]]
    if rows:
        print_table(HEADERS, rows, right=(3, 4, 5, 6))


def _replica(row: dict[str, Any]) -> tuple[Any, ...]:
    in_flight = "-" if row["in_flight"] is None else row["in_flight"]
    note = f"{row['reason']}: {row['message']}" if row["reason"] else row["message"]
    head = ("  " + row["id"], "", state(row["state"]), "", in_flight, _rate(row["tokens_per_s"]))
    return (*head, row["restarts"], age(row["since"]), note)


def _task(row: dict[str, Any]) -> tuple[Any, ...]:
    num = len(row["exit_codes"]) or row["spec"]["processes"] or 1
    running = num if row["state"] == "running" else 0
    note = f"{row['reason']}: {row['message']}" if row["reason"] else row["message"]
    name = click.style(row["name"], bold=True)
    restarts = row["num_failures"] + row["num_preemptions"]
    return (name, "task", state(row["state"]), f"{running}/{num}", "", "", restarts, age(row["submitted_at"]), note)


def _rate(value: float | None) -> str:
    return "-" if value is None else f"{value:.1f}"
