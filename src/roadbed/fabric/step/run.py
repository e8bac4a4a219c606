"""How long a training step takes: compute on the chips, and the communication that does not hide behind it.

The schedule is 1F1B: with p stages, v model chunks on each and m micro-batches, a step is (m + (p − 1)/v) times one
micro-batch's forward and backward pass of a stage, plus the stage hand-overs of the first micro-batch, plus what the
gradient reduction takes beyond the last backward pass (Narayanan et al. 2021). Every group of one kind communicates at
the same time and shares links; so do other jobs.
"""

from collections.abc import Sequence

import msgspec
import numpy as np

from roadbed.errors import UsageError
from roadbed.fabric.base import Fabric, Floats, Health, Ints, Kind
from roadbed.fabric.collective.base import Op
from roadbed.fabric.collective.chooser import Ways, price_all
from roadbed.fabric.collective.run import PathOptions
from roadbed.fabric.step.model import Transformer
from roadbed.fabric.step.parallel import Groups, Parallel, data_parallel, groups_of, num_micro_batches
from roadbed.fabric.step.plan import Comm, Dimension, communication
from roadbed.hardware.chips import CHIPS, Chip, resolve

MATMUL_EFFICIENCY = 0.55
"""Share of the peak that a layer's matrix multiplications reach in practice. Declared, not derived: Megatron reports
52 % of an A100 for GPT-3 175B including what a step loses elsewhere; SimAI measures kernels instead."""


def chip_of(fabric: Fabric) -> Chip:
    """The catalogue's entry of the fabric's accelerator."""
    return CHIPS[resolve(fabric.chip)[0]]


class Exposed(msgspec.Struct, frozen=True):
    """Communication of one kind in one step."""

    dimension: Dimension
    op: str
    algorithm: str
    num_ranks: int
    size: float
    times: float
    """How often in a step, on one stage."""
    one_s: float
    total_s: float
    exposed_s: float
    """What of the total compute does not cover."""


class Step(msgspec.Struct, frozen=True, kw_only=True):
    """One training step."""

    fabric: str
    model: str
    gpus: int
    parallel: Parallel
    dp: int
    num_micro_batches: int
    samples: int
    step_s: float
    compute_s: float
    bubble_s: float
    exposed: list[Exposed]
    samples_per_s: float
    tokens_per_s_gpu: float
    mfu: float
    cross_segment_bytes: float
    """Over links between ToRs and Aggs in one step, upwards."""
    num_jobs: int = 1


class Priced(msgspec.Struct, frozen=True):
    """One message of each group of a dimension, all groups at once."""

    seconds: float
    algorithm: str
    up_bytes: float


def run_step(
    fabric: Fabric,
    model: Transformer,
    parallel: Parallel,
    placements: Sequence[Ints],
    options: PathOptions | None = None,
    health: Health | None = None,
    *,
    efficiency: float = MATMUL_EFFICIENCY,
) -> Step:
    """One step of the first job while the others (same model, other GPUs) do the same.

    placements: [jobs] GPUs of each in rank order. Raises UsageError for degrees that do not divide.
    """
    if not placements:
        raise UsageError("a step needs GPUs", field="gpus")
    num = len(placements[0])
    dp = data_parallel(parallel, model, num)
    micro = num_micro_batches(parallel, dp)
    jobs = [groups_of(parallel, np.asarray(gpus, np.int32), dp) for gpus in placements]
    compute = _compute(fabric, model, parallel, efficiency)
    sent = [
        (comm, _price(fabric, comm, jobs, options, health)) for comm in communication(model, parallel, dp)
    ]  # fmt: skip
    exposed = [_exposed(comm, priced, compute, micro, jobs[0]) for comm, priced in sent]
    reduction = sum(_late(comm, priced, compute[1]) for comm, priced in sent)
    one = sum(compute) + sum(_in_passes(comm, priced.seconds, compute) for comm, priced in sent)
    bubble = (parallel.pp - 1) / parallel.virtual * one
    step_s = micro * one + bubble + reduction
    samples = dp * parallel.micro_batch * micro
    peak = chip_of(fabric).flops_of("bf16", "fp16")
    return Step(
        fabric=fabric.name,
        model=model.name,
        gpus=num,
        parallel=parallel,
        dp=dp,
        num_micro_batches=micro,
        samples=samples,
        step_s=step_s,
        compute_s=micro * sum(compute),
        bubble_s=bubble,
        exposed=exposed,
        samples_per_s=samples / step_s,
        tokens_per_s_gpu=samples * model.seq / step_s / num,
        mfu=model.step_flops(samples) / (step_s * num * peak),
        cross_segment_bytes=sum(priced.up_bytes * _times(comm, micro) for comm, priced in sent),
        num_jobs=len(placements),
    )


