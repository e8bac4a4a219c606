"""`roadbed fabric check`: hold a network against its blueprint."""

import click
import msgspec

from roadbed.cli.base import json_option, plural, print_json, print_table, talk
from roadbed.cli.fabric_base import fabric_options, load_fabric
from roadbed.fabric.blueprint import CHIP_GBPS, check

SHOWN = 50


@click.command("check")
@fabric_options
@click.option(
    "--blueprint", metavar="NAME|FILE", help="What it should be. Default: its family's counts, if it has any."
)
@click.option(
    "--chip-gbps", type=click.FloatRange(1, 1e7), default=float(CHIP_GBPS), show_default=True,
    help="What one switch forwards.",
)  # fmt: skip
@json_option
@click.pass_context
def command(
    context: click.Context,
    fabric: str,
    gpus: int | None,
    settings: dict[str, str],
    blueprint: str | None,
    chip_gbps: float,
    as_json: bool,
) -> None:
    """Ports, wiring and islands: every cable that is not where it belongs, and what to do. Exit code 1 if there is one.

    \b
      roadbed fabric check --fabric pod.yaml
      roadbed fabric check --fabric discovered.topo --blueprint pod.yaml
    """
    found = load_fabric(fabric, gpus=gpus, settings=settings)
    drawn = None if blueprint is None else load_fabric(blueprint, gpus=None, settings={})
    faults = check(found, drawn, chip_gbps=chip_gbps)
    if as_json:
        print_json({"fabric": found.name, "gpus": found.num_gpus, "faults": msgspec.to_builtins(faults)})
    elif faults:
        rows = [[fault.code, fault.where, fault.what, fault.fix] for fault in faults[:SHOWN]]
        print_table(["FAULT", "WHERE", "WHAT", "FIX"], rows)
        if len(faults) > SHOWN:
            talk(f"... and {len(faults) - SHOWN:,} more; --json lists all")
    else:
        cables = found.num_links // 2
        talk(f"{found.name}: {found.num_gpus:,} GPUs, {cables:,} cables, all where they belong")
    if faults:
        talk(plural(len(faults), "fault"))
        context.exit(1)
