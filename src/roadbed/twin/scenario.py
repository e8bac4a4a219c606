"""One run of a trace of jobs under one policy: machines, quotas and the scheduler put together, and what came of it.

Quotas are the trace's own; each is guaranteed the share of the devices that its jobs will need in the end, as an
operator with hindsight would set it. Without machines given, there are as many as make the trace a wanted load. A seed
draws which jobs take part (`sample`), in which order nodes stand and which of them fail; every policy sees the same.
"""

import math
import random
from collections.abc import Sequence

import msgspec
import numpy as np

from roadbed.errors import UsageError
from roadbed.scheduler.base import Job
from roadbed.scheduler.core import Scheduler
from roadbed.scheduler.fragment import Fragments
from roadbed.scheduler.policies.registry import make_planner
from roadbed.scheduler.state import State
from roadbed.scheduler.target import target_of
from roadbed.spec.inventory import NodeInfo
from roadbed.twin.kernel import Kernel
from roadbed.twin.metrics import Figures, binned, figures, held_intervals, node_use
from roadbed.twin.queueing import ONE_LINE, make_queueing, make_quotas, shares_of
from roadbed.twin.trace import TraceJob, to_job
from roadbed.twin.world import Times, World

NUM_BINS = 240
_FRAGMENT_SAMPLES = 200
_MAX_NODES_DRAWN = 256


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """What surrounds the policy. sample: share of jobs that take part. know: durations told to the scheduler, as
    recorded ("exact"), or only what owners declared ("declared"). node_mtbf_h: mean hours between a node's failures,
    0 = never."""

    sample: float = 1.0
    know: str = "declared"
    checkpoint_s: float = 1800.0
    node_mtbf_h: float = 0.0
    repair_h: float = 4.0
    times: Times = Times()


class Pictures(msgspec.Struct, frozen=True):
    """Means over equal parts of 0..until_s, for plots. used: devices by quota; nodes: share held, nodes × parts."""

    until_s: float
    capacity: float
    used: dict[str, list[float]]
    waiting: list[float]
    nodes: list[list[float]]


class JobsRow(msgspec.Struct, frozen=True):
    """One run. pictures: only when asked for."""

    policy: str
    seed: int
    figures: Figures
    cpu_s: float = 0.0
    pictures: Pictures | None = None


def sized(jobs: Sequence[TraceJob], load: float, per_node: int, num_extra: int = 0) -> list[NodeInfo]:
    """Nodes of per_node devices, sixteen to a segment, on which the trace is that load: work ÷ (capacity × the time
    over which jobs arrive). Never fewer than its largest job needs; num_extra more of them."""
    if not (0 < load < math.inf) or per_node < 1:
        raise UsageError(f"a load of {load:g} on nodes of {per_node} devices", hint="roadbed twin jobs --help")
    over_s = max(job.submit_s for job in jobs) or 1.0
    devices = math.fsum(job.device_s for job in jobs) / over_s / load
    largest = max(job.num_devices for job in jobs)
    each = max(1, max(to_job(job, per_node, 0.0).gang.shape.cpu_milli * per_node for job in jobs))
    memory = max(1, max(job.memory_mib * per_node for job in jobs))
    num = max(1, math.ceil(devices / per_node), math.ceil(largest / per_node)) + num_extra
    return [
        NodeInfo(
            name=f"node-{at:05d}", cpu_milli=max(128_000, each), memory_mib=max(1 << 20, memory), chip=_chip(jobs),
            num_devices=per_node, segment=f"segment-{at // 16}",
        )
        for at in range(num)
    ]  # fmt: skip


def _chip(jobs: Sequence[TraceJob]) -> str:
    """A kind every job takes, where the jobs name kinds."""
    named = [set(job.chips) for job in jobs if job.chips]
    common = sorted(set.intersection(*named)) if named else ["H100"]
    if not common:
        raise UsageError("no kind of device suits all jobs", hint="roadbed twin jobs --help", field="load")
    return common[0]


def drawn(jobs: Sequence[TraceJob], share: float, seed: int) -> list[TraceJob]:
    """The jobs of one seed: each takes part with probability `share`. UsageError where none would."""
    if share >= 1:
        return list(jobs)
    rng = random.Random(seed)
    found = [job for job in jobs if rng.random() < share]
    if not found:
        raise UsageError(f"a sample of {share:g} of {len(jobs)} jobs is empty", hint="roadbed twin jobs --help")
    return found


