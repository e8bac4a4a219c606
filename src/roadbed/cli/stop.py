"""`roadbed stop`: takes a service away; its replicas drain first."""

import click

from roadbed.cli.base import client, confirm, json_option, plural, print_json, talk
from roadbed.cli.follow import Follower
from roadbed.errors import NoCapacityError


@click.command("stop")
@click.argument("name")
@click.option("-y", "--yes", is_flag=True, help="Don't ask.")
@click.option("-d", "--detach", is_flag=True, help="Don't wait until it is gone.")
@click.option("--wait", "wait_s", default=60.0, show_default=True, help="Seconds to wait.")
@json_option
def command(name: str, yes: bool, detach: bool, wait_s: float, as_json: bool) -> None:
    """Stop a service: requests under way are finished, usage and models stay.

    \b
      roadbed stop chat
      roadbed stop chat -y -d
    """
    control = client()
    row = control.service(name)
    confirm(f"Stop {name} ({plural(len(row['replicas']), 'replica')} of {row['spec']['model']})?", yes or as_json)
    follower = Follower(control)
    said = control.delete_service(name)
    if not detach and not follower.until_gone(name, wait_s):
        raise NoCapacityError(f"{name} is still draining after {wait_s:g} s", hint="roadbed ps")
    if as_json:
        print_json(said)
    talk(f"{name} is stopping" if detach else f"stopped {name}")
