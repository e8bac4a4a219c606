"""Decisions take effect in time, work is done, lost and finished, and the books balance whatever happens."""

import itertools
import math
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from roadbed.scheduler.base import Gang, Job, Shape
from roadbed.scheduler.core import Scheduler
from roadbed.scheduler.events import Cordon
from roadbed.scheduler.planner import TreePlanner
from roadbed.scheduler.policies.bestfit import BestFit
from roadbed.scheduler.quota import Quota
from roadbed.scheduler.state import State
from roadbed.spec.inventory import NodeInfo
from roadbed.twin.kernel import Kernel
from roadbed.twin.world import Record, Times, World


def world(num: int = 2, quotas: tuple[Quota, ...] = (), times: Times | None = None) -> World:
    nodes = [NodeInfo(name=f"n{at}", cpu_milli=8000, memory_mib=1000, chip="T4", num_devices=4) for at in range(num)]
    state = State(nodes)
    return World(Scheduler(state, TreePlanner(state, BestFit()), quotas), Kernel(), times)


def job(id_: str, devices: int = 4, num: int = 1, at: float = 0.0, **more: object) -> Job:
    gang = Gang(shape=Shape(num_devices=devices), num=num, max_num=int(str(more.pop("max_num", 0))))
    return Job(id=id_, gang=gang, submit_s=at, **more)  # type: ignore[arg-type]


def test_a_queue_of_three_on_one_node() -> None:
    on = world(1)
    on.load([(job("a"), 100.0), (job("b", at=10), 50.0), (job("c", at=20), 10.0)])
    on.kernel.run()
    ends = {id_: record.end_s for id_, record in on.records.items()}
    assert ends == {"a": 100, "b": 150, "c": 160}
    assert [record.queued_s for record in on.records.values()] == [0, 90, 130]
    assert [(span.id, span.start_s, span.end_s, span.useful_s) for span in on.spans] == [
        ("a", 0, 100, 100), ("b", 100, 150, 50), ("c", 150, 160, 10),
    ]  # fmt: skip
    assert on.waits == [(0, 0), (10, 100), (20, 150)]
    assert on.num_left == 0
    assert not on.live
    assert on.scheduler.pool.state.used_milli == 0


def test_starting_takes_time() -> None:
    on = world(1, times=Times(start_s=30.0))
    on.load([(job("a"), 100.0)])
    on.kernel.run()
    assert on.records["a"].end_s == 130
    assert on.spans[0].useful_s == 100


def test_a_lost_node_costs_what_was_not_saved() -> None:
    on = world(1)
    on.load([(job("a", checkpoint_s=40.0), 100.0)])
    on.kernel.at(70.0, lambda: on.fail("n0", 50.0))
    on.kernel.run()
    record = on.records["a"]
    assert (record.lost_s, record.num_stops, record.num_starts) == (30.0, 1, 2)
    assert record.end_s == 70 + 50 + 60
    assert record.queued_s == 50
    assert [span.useful_s for span in on.spans] == [40, 60]


def test_without_checkpoints_all_is_lost() -> None:
    on = world(1)
    on.load([(job("a"), 100.0)])
    on.kernel.at(70.0, lambda: on.fail("n0", 1.0))
    on.kernel.run()
    assert (on.records["a"].lost_s, on.records["a"].end_s) == (70, 171)


def test_priority_preempts_within_its_grace() -> None:
    on = world(1, times=Times(stop_s=5.0))
    on.load([(job("low", priority=2, checkpoint_s=10.0, grace_s=3.0), 100.0), (job("high", at=55, priority=9), 20.0)])
    on.kernel.run()
    low, high = on.records["low"], on.records["high"]
    assert high.first_start_s == 58  # the grace is shorter than it would like to take
    assert (low.lost_s, low.num_stops, low.saved_s) == (5.0, 1, 100.0)
    assert low.end_s == 58 + 20 + 50