def build(
    jobs: Sequence[TraceJob], nodes: Sequence[NodeInfo], policy: str, seed: int, settings: Settings
) -> tuple[World, list[tuple[Job, float]]]:
    """The world of one run, not yet started, and the jobs with the work of each, not yet loaded."""
    queueing = make_queueing(policy)
    rng = np.random.default_rng(seed)
    state = State([nodes[at] for at in rng.permutation(len(nodes))])
    per_node = int(state.num_devices.max(initial=0))
    asked = [to_asked(job, per_node, settings, ONE_LINE if queueing.one_line else job.quota) for job in jobs]
    target = target_of(job.gang.shape for job, _ in asked)
    planner = make_planner(queueing.placement, state, target, rng)
    shares = shares_of([(job.quota, job.device_s) for job in jobs])
    quotas = make_quotas(queueing, shares, state.total_milli)
    return World(Scheduler(state, planner, quotas, queueing.config), Kernel(), settings.times), asked


def run_jobs(
    jobs: Sequence[TraceJob], nodes: Sequence[NodeInfo], policy: str, seed: int, settings: Settings, *,
    pictures: bool = False,
) -> JobsRow:  # fmt: skip
    """Replays the jobs to their end. UsageError for unknown policies; jobs that can't run are counted refused."""
    world, asked = build(jobs, nodes, policy, seed, settings)
    until_s = max(job.submit_s for job in jobs)
    world.load(asked)
    fragments = watch_fragments(world, [job for job, _ in asked], until_s)
    if settings.node_mtbf_h > 0:
        break_nodes(world, settings, random.Random(seed))
    world.kernel.run()
    return summary(world, policy, seed, until_s, fragments, pictures=pictures)


def summary(
    world: World, policy: str, seed: int, until_s: float, fragments: Sequence[float], *, pictures: bool
) -> JobsRow:
    """The row of a world that has come to its end."""
    done = [record for record in world.records.values() if record.end_s < math.inf and record.work_s < math.inf]
    capacity = world.scheduler.pool.state.total_milli / 1000
    found = figures(done, world.spans, len(world.refused), capacity, until_s, fragments, world.num_left)
    return JobsRow(policy, seed, found, pictures=_pictures(world, until_s, capacity) if pictures else None)


def watch_fragments(world: World, jobs: Sequence[Job], until_s: float) -> list[float]:
    """A list that fills while the world runs: the fragmented share of all devices, sampled evenly until until_s."""
    state = world.scheduler.pool.state
    measure = Fragments(state, target_of(job.gang.shape for job in jobs))
    everywhere = np.arange(state.num_nodes, dtype=np.int64)
    found: list[float] = []

    def sample() -> None:
        found.append(float(measure.of(state, everywhere).sum()) / max(1, state.total_milli))

    for at in range(1, _FRAGMENT_SAMPLES + 1):
        world.kernel.at(until_s * at / _FRAGMENT_SAMPLES, sample, priority=10)
    return found


def break_nodes(world: World, settings: Settings, rng: random.Random) -> None:
    """Each node fails at random (exponential) and is repaired, as long as jobs are left."""
    kernel, repair_s = world.kernel, settings.repair_h * 3600

    def later(name: str) -> None:
        kernel.after(rng.expovariate(1 / (settings.node_mtbf_h * 3600)), lambda: fail(name))

    def fail(name: str) -> None:
        world.fail(name, repair_s)
        kernel.after(repair_s, lambda: later(name))

    for node in world.scheduler.pool.state.nodes:
        later(node.name)


def to_asked(job: TraceJob, per_node: int, settings: Settings, quota: str) -> tuple[Job, float]:
    """A job as it is submitted, in a quota, with what the scheduler is to know; and the seconds it will really take."""
    asked = to_job(job, per_node, settings.checkpoint_s)
    duration_s = max(1.0, job.duration_s) if settings.know == "exact" else job.declared_s
    return msgspec.structs.replace(asked, quota=quota, duration_s=duration_s), job.duration_s


def _pictures(world: World, until_s: float, capacity: float) -> Pictures:
    jobs = {id_: record.job for id_, record in world.records.items()}
    used = held_intervals(world.spans, jobs)
    waits = [(start_s, end_s, 1.0) for start_s, end_s in world.waits if end_s > start_s]
    state = world.scheduler.pool.state
    shares = node_use(world.spans, jobs, state.nodes, until_s, NUM_BINS)
    order = sorted(range(state.num_nodes), key=lambda at: state.nodes[at].name)
    order = order[:: max(1, math.ceil(len(order) / _MAX_NODES_DRAWN))]
    return Pictures(
        until_s,
        capacity,
        {name: binned(held, until_s, NUM_BINS).tolist() for name, held in sorted(used.items())},
        binned(waits, until_s, NUM_BINS).tolist(),
        [np.round(shares[at], 3).tolist() for at in order],
    )
