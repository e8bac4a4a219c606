"""`roadbed fabric new`: a family's counts as a file you can edit."""

from pathlib import Path

import click
import msgspec

from roadbed.cli.base import dim, json_option, print_json, print_table, talk
from roadbed.cli.fabric_base import gpus_option, set_option, write_text
from roadbed.fabric import recipe, registry
from roadbed.fabric.base import Kind


@click.command("new")
@click.argument("name", required=False)
@gpus_option
@set_option
@click.option("--out", type=click.Path(path_type=Path), help="Write the recipe here. Default: print it.")
@json_option
def command(name: str | None, gpus: int | None, settings: dict[str, str], out: Path | None, as_json: bool) -> None:
    """Draw up a network: NAME is a family; without it, the families are listed with their counts.

    \b
      roadbed fabric new hpn7 --gpus 448 --out pod.yaml
      roadbed fabric new dcn_plus --set pods=4 --set cores=32
      roadbed fabric new fat_tree --set k=16

    The file is a recipe; every other command takes it as --fabric FILE.
    """
    if name is None:
        _list(as_json)
        return
    fabric = registry.build(name.replace("-", "_"), gpus=gpus, **settings)
    text = recipe.write(fabric)
    if as_json:
        print_json({"fabric": fabric.name, "gpus": fabric.num_gpus, "parameters": fabric.parameters})
    elif out is None:
        click.echo(text, nl=False)
    if out is not None:
        write_text(out, text)
        talk(f"recipe: {out}")
    tiers = (("ToRs", Kind.TOR), ("Aggs", Kind.AGG), ("Cores", Kind.CORE))
    switches = ", ".join(f"{num:,} {tier}" for tier, kind in tiers if (num := len(fabric.nodes(kind))))
    talk(dim(f"{fabric.num_gpus:,} GPUs in {fabric.num_servers:,} servers; {switches}"))


def _list(as_json: bool) -> None:
    families = {
        name: {"summary": family.summary, "parameters": msgspec.to_builtins(family.counts())}
        for name, family in registry.FAMILIES.items()
    }
    if as_json:
        print_json(families)
        return
    print_table(["FAMILY", "WHAT"], [[name, family.summary] for name, family in registry.FAMILIES.items()])
    for name, family in families.items():
        counts = " ".join(f"{key}={value}" for key, value in family["parameters"].items())
        talk(dim(f"{name}: {counts}"))
