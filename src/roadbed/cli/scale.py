"""`roadbed scale`: how many replicas, inside the range of the spec."""

import click

from roadbed.cli.base import client, json_option, plural, print_json, talk
from roadbed.cli.follow import Follower
from roadbed.errors import NoCapacityError


@click.command("scale")
@click.argument("name")
@click.argument("replicas", type=click.IntRange(0))
@click.option("-d", "--detach", is_flag=True, help="Don't wait until it is so.")
@click.option("--wait", "wait_s", default=300.0, show_default=True, help="Seconds to wait.")
@json_option
def command(name: str, replicas: int, detach: bool, wait_s: float, as_json: bool) -> None:
    """Change how many replicas a service has, inside the range its spec allows.

    \b
      roadbed scale chat 2
    """
    control = client()
    follower = Follower(control)
    said = control.scale(name, replicas)
    if not detach and not follower.until_ready([name], wait_s):
        raise NoCapacityError(
            f"{name} is not at {plural(replicas, 'replica')} after {wait_s:g} s", hint=f"roadbed explain {name}"
        )
    if as_json:
        print_json(control.service(name) if not detach else said)
    talk(f"{name} wants {plural(replicas, 'replica')}" if detach else f"{name} has {plural(replicas, 'replica')}")
