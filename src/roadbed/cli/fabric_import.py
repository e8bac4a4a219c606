"""`roadbed fabric import`: SimAI's topology file, checked, and as YAML where it is a network one can write so."""

from pathlib import Path
from typing import Any

import click
import msgspec

from roadbed.cli.base import json_option, plural, print_json, print_table, talk
from roadbed.cli.fabric_base import load_fabric, read_text, write_text
from roadbed.cli.fabric_check import SHOWN
from roadbed.fabric import recipe, simai
from roadbed.fabric.base import Fabric, Kind
from roadbed.fabric.blueprint import check


@click.command("import")
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--blueprint", metavar="NAME|FILE", help="Hold it against this network, cable by cable.")
@click.option("--out", type=click.Path(path_type=Path), help="Write it as YAML that --fabric takes.")
@json_option
@click.pass_context
def command(context: click.Context, file: Path, blueprint: str | None, out: Path | None, as_json: bool) -> None:
    """Read SimAI's topology FILE: what it holds, and whether it is sound. Exit code 1 if it is not.

    \b
      roadbed fabric import hpn.topo --blueprint hpn7 --out hpn.yaml
    """
    found = simai.read(read_text(file), str(file))
    drawn = None if blueprint is None else load_fabric(blueprint, gpus=None, settings={})
    faults = check(found, drawn)
    if out is not None:
        write_text(out, recipe.write(found))
        talk(f"network: {out}")
    if as_json:
        print_json({**summary(found), "faults": msgspec.to_builtins(faults)})
    else:
        print_table(["WHAT", "VALUE"], [[key.replace("_", " "), value] for key, value in summary(found).items()])
        if faults:
            click.echo()
            print_table(["FAULT", "WHERE", "WHAT"], [[one.code, one.where, one.what] for one in faults[:SHOWN]])
    if faults:
        talk(plural(len(faults), "fault"))
        context.exit(1)


def summary(fabric: Fabric) -> dict[str, Any]:
    """What was understood."""
    switches = {f"{kind.name.lower()}s": len(fabric.nodes(kind)) for kind in (Kind.TOR, Kind.AGG, Kind.CORE)}
    return {
        "gpus": fabric.num_gpus,
        "servers": fabric.num_servers,
        "chip": fabric.chip,
        **switches,
        "segments": int(fabric.segment.max()) + 1,
        "pods": int(fabric.pod.max()) + 1,
        "rail_optimised": fabric.traits.rail_optimised,
        "dual_tor": fabric.traits.dual_tor,
        "dual_plane": fabric.traits.dual_plane,
    }
