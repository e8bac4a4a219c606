"""`roadbed fabric compare`: designs side by side under one training job."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click
import msgspec

from roadbed.cli.base import dim, human_time, json_option, print_json, print_table, talk
from roadbed.cli.fabric_base import find_family, gpus_option, load_fabric, read_text, set_option, write_text
from roadbed.cli.fabric_load import Load, human_size, load_options
from roadbed.errors import UsageError
from roadbed.fabric import prices as price_table
from roadbed.fabric.collective.table import collective_rows
from roadbed.fabric.compare import Compared, assess
from roadbed.fabric.step.model import MODELS, find_model
from roadbed.fabric.step.parallel import usual_cut
from roadbed.fabric.step.run import MATMUL_EFFICIENCY

Count = click.IntRange(1, 1 << 20)
MAX_DESIGNS = 16
SIZES = [1 << (20 + 2 * at) for at in range(7)]


@click.command("compare")
@click.argument("fabrics", nargs=-1, required=True, metavar="NAME|FILE...")
@gpus_option
@set_option
@click.option("--model", default="gpt3-175b", show_default=True, help=f"One of {', '.join(MODELS)}.")
@click.option("--tp", type=Count, help="Tensor-parallel ranks. Default: what is usual for the model.")
@click.option("--pp", type=Count, help="Pipeline stages.")
@click.option("--ep", type=Count, help="Expert-parallel ranks.")
@click.option("--global-batch", type=Count, help="Samples of a step.")
@click.option("--efficiency", type=click.FloatRange(0, 1, min_open=True), default=MATMUL_EFFICIENCY, show_default=True,
              help="Share of the chip's peak that matrix multiplications reach.")  # fmt: skip
@click.option("--concurrent", type=click.IntRange(1, 4096), default=1, show_default=True, help="Jobs at the same time.")
@click.option("--prices", type=click.Path(path_type=Path), help="Your prices: YAML; see fabric show --list-prices.")
@click.option("--report", type=click.Path(path_type=Path), help="Write an HTML report with plots here.")
@load_options
@json_option
def command(
    fabrics: tuple[str, ...],
    gpus: int | None,
    settings: Mapping[str, str],
    model: str,
    efficiency: float,
    concurrent: int,
    prices: Path | None,
    report: Path | None,
    as_json: bool,
    **given: Any,
) -> None:
    """What does one training job get out of each design, and what does the design cost?

    \b
      roadbed fabric compare hpn7 dcn_plus --gpus 2304 --model gpt3-175b
      roadbed fabric compare hpn7 rail_only fat_tree --gpus 1024 --model mixtral-8x7b --report designs.html

    --gpus is the size of one job. Each design is built for all jobs, with placement and paths as it is meant to be
    used, unless --placement, --order or --paths say otherwise; all carry the first one's chip. Queues and prices are
    estimates.
    """
    if len(fabrics) > MAX_DESIGNS:
        raise UsageError(f"{len(fabrics)} designs; at most {MAX_DESIGNS} fit side by side", field="fabrics")
    cut = usual_cut(model, **{name: given.pop(name) for name in ("tp", "pp", "ep", "global_batch")})
    load, trained = Load(**given), find_model(model)
    table = None if prices is None else price_table.read(read_text(prices), str(prices))
    rows: list[Compared] = []
    networks, curves = [], {}
    chip = settings.get("chip")
    for name in fabrics:
        counts = {**settings, "chip": chip} if chip and find_family(name) else settings
        network = load_fabric(name, gpus=gpus and gpus * concurrent, settings=counts)
        chip = chip or network.chip
        jobs = load.jobs(network, gpus or network.num_gpus // concurrent, concurrent)
        networks.append(network)
        if report is not None:
            curves[network.name] = collective_rows(network, "allreduce", SIZES, [jobs])
        rows.append(
            assess(
                network, trained, cut, jobs, load.path_options(network),
                health=load.health(network), efficiency=efficiency, prices=table,
            )
        )  # fmt: skip
    if report is not None:
        from roadbed.twin.fabric_report import compare_report

        write_text(report, compare_report(rows, networks, curves))
        talk(f"report: {report}")
    if as_json:
        print_json({"rows": [_data(row) for row in rows]})
        return
    _show(rows)


def _data(row: Compared) -> dict[str, Any]:
    return {
        "fabric": row.fabric,
        "paths": row.paths,
        "step_time_s": row.step.step_s,
        "samples_per_s": row.step.samples_per_s,
        "mfu": row.step.mfu,
        "cross_segment_bytes": row.step.cross_segment_bytes,
        "max_queue_bytes": row.max_queue_bytes,
        "busiest_link": row.busiest_link,
        "busiest_share": row.busiest_share,
        "usd_per_gpu": row.usd_per_gpu,
        "watts_per_gpu": row.watts_per_gpu,
        "step": msgspec.to_builtins(row.step),
        "design": msgspec.to_builtins(row.design),
    }


def _show(rows: list[Compared]) -> None:
    first = rows[0]
    lines: list[list[str]] = [
        ["step", *(human_time(row.step.step_s) for row in rows)],
        ["samples/s", *(f"{row.step.samples_per_s:,.1f}" for row in rows)],
        ["against the first", *(f"{row.step.samples_per_s / first.step.samples_per_s - 1:+.1%}" for row in rows)],
        ["MFU", *(f"{row.step.mfu:.1%}" for row in rows)],
        ["exposed communication", *(f"{_exposed(row):.1%}" for row in rows)],
        ["cross-segment bytes/step", *(human_size(int(row.step.cross_segment_bytes)) for row in rows)],
        ["max queue", *(human_size(int(row.max_queue_bytes)) for row in rows)],
        ["busiest link", *(f"{row.busiest_link} {row.busiest_share:.0%}" for row in rows)],
        ["switches", *(f"{row.design.num_switches:,}" for row in rows)],
        ["cost per GPU", *(f"{row.usd_per_gpu:,.0f} USD" for row in rows)],
        ["power per GPU", *(f"{row.watts_per_gpu:,.0f} W" for row in rows)],
    ]
    print_table(["", *(row.fabric for row in rows)], lines, right=range(1, len(rows) + 1))
    step = first.step
    cut = step.parallel
    talk(dim(
        f"{step.model} on {step.gpus:,} GPUs × {step.num_jobs}: tp {cut.tp}, pp {cut.pp}, dp {step.dp}, "
        f"{step.samples:,} samples a step; queues and prices are estimates"
    ))  # fmt: skip


def _exposed(row: Compared) -> float:
    return sum(one.exposed_s for one in row.step.exposed) / row.step.step_s
