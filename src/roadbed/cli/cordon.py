"""`roadbed cordon`: takes a machine out of the pool for new work, or back in."""

import click

from roadbed.cli.base import client, json_option, print_json, talk


@click.command("cordon")
@click.argument("node")
@click.option("--undo", is_flag=True, help="It takes work again.")
@click.option("--drain", is_flag=True, help="What runs there moves at its next checkpoint, where there is a place.")
@click.option("--risk", type=click.FloatRange(0, 1), help="Predicted probability that it fails soon.")
@json_option
def command(node: str, undo: bool, drain: bool, risk: float | None, as_json: bool) -> None:
    """Give a machine nothing new; what runs there goes on, or moves when it is drained.

    \b
      roadbed cordon gpu017
      roadbed cordon gpu017 --drain
      roadbed cordon gpu017 --undo
    """
    if undo and drain:
        raise click.UsageError("--undo and --drain contradict each other")
    said = client().cordon(node, on=not undo, drain=drain, risk=risk)
    if as_json:
        print_json(said)
        return
    talk(
        f"{node} is being drained"
        if said["drain"]
        else f"{node} is cordoned"
        if said["cordoned"]
        else f"{node} takes work again"
    )
