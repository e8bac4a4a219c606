"""`roadbed fabric export`: a network for other programs."""

from pathlib import Path

import click

from roadbed.cli.base import json_option, print_json, talk
from roadbed.cli.fabric_base import fabric_options, load_fabric, write_text
from roadbed.fabric import graphml, recipe, simai
from roadbed.fabric.draw import svg

FORMATS = {"simai": simai.write, "graphml": graphml.write, "svg": svg, "yaml": recipe.write}


@click.command("export")
@fabric_options
@click.option("--format", "format_", type=click.Choice(list(FORMATS)), required=True, help="What to write.")
@click.option("--out", type=click.Path(path_type=Path), help="Write here. Default: print it.")
@json_option
def command(
    fabric: str, gpus: int | None, settings: dict[str, str], format_: str, out: Path | None, as_json: bool
) -> None:
    """Write a network for SimAI, as GraphML, as a picture, or as a recipe.

    \b
      roadbed fabric export --fabric hpn7 --gpus 1024 --format simai --out hpn.topo

    SimAI's format has no cards: the GPUs of a card get a share of its ports each.
    """
    found = load_fabric(fabric, gpus=gpus, settings=settings)
    text = FORMATS[format_](found)
    if out is not None:
        write_text(out, text)
        talk(f"{format_}: {out}")
    if as_json:
        print_json({"fabric": found.name, "gpus": found.num_gpus, "format": format_, "bytes": len(text.encode())})
    elif out is None:
        click.echo(text, nl=False)
