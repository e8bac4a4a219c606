"""`roadbed fabric collective`: collectives on a network, by size, in the columns of nccl-tests."""

from collections.abc import Mapping
from typing import Any

import click
import msgspec

from roadbed.cli.base import dim, json_option, print_json, print_table, talk
from roadbed.cli.fabric_base import fabric_options, load_fabric
from roadbed.cli.fabric_load import Load, Sizes, human_size, human_time, load_options
from roadbed.fabric.collective.base import OPS, check_op
from roadbed.fabric.collective.chooser import MAKERS, MENUS, Menu
from roadbed.fabric.collective.table import Grouping, Row, collective_rows, num_draws


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
@click.option("--why", is_flag=True, help="Say why the algorithm was chosen, and what holds it.")
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
    why: bool,
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
    if as_json:
        print_json({"rows": [msgspec.structs.asdict(row) for row in rows]})
        return
    _show(network.name, rows, why)


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
