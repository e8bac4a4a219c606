"""`roadbed scale`: how many replicas, inside the range of the spec; by hand, or by load again."""

from typing import Any

import click

from roadbed.cli.base import client, json_option, plural, print_json, talk
from roadbed.cli.follow import Follower
from roadbed.errors import NoCapacityError

AUTO = "auto"


class Count(click.ParamType[int | str]):
    """A number of replicas, or `auto`."""

    name = "replicas"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int | str:
        if value == AUTO:
            return AUTO
        try:
            number = int(value)
        except ValueError:
            number = -1
        if number < 0:
            self.fail(f"{value!r} is neither a number of replicas nor auto", param, ctx)
        return number


@click.command("scale")
@click.argument("name")
@click.argument("replicas", type=Count())
@click.option("-d", "--detach", is_flag=True, help="Don't wait until it is so.")
@click.option("--wait", "wait_s", default=300.0, show_default=True, help="Seconds to wait.")
@json_option
def command(name: str, replicas: int | str, detach: bool, wait_s: float, as_json: bool) -> None:
    """Change how many replicas a service has, inside the range its spec allows.

    Where load decides (scaling in the spec), the number stands until `auto`, or until an apply changes the range.

    \b
      roadbed scale chat 2
      roadbed scale chat auto
    """
    control = client()
    follower = Follower(control)
    said = control.scale(name, replicas)
    if not isinstance(replicas, int):
        if as_json:
            print_json(said)
        wants = plural(said["num_desired"], "replica")
        talk(f"load decides about {name} again: {said['spec']['replicas']}, now {wants}")
        return
    if not detach and not follower.until_ready([name], wait_s):
        raise NoCapacityError(
            f"{name} is not at {plural(replicas, 'replica')} after {wait_s:g} s", hint=f"roadbed explain {name}"
        )
    if as_json:
        print_json(control.service(name) if not detach else said)
    talk(f"{name} wants {plural(replicas, 'replica')}" if detach else f"{name} has {plural(replicas, 'replica')}")
    if said["scaling"] is not None:
        talk(f"load decides no more until: roadbed scale {name} {AUTO}")
