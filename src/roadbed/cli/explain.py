"""`roadbed explain`: why a service is as it is, what comes next, and its story."""

import time
from datetime import datetime
from typing import Any

import click

from roadbed.cli.base import age, client, dim, json_option, print_json, state
from roadbed.cli.follow import describe


@click.command("explain")
@click.argument("name")
@click.option("--events", "num_events", default=20, show_default=True, type=click.IntRange(1, 1000), help="How many.")
@json_option
def command(name: str, num_events: int, as_json: bool) -> None:
    """Why a service (or the service of a replica) is in its state, and what comes next.

    \b
      roadbed explain chat
      roadbed explain chat --events 200
    """
    control = client()
    owner = {row["id"]: row["service"] for row in control.replicas()}.get(name, name)
    said = control.explain(owner, events=num_events)
    if as_json:
        print_json(said)
        return
    click.echo(f"{click.style(said['service'], bold=True)} {said['summary']}")
    for row in said["replicas"]:
        click.echo(f"  {row['id']}  {state(row['state'])} for {age(row['since'])}: {row['why']}")
        click.echo(f"  {' ' * len(row['id'])}  next: {row['next']}{_when(row['next_at'])}")
    click.echo("")
    for event in said["events"]:
        click.echo(dim(_clock(event)) + describe(event))


def _when(at: float | None) -> str:
    return "" if at is None else f" (in {max(0.0, at - time.time()):.0f} s)"


def _clock(event: dict[str, Any]) -> str:
    return datetime.fromtimestamp(event["at"]).astimezone().strftime("%m-%d %H:%M:%S")
