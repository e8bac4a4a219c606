"""Designs side by side under one training job: what it gets out of each, and what each costs.

Every design is built for as many GPUs, its jobs stand where that design puts them, and its connections choose paths as
it is meant to (`collective.table`). Queues are those of the gradient reduction, the largest burst of a step, with all
groups sending at once.
"""

from collections.abc import Sequence

import msgspec
import numpy as np

from roadbed.fabric.base import Fabric, Floats, Health, Ints, Kind
from roadbed.fabric.collective.base import ranks_of
from roadbed.fabric.collective.chooser import traffic_of
from roadbed.fabric.collective.run import Job, PathOptions, goodput, prepare
from roadbed.fabric.designs import Design, describe
from roadbed.fabric.flows import Flows, simulate
from roadbed.fabric.prices import Price
from roadbed.fabric.step.model import Transformer
from roadbed.fabric.step.parallel import Parallel, data_parallel, groups_of
from roadbed.fabric.step.plan import communication
from roadbed.fabric.step.run import MATMUL_EFFICIENCY, Step, run_step


class Compared(msgspec.Struct, frozen=True, kw_only=True):
    """One design."""

    fabric: str
    paths: str
    step: Step
    max_queue_bytes: float
    """Of the fullest port of a switch; an estimate, see `flows.Outcome.peak_queue_bytes`."""
    busiest_link: str
    busiest_share: float
    """Of its capacity, while gradients are reduced."""
    utilisation: Floats
    """[L] Of every link's capacity, while gradients are reduced."""
    usd_per_gpu: float
    watts_per_gpu: float
    design: Design


def assess(
    fabric: Fabric,
    model: Transformer,
    parallel: Parallel,
    jobs: Sequence[Ints],
    options: PathOptions,
    *,
    health: Health | None = None,
    efficiency: float = MATMUL_EFFICIENCY,
    prices: dict[str, Price] | None = None,
) -> Compared:
    """One design under jobs of this model. Raises UsageError as `run_step` does."""
    step = run_step(fabric, model, parallel, jobs, options, health, efficiency=efficiency)
    queue, use = _burst(fabric, model, parallel, jobs, options, health or Health.of(fabric))
    busiest = int(np.argmax(use))
    design = describe(fabric, prices)
    return Compared(
        fabric=fabric.name,
        paths=options.policy,
        step=step,
        max_queue_bytes=queue,
        busiest_link=fabric.link_name(busiest) if use[busiest] > 0 else "",
        busiest_share=float(use[busiest]),
        utilisation=use,
        usd_per_gpu=design.usd / design.num_gpus,
        watts_per_gpu=design.watts / design.num_gpus,
        design=design,
    )


def _burst(
    fabric: Fabric, model: Transformer, parallel: Parallel, jobs: Sequence[Ints], options: PathOptions, health: Health
) -> tuple[float, Floats]:
    """Fullest queue of a switch, and the use of every link between cards, while all gradients are reduced."""
    nothing = 0.0, np.zeros(fabric.num_links)
    dp = data_parallel(parallel, model, len(jobs[0]))
    sent = [one for one in communication(model, parallel, dp) if one.dimension == "dp"]
    if not sent:
        return nothing
    comm = max(sent, key=lambda one: one.size)
    rows = np.concatenate([groups_of(parallel, np.asarray(gpus, np.int32), dp).dp for gpus in jobs])
    groups = [ranks_of(fabric, row) for row in rows]
    if all(one.num_servers == 1 for one in groups):
        return nothing
    work = [Job(comm.op, one, traffic_of(fabric, comm.op, one, "ring")) for one in groups]
    ready = prepare(fabric, work, options, health)
    flows = Flows.of(ready.sessions, ready.bytes_per_byte * comm.size, latency_s=ready.latency_s)
    capacity = goodput(fabric, health)
    outcome = simulate(fabric, flows, capacity=capacity, health=health)
    ports = fabric.kind[fabric.src] >= Kind.TOR
    queue = float(outcome.peak_queue_bytes[ports].max(initial=0.0))
    network = (fabric.kind[fabric.src] >= Kind.NIC) & (fabric.kind[fabric.dst] >= Kind.NIC)
    use = np.where(network, outcome.link_bytes / np.maximum(capacity, 1.0) / max(outcome.end_s, 1e-12), 0.0)
    return queue, use
