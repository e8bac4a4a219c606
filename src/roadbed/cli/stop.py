"""`roadbed stop`: takes a service away, its replicas drain first; or ends a task."""

import time
from typing import TYPE_CHECKING, Any

import click

from roadbed.cli.base import client, confirm, json_option, plural, print_json, talk
from roadbed.cli.follow import Follower
from roadbed.errors import NoCapacityError, NotFoundError

if TYPE_CHECKING:
    from roadbed.control.client import ControlClient

POLL_S = 0.1
ENDED = ("finished", "failed", "stopped")


@click.command("stop")
@click.argument("name")
@click.option("-y", "--yes", is_flag=True, help="Don't ask.")
@click.option("-d", "--detach", is_flag=True, help="Don't wait until it is gone.")
@click.option("--wait", "wait_s", default=60.0, show_default=True, help="Seconds to wait.")
@json_option
def command(name: str, yes: bool, detach: bool, wait_s: float, as_json: bool) -> None:
    """Stop a service (requests under way are finished, usage and models stay) or a task (SIGTERM, its grace, SIGKILL).

    \b
      roadbed stop chat
      roadbed stop chat -y -d
    """
    control = client()
    try:
        row = control.service(name)
    except NotFoundError as no_service:
        try:
            task = control.task(name)
        except NotFoundError as no_task:
            raise NotFoundError(f"{no_service.message}; {no_task.message}", hint="roadbed ps -a") from None
        _stop_task(control, task, yes or as_json, detach, wait_s, as_json)
        return
    confirm(f"Stop {name} ({plural(len(row['replicas']), 'replica')} of {row['spec']['model']})?", yes or as_json)
    follower = Follower(control)
    said = control.delete_service(name)
    if not detach and not follower.until_gone(name, wait_s):
        raise NoCapacityError(f"{name} is still draining after {wait_s:g} s", hint="roadbed ps")
    if as_json:
        print_json(said)
    talk(f"{name} is stopping" if detach else f"stopped {name}")


def _stop_task(
    control: "ControlClient", row: dict[str, Any], yes: bool, detach: bool, wait_s: float, as_json: bool
) -> None:
    name = row["name"]
    if row["state"] in ENDED:
        talk(
            f"task {name} has {row['state']} already"
            if row["state"] != "stopped"
            else f"task {name} is stopped already"
        )
    else:
        confirm(f"Stop task {name} ({row['state']})?", yes)
        row = control.stop_task(name)
        deadline = time.monotonic() + wait_s
        while not detach and row["state"] not in ENDED:
            if time.monotonic() > deadline:
                raise NoCapacityError(f"task {name} is still there after {wait_s:g} s", hint=f"roadbed explain {name}")
            time.sleep(POLL_S)
            row = control.task(name)
        talk(f"task {name} is stopping" if detach else f"task {name} {row['state']}")
    if as_json:
        print_json(row)
