"""`roadbed fabric show`: what a network is made of, what it can carry, what it costs; and its picture."""

from pathlib import Path
from typing import Any

import click
import msgspec

from roadbed.cli.base import dim, json_option, plural, print_json, print_table, talk
from roadbed.cli.fabric_base import fabric_options, load_fabric, read_text, write_text
from roadbed.fabric import prices
from roadbed.fabric.designs import Design, describe
from roadbed.fabric.draw import svg


@click.command("show")
@fabric_options
@click.option("--prices", "prices_file", type=click.Path(path_type=Path), help="Your prices: YAML; see --list-prices.")
@click.option("--list-prices", is_flag=True, help="Print the price table in use, as a file to edit, and stop.")
@click.option("--svg", "svg_file", type=click.Path(path_type=Path), help="Write a picture here.")
@json_option
def command(
    fabric: str,
    gpus: int | None,
    settings: dict[str, str],
    prices_file: Path | None,
    list_prices: bool,
    svg_file: Path | None,
    as_json: bool,
) -> None:
    """Switches, cables, bisection, paths, cost and power of a network.

    \b
      roadbed fabric show --fabric hpn7 --gpus 448
      roadbed fabric show --fabric pod.yaml --svg pod.svg
      roadbed fabric show --list-prices > prices.yaml

    Costs are estimates unless you bring your prices.
    """
    table = prices.DEFAULTS if prices_file is None else prices.read(read_text(prices_file), str(prices_file))
    if list_prices:
        click.echo(prices.write(table), nl=False)
        return
    found = load_fabric(fabric, gpus=gpus, settings=settings)
    design = describe(found, table)
    if svg_file is not None:
        write_text(svg_file, svg(found))
        talk(f"picture: {svg_file}")
    if as_json:
        print_json(as_data(design))
        return
    _print(design)
    if prices_file is None:
        talk(dim("Cost and power are estimates; --list-prices shows on what they rest."))


def as_data(design: Design) -> dict[str, Any]:
    """A design for programs."""
    data: dict[str, Any] = msgspec.to_builtins(design)
    per_gpu = {"usd_per_gpu": design.usd / design.num_gpus, "watts_per_gpu": design.watts / design.num_gpus}
    return {**data, "num_switches": design.num_switches, **per_gpu}


def _print(design: Design) -> None:
    sizes = (
        (design.num_servers, "server"), (design.num_segments, "segment"), (design.num_pods, "pod"),
        (design.num_planes, "plane"),
    )  # fmt: skip
    words = ", ".join(plural(num, noun) for num, noun in sizes)
    click.echo(f"{design.fabric}: {design.num_gpus:,} GPUs, {words}")
    rows = [
        [
            tier.kind, f"{tier.num:,}", f"{tier.ports_down:,}", f"{tier.ports_up:,}",
            f"{tier.oversubscription:.3g} : 1" if tier.oversubscription else "-", f"{tier.load:.0%}",
        ]
        for tier in design.tiers
    ]  # fmt: skip
    click.echo()
    print_table(["TIER", "SWITCHES", "PORTS DOWN", "PORTS UP", "DOWN : UP", "FULLEST"], rows, right=range(1, 6))
    cables = [
        [row.link, f"{row.num:,}", f"{row.gbps:g}G", row.medium, f"{row.usd:,.0f}", f"{row.watts / 1e3:,.1f}"]
        for row in design.cables
    ]
    click.echo()
    print_table(["CABLES", "NUMBER", "SPEED", "MEDIUM", "USD", "KW"], cables, right=(1, 2, 4, 5))
    figures = [
        ("GPUs a segment / a pod", f"{design.gpus_per_segment:,} / {design.gpus_per_pod:,}"),
        ("bisection between segments", _rate(design.bisection_segments_bytes_s)),
        ("bisection between pods", _rate(design.bisection_pods_bytes_s)),
        ("paths in a segment", _paths(design.paths.same_segment)),
        ("paths between segments", _paths(design.paths.cross_segment)),
        ("paths between pods", _paths(design.paths.cross_pod)),
        ("cost", f"{design.usd / 1e6:,.2f} M USD, {design.usd / design.num_gpus:,.0f} a GPU"),
        ("power", f"{design.watts / 1e3:,.0f} kW, {design.watts / design.num_gpus:,.0f} W a GPU"),
    ]
    click.echo()
    print_table(["FIGURE", "VALUE"], figures)


def _rate(bytes_s: float) -> str:
    return f"{bytes_s / 1e12:,.2f} TB/s" if bytes_s else "-"


def _paths(num: int) -> str:
    return f"{num:,}" if num else "-"