def test_elastic_jobs_grow_into_idle_nodes_and_are_faster() -> None:
    on = world(3)
    on.load([(job("e", max_num=3), 3000.0), (job("x", num=2), 300.0)])
    on.kernel.run()
    record = on.records["e"]
    assert record.num_moves >= 1
    assert record.end_s < 2500
    assert sum(span.useful_s for span in on.spans if span.id == "e") == pytest.approx(3000)


def test_drained_nodes_are_left() -> None:
    on = world(2, times=Times(move_s=7.0))
    on.load([(job("a", checkpoint_s=10.0), 100.0)])
    on.kernel.at(35.0, lambda: on.tell(Cordon("n0", drain=True)))
    on.kernel.at(35.0, lambda: on.tell(Cordon("n1", drain=False, on=False)))
    on.kernel.run()
    record = on.records["a"]
    assert record.num_moves + record.num_stops == 1
    assert {slot.node for slot in on.spans[-1].placement.slots} == {1}
    assert record.end_s > 100


def test_what_can_never_run_is_refused_and_does_not_hold_up_the_end() -> None:
    on = world(1)
    on.load([(job("a", devices=4, num=9), 10.0), (job("b"), 10.0)])
    on.kernel.run()
    assert "a" in on.refused
    assert "devices" in on.refused["a"]
    assert list(on.records) == ["b"]
    assert on.kernel.now == 10


def test_endless_jobs_are_watched_and_withdrawn() -> None:
    on = world(1)
    seen: list[tuple[float, bool]] = []
    on.kernel.at(
        0.0, lambda: on.submit(Record(job("svc"), math.inf, 20.0, lambda up: seen.append((on.kernel.now, up))))
    )
    on.kernel.at(0.0, lambda: on.submit(Record(job("svc2"), math.inf, 20.0, lambda up: seen.append((-1.0, up)))))
    on.kernel.at(50.0, lambda: on.withdraw("svc2"))
    on.kernel.at(100.0, lambda: on.withdraw("svc"))
    on.kernel.run(1000.0)
    assert seen == [(20.0, True), (105.0, False)]
    assert on.scheduler.pool.state.used_milli == 0
    assert "svc2" not in on.records


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10_000))
def test_the_books_balance(seed: int) -> None:
    """Random jobs, failures, priorities and two quotas: all work is done exactly once, nobody holds two places."""
    rng = random.Random(seed)
    quotas = (
        Quota(name="a", min={"gpu": 6000}, preempt_siblings=True),
        Quota(name="b", min={"gpu": 4000}, preempt_siblings=True),
    )
    on = world(3, quotas, Times(start_s=rng.choice([0.0, 15.0]), stop_s=rng.choice([0.0, 5.0, 60.0])))
    jobs = [
        (
            job(
                f"j{at}", rng.choice([1, 2, 4]), rng.choice([1, 1, 2]), rng.uniform(0, 500), quota=rng.choice("ab"),
                priority=rng.randint(1, 9), checkpoint_s=rng.choice([0.0, 20.0]), max_num=rng.choice([0, 3]),
            ),
            rng.choice([0.0, 1.0, rng.uniform(1, 400)]),
        )
        for at in range(25)
    ]  # fmt: skip
    on.load(jobs)
    for _ in range(rng.randint(0, 3)):
        name, repair_s = f"n{rng.randrange(3)}", rng.uniform(1, 100)
        on.kernel.at(rng.uniform(0, 600), lambda name=name, repair_s=repair_s: on.fail(name, repair_s))  # type: ignore[misc]
    on.kernel.run(1e6)
    assert on.num_left == 0
    assert on.scheduler.pool.state.used_milli == 0
    for asked, work_s in jobs:
        record = on.records[asked.id]
        mine = [span for span in on.spans if span.id == asked.id]
        assert sum(span.useful_s for span in mine) == pytest.approx(work_s, abs=1e-6)
        assert all(first.end_s <= second.start_s for first, second in itertools.pairwise(mine))
        held_s = sum(span.end_s - span.start_s for span in mine)
        assert record.end_s - record.submit_s == pytest.approx(held_s + record.queued_s, abs=1e-6)
        assert record.num_starts == record.num_stops + 1
        assert record.lost_s >= 0
