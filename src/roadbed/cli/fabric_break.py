"""`roadbed fabric break`: a collective in a loop while links, ToRs or cards fail."""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click
import msgspec

from roadbed.cli.base import Duration, dim, human_time, json_option, print_json, print_table, talk
from roadbed.cli.fabric_base import fabric_options, load_fabric, write_text
from roadbed.cli.fabric_load import Load, Sizes, human_size, load_options
from roadbed.errors import NotFoundError, UsageError
from roadbed.fabric.base import Fabric, LinkKind
from roadbed.fabric.collective.base import OPS, check_op
from roadbed.fabric.collective.chooser import MAKERS
from roadbed.fabric.constants import CONVERGENCE_S, RDMA_GIVES_UP_S
from roadbed.fabric.faults import parse
from roadbed.fabric.outage import Outage, run
from roadbed.twin.fabric_break_report import render

_BARS = " ▁▂▃▄▅▆▇█"
_WIDTH = 60


@click.command("break")
@fabric_options
@click.option(
    "--link", "links", multiple=True, metavar="A:B", help="Cut this cable: nic-0:tor-1. nic-0>tor-1: one way."
)
@click.option("--tor", "tors", multiple=True, metavar="TOR", help="Kill this ToR: tor-3.")
@click.option("--nic", "nics", multiple=True, metavar="NIC", help="Kill all ports of this card: nic-0.")
@click.option("--at", "at_s", type=Duration(), default="10s", show_default=True, help="When it breaks.")
@click.option("--repair", "repair_s", type=Duration(), help="How long until it works again. Default: never.")
@click.option("--flap", "flaps", type=int, default=1, help="How often it goes down, for --repair each time.")
@click.option("--left", type=float, default=0.0, help="Share of its capacity that is left. Default: none.")
@click.option("--convergence", "convergence_s", type=Duration(), default=f"{CONVERGENCE_S:g}s", show_default=True,
              help="From the fault to new routes (an estimate).")  # fmt: skip
@click.option("--op", type=click.Choice(OPS), default="allreduce", show_default=True, help="What the job repeats.")
@click.option("--algorithm", type=click.Choice(list(MAKERS)), help="How it does it. Default: in rings.")
@click.option("--bytes", "size", type=Sizes(), default="1G", show_default=True, help="Of one iteration.")
@click.option("--for", "for_s", type=Duration(), default="60s", show_default=True, help="How long the job runs.")
@click.option("--against", metavar="NAME|FILE", help="The same on another network, side by side: single_tor.")
@click.option("--report", type=click.Path(path_type=Path), help="Write an HTML report with the timeline here.")
@load_options
@json_option
def command(
    fabric: str, gpus: int | None, settings: Mapping[str, str], links: tuple[str, ...], tors: tuple[str, ...],
    nics: tuple[str, ...], at_s: float, repair_s: float | None, flaps: int, left: float, convergence_s: float, op: str,
    algorithm: str | None, size: tuple[int, ...], for_s: float, against: str | None, report: Path | None, as_json: bool,
    **load: Any,
) -> None:  # fmt: skip
    """Cut a link, a ToR or a card while a collective runs in a loop.

    \b
      roadbed fabric break --gpus 256 --link nic-0:tor-1 --at 10s --repair 30s
      roadbed fabric break --gpus 256 --tor tor-0 --against single_tor --report tor.html
      roadbed fabric break --fabric dcn_plus --gpus 256 --nic nic-3 --flap 3 --repair 2s --json

    Without --link, --tor or --nic the first cable of nic-0 is cut.
    """
    chosen = Load(**load)
    if len(size) != 1:
        raise UsageError("an iteration has one size", hint="--bytes 1G", field="bytes")
    named = [("link", one) for one in links] + [("tor", one) for one in tors] + [("nic", one) for one in nics]
    outages = []
    for name in (fabric, *([against] if against else ())):
        network = load_fabric(name, gpus=gpus, settings=settings if name == fabric else {})
        faults = [
            parse(network, what, at_s=at_s, repair_s=repair_s, flaps=flaps, share=left, kind=kind)  # type: ignore[arg-type]
            for kind, what in _fitting(network, named, name == fabric)
        ]
        (ranks,) = chosen.jobs(network, gpus or network.num_gpus, 1)
        outages.append(
            run(
                network, faults, gpus=ranks, op=check_op(op), algorithm=algorithm, size=size[0], for_s=for_s,
                options=chosen.path_options(network), convergence_s=convergence_s, health=chosen.health(network),
            )
        )  # fmt: skip
    if report is not None:
        write_text(report, render(outages))
        talk(f"report: {report}")
    if as_json:
        print_json({"outages": [_plain(one) for one in outages]})
        return
    _show(outages)


def _fitting(network: Fabric, named: list[tuple[str, str]], first: bool) -> list[tuple[str, str]]:
    """What to break: as named; by default, and where another network wires a card elsewhere, its first cable."""
    if not named:
        return [("link", _first_cable(network, "nic-0"))]
    if first:
        return named
    out = []
    for kind, what in named:
        card = what.replace(">", ":").partition(":")[0]
        try:
            parse(network, what, at_s=0.0)
        except NotFoundError:
            if kind != "link" or not card.startswith("nic-"):
                raise
            what = _first_cable(network, card)
        out.append((kind, what))
    return out


def _first_cable(network: Fabric, card: str) -> str:
    node = network.find_node(card)
    cables = [int(one) for one in network.leaving(node) if network.link_kind[one] == LinkKind.ACCESS]
    if not cables:
        raise UsageError(f"{card} has no cable to a ToR", field="link")
    return network.link_name(cables[0])


def _plain(outage: Outage) -> dict[str, Any]:
    """For JSON, which knows no nan."""
    return {
        name: None if isinstance(value, float) and math.isnan(value) else value
        for name, value in msgspec.to_builtins(outage).items()
    }


def _show(outages: list[Outage]) -> None:
    rows = []
    for one in outages:
        rates = [one.before, one.during, one.rerouted, one.after]
        rows.append([one.fabric, *("-" if math.isnan(rate) else f"{rate / 1e9:,.0f}" for rate in rates)])
        rows[-1] += [human_time(one.stalled_s), str(one.iterations)]
        rows[-1] += ["survives" if one.job_lost_s is None else f"lost at {one.job_lost_s:.3g} s"]
    headers = ["FABRIC", "BEFORE", "BROKEN", "REROUTED", "AFTER", "STALLED", "ITERATIONS", "JOB"]
    print_table(headers, rows, right=(1, 2, 3, 4, 5, 6))
    for one in outages:
        talk(f"{one.fabric:>12} {_sparkline(one.seconds)} {len(one.seconds)} s")
    first = outages[0]
    for when, words in first.events[:12]:
        talk(dim(f"{when:8.1f} s  {words}"))
    if len(first.events) > 12:
        talk(dim(f"           … {len(first.events) - 12} more"))
    talk(
        dim(
            f"GB/s between servers; {first.op} of {human_size(first.bytes)} on {first.gpus} GPUs, {first.algorithm}; "
            f"a connection without progress is given up after {RDMA_GIVES_UP_S:.0f} s"
        )
    )


def _sparkline(values: list[float]) -> str:
    """The values as bars, at most _WIDTH of them, each the mean of its stretch."""
    top = max(values, default=0.0) or 1.0
    step = max(1, math.ceil(len(values) / _WIDTH))
    means = [sum(part) / len(part) for part in (values[at : at + step] for at in range(0, len(values), step))]
    return "".join(_BARS[round(8 * mean / top)] for mean in means)
