"""`roadbed fabric collective`: collectives on a network, by size, in the columns of nccl-tests."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click
import msgspec
from msgspec import structs

from roadbed.cli.base import dim, human_time, json_option, print_json, print_table, talk
from roadbed.cli.fabric_base import fabric_options, load_fabric, write_text
from roadbed.cli.fabric_load import Load, Sizes, human_size, load_options
from roadbed.fabric.base import Fabric, Health, Ints
from roadbed.fabric.collective.base import OPS, check_op, ranks_of
from roadbed.fabric.collective.chooser import MAKERS, MENUS, Menu, algorithms, traffic_of
from roadbed.fabric.collective.plan import Plan, plan
from roadbed.fabric.collective.run import Job, PathOptions, goodput, price
from roadbed.fabric.collective.table import Grouping, Row, collective_rows, num_draws
from roadbed.fabric.layout import by_rail


@click.command("collective")
@fabric_options
@click.option("--op", type=click.Choice(OPS), default="allreduce", show_default=True, help="What the ranks do.")
@click.option("--sizes", type=Sizes(), default="1M..4G", show_default=True, help="1M..4G (×4), 1M..4G*2, or 64M,1G.")
@click.option("--groups", type=click.Choice(["all", "rail"]), default="all", show_default=True,
              help="One collective over all ranks, or one per rail at the same time.")  # fmt: skip
@click.option("--concurrent", type=click.IntRange(1, 4096), default=1, show_default=True, help="Jobs at the same time.")
@click.option("--algorithm", type=click.Choice(list(MAKERS)), help="Default: the quickest for each size.")
@click.option("--menu", type=click.Choice(MENUS), default="nccl", show_default=True,
              help="What to choose from: NCCL's algorithms, or all.")  # fmt: skip
@click.option(
    "--draws", type=click.IntRange(1, 1000), help="Draws of hashed connections to average. Default: 64 at most."
)
@click.option("--plan", "planned", is_flag=True,
              help="Also choose channels and rank order; --json has the GPUs in rank order.")  # fmt: skip
@click.option("--why", is_flag=True, help="Say why the algorithm was chosen, and what holds it.")
@click.option("--report", type=click.Path(path_type=Path), help="Write an HTML report with plots here.")
@load_options
@json_option
def command(
    fabric: str,
    gpus: int | None,
    settings: Mapping[str, str],
    op: str,
    sizes: tuple[int, ...],
    groups: Grouping,
    concurrent: int,
    algorithm: str | None,
    menu: Menu,
    draws: int | None,
    planned: bool,
    why: bool,
    report: Path | None,
    as_json: bool,
    **load: Any,
) -> None:
    """How long do collectives take on this network?

    \b
      roadbed fabric collective --fabric hpn7 --gpus 448 --op allreduce --sizes 1M..4G
      roadbed fabric collective --fabric dcn_plus --gpus 448 --op allreduce --groups rail --json
      roadbed fabric collective --fabric hpn7 --gpus 64 --concurrent 8 --fail nic-0:tor-0 --why

    --gpus is the size of one job; the network is built for all jobs. algbw is size over time; busbw is comparable
    between operations (nccl-tests, PERFORMANCE.md).
    """
    chosen = Load(**load)
    network = load_fabric(fabric, gpus=gpus and gpus * concurrent, settings=settings)
    paths = chosen.path_options(network)
    num = gpus or network.num_gpus // concurrent
    drawn = [chosen.jobs(network, num, concurrent, at) for at in range(draws or num_draws(network, paths))]
    if planned:
        _plan(plan(network, check_op(op), drawn[0][0], sizes, paths, chosen.health(network)), why, as_json)
        return
    rows = collective_rows(
        network,
        check_op(op),
        sizes,
        drawn,
        groups=groups,
        algorithm=algorithm,
        menu=menu,
        options=paths,
        health=chosen.health(network),
    )
    if report is not None:
        _write(report, network, rows, drawn, paths, chosen.health(network), algorithm)
    if as_json:
        print_json({"rows": [msgspec.structs.asdict(row) for row in rows]})
        return
    _show(network.name, rows, why)


def _plan(plans: list[Plan], why: bool, as_json: bool) -> None:
    if as_json:
        print_json({"rows": [{**structs.asdict(one), "gpus": one.gpus.tolist(), "tried": msgspec.to_builtins(one.tried)}
                             for one in plans]})  # fmt: skip
        return
    print_table(
        ["SIZE", "ALGORITHM", "CHANNELS", "ORDER", "TIME", "BUSBW GB/s"],
        [
            [human_size(one.bytes), one.algorithm, one.channels, one.order, human_time(one.seconds),
             f"{one.busbw_bytes_s / 1e9:.1f}"]
            for one in plans
        ],
        right=(2, 4, 5),
    )  # fmt: skip
    if why:
        for one in plans:
            talk(f"{human_size(one.bytes):>8}  {one.why}")


def _write(
    report: Path,
    network: Fabric,
    rows: list[Row],
    drawn: list[list[Ints]],
    paths: PathOptions,
    health: Health,
    algorithm: str | None,
) -> None:
    """Every algorithm's curve, and the links under the largest size's."""
    from roadbed.twin.fabric_report import Load as Under
    from roadbed.twin.fabric_report import collective_report

    first, last = rows[0], rows[-1]
    op, sizes = check_op(first.op), [row.bytes for row in rows]
    members = [part for gpus in drawn[0] for part in (by_rail(network, gpus) if first.groups == "rail" else [gpus])]
    curves = {"chosen": rows}
    for name in [algorithm] if algorithm else algorithms(network, op, ranks_of(network, members[0]), "all"):
        curves[name] = collective_rows(
            network, op, sizes, drawn, groups=first.groups, algorithm=name, options=paths, health=health
        )  # fmt: skip
    ranks = [ranks_of(network, gpus) for gpus in members]
    name = algorithm or last.algorithm.removesuffix("_tree")
    work = [Job(op, one, traffic_of(network, op, one, name)) for one in ranks]
    solved = price(network, work, structs.replace(paths, draws=1), health)
    slowest = max(one.net_s_per_byte for one in solved.jobs)
    use = solved.link_bytes / goodput(network, health).clip(1.0) / slowest if slowest else solved.link_bytes
    under = Under(network, use, f"{last.algorithm}, {human_size(last.bytes)}, mean over the slowest session")
    write_text(report, collective_report(curves, under))
    talk(f"report: {report}")


def _show(name: str, rows: list[Row], why: bool) -> None:
    print_table(
        ["SIZE", "ALGORITHM", "TIME", "ALGBW GB/s", "BUSBW GB/s"],
        [
            [
                human_size(row.bytes),
                row.algorithm,
                human_time(row.time_s),
                f"{row.algbw_gbytes_s:.1f}",
                f"{row.busbw_gbytes_s:.1f}",
            ]
            for row in rows
        ],
        right=(2, 3, 4),
    )
    first = rows[0]
    talk(
        dim(
            f"{name}, {first.gpus} GPUs × {first.concurrent}, {first.ranks} ranks, "
            f"paths {first.paths}, mean of {first.draws}"
        )
    )
    if why:
        for row in rows:
            talk(f"{human_size(row.bytes):>8}  {row.algorithm}: {row.why}")