def _times(comm: Comm, micro: int) -> float:
    """How often in a step, on one stage."""
    return micro * (comm.forward + comm.backward) + comm.per_step


def _late(comm: Comm, priced: Priced, backward: float) -> float:
    """Seconds of what is sent once a step that the last backward pass does not cover."""
    total = comm.per_step * priced.seconds
    return total - min(comm.overlap * backward, total)


def _exposed(comm: Comm, priced: Priced, compute: tuple[float, float], micro: int, groups: Groups) -> Exposed:
    times = _times(comm, micro)
    return Exposed(
        dimension=comm.dimension,
        op=comm.op,
        algorithm=priced.algorithm,
        num_ranks=_rows(groups, comm.dimension).shape[1],
        size=comm.size,
        times=times,
        one_s=priced.seconds,
        total_s=times * priced.seconds,
        exposed_s=micro * _in_passes(comm, priced.seconds, compute) + _late(comm, priced, compute[1]),
    )


def _compute(fabric: Fabric, model: Transformer, parallel: Parallel, efficiency: float) -> tuple[float, float]:
    """Seconds of a micro-batch's forward and backward pass on one GPU of one stage: roofline over the chip."""
    if not 0 < efficiency <= 1:
        raise UsageError(f"efficiency {efficiency:g} is not in (0, 1]", field="efficiency")
    chip = chip_of(fabric)
    tokens = parallel.micro_batch * model.seq
    layers = model.layers / parallel.pp
    cut = parallel.tp * parallel.cp
    flops = (layers * model.layer_flops(tokens) + model.head_flops(tokens) / parallel.pp) / cut
    weights = 2.0 * layers * (model.attention_params + model.experts / parallel.ep * model.ffn_params) / parallel.tp
    peak = chip.flops_of("bf16", "fp16")
    if peak == 0.0 or chip.memory_bandwidth_bytes_s == 0.0:
        raise UsageError(f"the catalogue has no bf16 or fp16 figure for {chip.name}", field="chip")
    forward = max(flops / (peak * efficiency), weights / chip.memory_bandwidth_bytes_s)
    return forward, forward * (3 if parallel.recompute else 2)


def _in_passes(comm: Comm, seconds: float, compute: tuple[float, float]) -> float:
    """Seconds that messages add to the two passes of a micro-batch."""
    counts = (comm.forward, comm.backward)
    return sum(max(0.0, num * seconds - comm.overlap * one) for num, one in zip(counts, compute, strict=True))


def _rows(groups: Groups, dimension: Dimension) -> Ints:
    rows: Ints = getattr(groups, dimension)
    return rows


def _price(
    fabric: Fabric, comm: Comm, jobs: Sequence[Groups], options: PathOptions | None, health: Health | None
) -> Priced:
    """One message of every group of every job at once."""
    rows = np.concatenate([_rows(groups, comm.dimension) for groups in jobs])
    choice = ways_of(fabric, comm.op, rows, options, health).best(comm.size)
    return Priced(choice.seconds, choice.algorithm, upward(fabric, choice.link_bytes))


def ways_of(
    fabric: Fabric, op: Op, rows: Ints, options: PathOptions | None = None, health: Health | None = None
) -> Ways:
    """All ways for all groups (rows) at once. Send/recv: every stage of a row passes on to the next one. Groups inside
    servers do not meet: one stands for all."""
    if op == "sendrecv":
        rows = np.concatenate([rows[:, at : at + 2] for at in range(rows.shape[1] - 1)])
    if (fabric.server[rows] == fabric.server[rows[:, :1]]).all():
        rows = rows[:1]
    return price_all(fabric, op, list(rows), options, health)


def upward(fabric: Fabric, link_bytes: Floats) -> float:
    """Bytes from ToRs up."""
    return float(link_bytes[upward_links(fabric)].sum())


def upward_links(fabric: Fabric) -> Ints:
    """Links from a ToR to an Agg."""
    found = np.flatnonzero((fabric.kind[fabric.src] == Kind.TOR) & (fabric.kind[fabric.dst] == Kind.AGG))
    return found.astype(np.int32)
