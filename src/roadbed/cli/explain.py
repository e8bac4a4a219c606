"""`roadbed explain`: why a service or a task is as it is, what comes next, and its story."""

import time
from datetime import datetime
from typing import Any

import click

from roadbed.cli.base import age, client, dim, json_option, plural, print_json, state
from roadbed.cli.follow import describe
from roadbed.errors import NotFoundError


@click.command("explain")
@click.argument("name")
@click.option("--events", "num_events", default=20, show_default=True, type=click.IntRange(1, 1000), help="How many.")
@json_option
def command(name: str, num_events: int, as_json: bool) -> None:
    """Why a service, a task, or the service of a replica is in its state, and what comes next.

    \b
      roadbed explain chat
      roadbed explain chat --events 200
    """
    control = client()
    owner = {row["id"]: row["service"] for row in control.replicas()}.get(name, name)
    try:
        said = control.explain(owner, events=num_events)
    except NotFoundError as no_service:
        try:
            task = control.explain_task(name, events=num_events)
        except NotFoundError as no_task:
            raise NotFoundError(f"{no_service.message}; {no_task.message}", hint="roadbed ps -a") from None
        _show_task(task, as_json)
        return
    if as_json:
        print_json(said)
        return
    click.echo(f"{click.style(said['service'], bold=True)} {said['summary']}")
    if said["scaling"] is not None:
        _show_scaling(said["scaling"], said["num_desired"])
    for row in said["replicas"]:
        click.echo(f"  {row['id']}  {state(row['state'])} for {age(row['since'])}: {row['why']}")
        click.echo(f"  {' ' * len(row['id'])}  next: {row['next']}{_when(row['next_at'])}")
    _show_events(said["events"])


def _show_scaling(said: dict[str, Any], num_desired: int) -> None:
    """Who decides the number, within what, and the last decision."""
    when = "" if said["decided_at"] is None else f", {age(said['decided_at'])} ago"
    span = f"{said['num_min']}..{said['num_max']}"
    if said["num_affordable"] < said["num_max"]:
        span += f", {said['num_affordable']} within the cost cap"
    click.echo(f"  wants {num_desired} of {span} ({said['policy']}{when}): {said['why']}")
    held = plural(said["num_waiting"], "request")
    click.echo(f"  {held} held; a start takes {said['cold_start_s']:.1f} s")


def _show_task(said: dict[str, Any], as_json: bool) -> None:
    """A task's story; while it waits, the funnel that emptied the candidate set."""
    if as_json:
        print_json(said)
        return
    click.echo(f"{click.style(said['task'], bold=True)} {state(said['state'])}: {said['summary']}")
    why = said["waiting"]
    if why is not None:
        if why["funnel"]:
            click.echo("  " + " → ".join(f"{step['left']:,} {step['text']}" for step in why["funnel"]))
        if why["victims"]:
            click.echo(f"  would have a place without: {', '.join(why['victims'])}")
        if why["num_waiting"]:
            click.echo(f"  position {why['position']} of {why['num_waiting']} ({why['reason']})")
        if why["expected_at"] is not None:
            at = datetime.fromtimestamp(why["expected_at"]).astimezone().strftime("%m-%d %H:%M:%S")
            click.echo(f"  expected start {at} ± {why['error_s']:.0f} s")
    _show_events(said["events"])


def _show_events(events: list[dict[str, Any]]) -> None:
    click.echo("")
    for event in events:
        click.echo(dim(_clock(event)) + describe(event))


def _when(at: float | None) -> str:
    return "" if at is None else f" (in {max(0.0, at - time.time()):.0f} s)"


def _clock(event: dict[str, Any]) -> str:
    return datetime.fromtimestamp(event["at"]).astimezone().strftime("%m-%d %H:%M:%S")
