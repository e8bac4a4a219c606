"""`roadbed fabric step`: a training step on a network, from a model's name or a SimAI workload file."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import click
import msgspec

from roadbed.cli.base import dim, human_time, json_option, print_json, print_table, talk
from roadbed.cli.fabric_base import fabric_options, load_fabric, read_text
from roadbed.cli.fabric_load import Load, human_size, load_options
from roadbed.errors import UsageError
from roadbed.fabric.step.model import MODELS, find_model
from roadbed.fabric.step.parallel import usual_cut
from roadbed.fabric.step.run import MATMUL_EFFICIENCY, Exposed, Step, run_step
from roadbed.fabric.step.simai import parse_workload
from roadbed.fabric.step.simai_results import Results, parse_results
from roadbed.fabric.step.workload import PHASES, WorkloadStep, run_workload

Count = click.IntRange(1, 1 << 20)


@click.command("step")
@fabric_options
@click.option("--workload", type=click.Path(path_type=Path), help="A SimAI workload file; it says how many GPUs.")
@click.option("--against", type=click.Path(path_type=Path), help="SimAI's results of that workload: its CSV.")
@click.option("--model", help=f"One of {', '.join(MODELS)}.")
@click.option("--tp", type=Count, help="Tensor-parallel ranks. Default: what is usual for the model.")
@click.option("--pp", type=Count, help="Pipeline stages. Default: what is usual for the model.")
@click.option("--cp", type=Count, help="Context-parallel ranks.")
@click.option("--ep", type=Count, help="Expert-parallel ranks.")
@click.option("--micro-batch", type=Count, default=1, show_default=True, help="Samples of a micro-batch.")
@click.option("--global-batch", type=Count, help="Samples of a step.")
@click.option("--zero", type=click.IntRange(0, 3), default=0, show_default=True, help="ZeRO stage.")
@click.option("--virtual", type=Count, default=1, show_default=True, help="Model chunks per pipeline stage.")
@click.option("--recompute", is_flag=True, help="Compute activations again in the backward pass.")
@click.option("--efficiency", type=click.FloatRange(0, 1, min_open=True), default=MATMUL_EFFICIENCY, show_default=True,
              help="Share of the chip's peak that matrix multiplications reach.")  # fmt: skip
@click.option("--concurrent", type=click.IntRange(1, 4096), default=1, show_default=True, help="Jobs at the same time.")
@load_options
@json_option
def command(
    fabric: str,
    gpus: int | None,
    settings: Mapping[str, str],
    workload: Path | None,
    against: Path | None,
    model: str | None,
    efficiency: float,
    concurrent: int,
    as_json: bool,
    **given: Any,
) -> None:
    """How long is a training step here, and what of it is communication?

    \b
      roadbed fabric step --fabric hpn7 --gpus 448 --model gpt3-175b --tp 8 --pp 8 --global-batch 448
      roadbed fabric step --fabric dcn_plus --workload gpt_13b.txt --json

    Compute is a roofline over the chip at --efficiency of its peak (or what the workload file says); communication is
    that of all groups at once on this network. MFU counts the model's operations alone.
    """
    if (workload is None) == (model is None):
        raise UsageError(
            "give either --workload FILE or --model NAME", hint="roadbed fabric step --help", field="model"
        )
    if against and not workload:
        raise UsageError("--against holds a workload's results against SimAI's: give --workload too", field="against")
    theirs = parse_results(read_text(against), str(against)) if against else None
    cut = {name: given.pop(name) for name in ("tp", "pp", "cp", "ep", "micro_batch", "zero", "virtual", "recompute")}
    batch = given.pop("global_batch") or 0
    load = Load(**given)
    parsed = parse_workload(read_text(workload), str(workload)) if workload else None
    num = parsed.all_gpus if parsed else gpus
    if parsed and gpus not in (None, num):
        raise UsageError(f"--gpus {gpus}: {workload} is for {num} GPUs", hint="leave out --gpus", field="gpus")
    network = load_fabric(fabric, gpus=num and num * concurrent, settings=settings)
    jobs = load.jobs(network, num or network.num_gpus // concurrent, concurrent)
    options, health = load.path_options(network), load.health(network)
    step: Step | WorkloadStep
    if parsed:
        step = run_workload(network, parsed, jobs, options, health)
    else:
        parallel = usual_cut(model or "", global_batch=batch, **cut)
        step = run_step(network, find_model(model or ""), parallel, jobs, options, health, efficiency=efficiency)
    compared = _compared(step, theirs) if theirs and isinstance(step, WorkloadStep) else []
    if as_json:
        print_json({**msgspec.to_builtins(step), **({"against": compared} if theirs else {})})
        return
    show(step)
    if compared:
        click.echo()
        print_table(
            ["PHASE", "SIMAI", "OURS", "OURS / SIMAI"],
            [
                [row["phase"], human_time(row["simai_s"]), human_time(row["ours_s"]), _ratio(row["ratio"])]
                for row in compared
            ],
            right=(1, 2, 3),
        )


def _compared(step: WorkloadStep, theirs: Results) -> list[dict[str, Any]]:
    """Communication by phase, and compute: SimAI's and ours."""
    pairs = [(phase, theirs.total_s(phase), step.phase_s[phase]) for phase in PHASES]
    pairs.append(("compute", theirs.compute_s(), step.compute_s))
    return [
        {"phase": phase, "simai_s": simai, "ours_s": ours, "ratio": ours / simai if simai else None}
        for phase, simai, ours in pairs
    ]


def _ratio(ratio: float | None) -> str:
    return "-" if ratio is None else f"{ratio:.2f}"


def show(step: Step | WorkloadStep) -> None:
    """A step for people: where its time goes."""
    rows: list[Sequence[str]] = [["compute", "", "", "", human_time(step.compute_s), _share(step.compute_s, step)]]
    rows += [_row(one, step) for one in step.exposed]
    if isinstance(step, WorkloadStep) and step.pp_s:
        rows.append(["pp", "sendrecv", "", "", human_time(step.pp_s), _share(step.pp_s, step)])
    if step.bubble_s:
        rows.append(["bubble", "", "", "", human_time(step.bubble_s), _share(step.bubble_s, step)])
    rows.append(["step", "", "", "", human_time(step.step_s), ""])
    print_table(["WHAT", "OPERATION", "SIZE", "TOTAL", "EXPOSED", "SHARE"], rows, right=(2, 3, 4, 5))
    if isinstance(step, Step):
        talk(dim(
            f"{step.model} on {step.fabric}: {step.samples_per_s:.1f} samples/s, {step.tokens_per_s_gpu:,.0f} tokens/s "
            f"per GPU, MFU {step.mfu:.1%}; dp {step.dp}, {step.num_micro_batches} micro-batches, {step.samples} samples"
        ))  # fmt: skip
    talk(dim(f"{human_size(int(step.cross_segment_bytes))} upwards from ToRs per step"))


def _row(one: Exposed, step: Step | WorkloadStep) -> Sequence[str]:
    what = f"{one.dimension} ×{one.num_ranks}"
    size = human_size(max(1, int(one.size)))
    return [what, f"{one.op} ({one.algorithm})", size, human_time(one.total_s), human_time(one.exposed_s),
            _share(one.exposed_s, step)]  # fmt: skip


def _share(seconds: float, step: Step | WorkloadStep) -> str:
    return f"{seconds / step.step_s:.1%}"
