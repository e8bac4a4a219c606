"""Figures against ones worked out by hand, bins against a slow loop."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from roadbed.scheduler.base import Gang, Job, Placement, Shape, Slot
from roadbed.spec.inventory import NodeInfo
from roadbed.twin.metrics import Interval, binned, devices_of, figures, held_intervals, node_use, spread
from roadbed.twin.world import Record, Span


def job(id_: str, devices: int = 2, num: int = 1, milli: int = 1000, quota: str = "q") -> Job:
    return Job(id=id_, gang=Gang(shape=Shape(num_devices=devices, milli=milli), num=num), quota=quota)


def record(of: Job, submit_s: float, end_s: float, queued_s: float, lost_s: float = 0.0, stops: int = 0) -> Record:
    made = Record(of, 1.0)
    made.submit_s, made.end_s, made.queued_s, made.lost_s, made.num_stops = submit_s, end_s, queued_s, lost_s, stops
    return made


def place(*nodes: int) -> Placement:
    return Placement(tuple(Slot(node, (0, 1)) for node in nodes))


def test_by_hand() -> None:
    a, b = job("a"), job("b", num=2)
    records = [record(a, 0, 100, 0), record(b, 10, 260, 50, lost_s=40, stops=1)]
    spans = [
        Span("a", 0, 100, place(0), 100.0),
        Span("b", 50, 150, place(1, 2), 60.0),
        Span("b", 160, 260, place(1, 2), 100.0),
        Span("other", 0, 1000, place(3), 1000.0),
    ]
    found = figures(records, spans, 3, 10.0, 200.0, [0.1, 0.3])
    assert (found.num_jobs, found.num_refused, found.num_preemptions) == (2, 3, 1)
    assert (found.queue_s.mean, found.jct_s.mean, found.jct_s.p50) == (25, 175, 175)
    assert found.allocation == pytest.approx((2 * 100 + 4 * 100 + 4 * 40) / 2000)
    assert found.utilisation == pytest.approx((2 * 100 + 4 * 60 + 4 * 100 * 0.4) / 2000)
    assert found.goodput == pytest.approx((200 + 240 + 400) / (200 + 400 + 400))
    assert found.lost_device_h == pytest.approx(40 * 4 / 3600)
    assert found.fragmentation == pytest.approx(0.2)
    assert found.makespan_s == 260


def test_an_idle_cluster_has_figures_too() -> None:
    found = figures([], [], 0, 8.0, 0.0, [])
    assert (found.allocation, found.goodput, found.queue_s.mean) == (0, 1, 0)
    assert devices_of(job("f", 1, milli=250)) == 0.25
    assert spread([]).p99 == 0


INTERVALS = st.lists(
    st.tuples(st.floats(0, 100), st.floats(0, 60), st.integers(1, 8)).map(lambda t: (t[0], t[0] + t[1], float(t[2]))),
    max_size=12,
)


@given(INTERVALS, st.integers(1, 7))
def test_bins_are_means_over_time(intervals: list[Interval], num: int) -> None:
    until_s = 90.0
    found = binned(intervals, until_s, num)
    for at in range(num):
        low, high = at * until_s / num, (at + 1) * until_s / num
        area = sum(amount * max(0.0, min(high, end) - max(low, begin)) for begin, end, amount in intervals)
        assert found[at] == pytest.approx(area / (high - low), rel=1e-6, abs=1e-6)


def test_nothing_to_bin() -> None:
    assert binned([], 10.0, 3).tolist() == [0, 0, 0]
    assert binned([(0, 1, 1)], 0.0, 2).tolist() == [0, 0]


def test_use_by_quota_and_node() -> None:
    jobs = {"a": job("a"), "b": job("b", quota="r")}
    spans = [Span("a", 0, 10, place(0), 10.0), Span("b", 10, 20, place(0), 10.0), Span("gone", 0, 9, place(1), 9.0)]
    assert held_intervals(spans, jobs) == {"q": [(0, 10, 2.0)], "r": [(10, 20, 2.0)]}
    nodes = [
        NodeInfo(name=f"n{at}", cpu_milli=1, memory_mib=1, chip="T4" if n else "", num_devices=n)
        for at, n in enumerate((4, 2, 0))
    ]
    assert np.array_equal(node_use(spans, jobs, nodes, 40.0, 4), [[0.5, 0.5, 0, 0], [0] * 4, [0] * 4])
    assert math.isfinite(node_use(spans, jobs, nodes, 40.0, 4).sum())
