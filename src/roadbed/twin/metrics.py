"""What a run was worth, computed from who held what from when to when, and nothing else.

Shares of capacity are taken over the time in which jobs arrived: what is still running afterwards tells how long the
last job was, not how good the scheduler is. Queue time is all the time a job did not hold devices, before its first
start and after each preemption. Goodput is ETTR-like: useful work as a share of the devices' time that was held for it.
"""

import math
from collections.abc import Iterable, Mapping, Sequence

import msgspec
import numpy as np
from numpy.typing import NDArray

from roadbed.scheduler.base import WHOLE, Job
from roadbed.spec.inventory import NodeInfo
from roadbed.twin.stats import percentile
from roadbed.twin.world import Record, Span

Interval = tuple[float, float, float]
"""(from second, to second, amount)"""
Floats = NDArray[np.float64]


class Spread(msgspec.Struct, frozen=True):
    """Of a set of values; all 0 for an empty one, so that a table of an idle cluster can still be printed."""

    mean: float
    p50: float
    p99: float


class Figures(msgspec.Struct, frozen=True, kw_only=True):
    """One run in numbers. Shares are 0..1, times seconds; lost_device_h: device-hours of work done and thrown away.

    allocation: of all devices, held; utilisation: doing work that was not lost; fragmentation: of all devices, free and
    of no use to the expected jobs, mean over samples. num_stuck: jobs that still waited when nothing could happen any
    more; above 0 the scheduler has failed them and the other figures flatter it.
    """

    num_jobs: int
    num_refused: int
    num_stuck: int
    queue_s: Spread
    jct_s: Spread
    allocation: float
    utilisation: float
    fragmentation: float
    goodput: float
    num_preemptions: int
    num_moves: int
    lost_device_h: float
    makespan_s: float


def figures(
    records: Sequence[Record], spans: Sequence[Span], num_refused: int, capacity_devices: float, until_s: float,
    fragments: Sequence[float], num_stuck: int = 0,
) -> Figures:  # fmt: skip
    """records: finished jobs; spans of others are left out. until_s: when the last job arrived."""
    jobs = {record.job.id: record.job for record in records}
    held = useful = held_until = useful_until = 0.0
    for span in spans:
        job = jobs.get(span.id)
        if job is None:
            continue
        length_s = span.end_s - span.start_s
        devices = devices_of(job) * len(span.placement.slots)
        work = span.useful_s * devices_of(job) * job.gang.num
        held += devices * length_s
        useful += work
        inside = min(1.0, max(0.0, until_s - span.start_s) / length_s) if length_s else 0.0
        held_until += devices * length_s * inside
        useful_until += work * inside
    whole = capacity_devices * until_s
    return Figures(
        num_jobs=len(records),
        num_refused=num_refused,
        num_stuck=num_stuck,
        queue_s=spread(record.queued_s for record in records),
        jct_s=spread(record.end_s - record.submit_s for record in records),
        allocation=held_until / whole if whole else 0.0,
        utilisation=useful_until / whole if whole else 0.0,
        fragmentation=math.fsum(fragments) / len(fragments) if fragments else 0.0,
        goodput=useful / held if held else 1.0,
        num_preemptions=sum(record.num_stops for record in records),
        num_moves=sum(record.num_moves for record in records),
        lost_device_h=math.fsum(r.lost_s * devices_of(r.job) * r.job.gang.num for r in records) / 3600,
        makespan_s=max((record.end_s for record in records), default=0.0),
    )


def devices_of(job: Job) -> float:
    """Devices of one process, a fraction where it shares one."""
    return job.gang.shape.total_milli / WHOLE


def spread(values: Iterable[float]) -> Spread:
    """Mean, median and 99th percentile."""
    ordered = sorted(values)
    if not ordered:
        return Spread(0.0, 0.0, 0.0)
    return Spread(math.fsum(ordered) / len(ordered), percentile(ordered, 0.5), percentile(ordered, 0.99))


def binned(intervals: Sequence[Interval], until_s: float, num_bins: int) -> Floats:
    """The mean, over each of num_bins equal parts of 0..until_s, of the sum of amounts present. O(n log n)."""
    if not intervals or until_s <= 0:
        return np.zeros(num_bins)
    table = np.array(intervals, np.float64)
    times = np.concatenate([table[:, 0], table[:, 1]])
    steps = np.concatenate([table[:, 2], -table[:, 2]])
    order = np.argsort(times, kind="stable")
    times, level = times[order], np.cumsum(steps[order])
    area = np.concatenate([[0.0], np.cumsum(level[:-1] * np.diff(times))])
    edges = np.linspace(0.0, until_s, num_bins + 1)
    # Between two events the area grows linearly, so interpolating it at the edges is exact.
    at_edges = np.interp(edges, times, area, left=0.0, right=float(area[-1]))
    means: Floats = np.diff(at_edges) / (until_s / num_bins)
    return np.where(np.abs(means) < 1e-9, 0.0, means)


def held_intervals(spans: Iterable[Span], jobs: Mapping[str, Job]) -> dict[str, list[Interval]]:
    """Devices held, by quota."""
    found: dict[str, list[Interval]] = {}
    for span in spans:
        job = jobs.get(span.id)
        if job is not None:
            amount = devices_of(job) * len(span.placement.slots)
            found.setdefault(job.quota, []).append((span.start_s, span.end_s, amount))
    return found


def node_use(
    spans: Iterable[Span], jobs: Mapping[str, Job], nodes: Sequence[NodeInfo], until_s: float, num_bins: int
) -> Floats:
    """What share of each node's devices is held, over time. float64[nodes, num_bins], 0 for nodes without devices."""
    held: dict[int, list[Interval]] = {}
    for span in spans:
        job = jobs.get(span.id)
        if job is not None:
            for slot in span.placement.slots:
                held.setdefault(slot.node, []).append((span.start_s, span.end_s, devices_of(job)))
    found = np.zeros((len(nodes), num_bins))
    for at, intervals in held.items():
        if nodes[at].num_devices:
            found[at] = binned(intervals, until_s, num_bins) / nodes[at].num_devices
    return found
