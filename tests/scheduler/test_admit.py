"""Passes: who goes first between quotas, and that work is bounded by what changed."""

import pytest

from roadbed.scheduler.admit import within_chips
from roadbed.scheduler.base import Funnel, Gang, Placement
from roadbed.scheduler.core import Scheduler
from roadbed.scheduler.order import Waiter
from roadbed.scheduler.planner import TreePlanner
from roadbed.scheduler.policies.bestfit import BestFit
from roadbed.scheduler.quota import Quota
from roadbed.scheduler.state import State
from tests.scheduler.cluster import Edge, job, nodes, scheduler, starts


class Counting:
    """The real planner, counting. Around it and not a subclass: the compiled one has none."""

    def __init__(self, planner: TreePlanner) -> None:
        self.num_plans = 0
        self._planner = planner

    def plan(self, gang: Gang, num: int | None = None) -> Placement | None:
        self.num_plans += 1
        return self._planner.plan(gang, num)

    def possible(self, gang: Gang) -> bool:
        return self._planner.possible(gang)

    def funnel(self, gang: Gang) -> Funnel:
        return self._planner.funnel(gang)


def counting(num_nodes: int, *quotas: Quota) -> tuple[Edge, Counting]:
    state = State(nodes(num_nodes))
    planner = Counting(TreePlanner(state, BestFit()))
    return Edge(Scheduler(state, planner, quotas)), planner


def test_quotas_take_turns_by_share() -> None:
    edge = Edge(scheduler(nodes(1), [Quota(name="a"), Quota(name="b")]))
    wanted = [job(f"{name}{at}", quota=name) for name in "ab" for at in range(8)]
    found = starts(edge.submit(0.0, *wanted))
    assert sorted(found) == ["a0", "a1", "a2", "a3", "b0", "b1", "b2", "b3"]


@pytest.mark.parametrize(("weight", "share"), [(1.0, 4), (3.0, 6)])
def test_weights_divide_what_is_not_guaranteed(weight: float, share: int) -> None:
    edge = Edge(scheduler(nodes(1), [Quota(name="a", weight=weight), Quota(name="b")]))
    edge.submit(0.0, *(job(f"{name}{at}", quota=name) for name in "ba" for at in range(8)))
    assert sum(id_.startswith("a") for id_ in edge.running) == share


def test_a_full_cluster_plans_nothing_again() -> None:
    edge, planner = counting(1)
    edge.submit(0.0, job("a", 8, duration_s=1e6))
    edge.submit(1.0, job("w0", 8, duration_s=10.0))
    planner.num_plans = 0
    for at in range(1, 200):
        edge.submit(1.0 + at, job(f"w{at}", 8, duration_s=10.0))
    assert planner.num_plans == 0
    assert len(edge.scheduler.pool.waiting) == 200


def test_what_is_freed_is_planned_once_per_gang_not_per_job_or_quota() -> None:
    names = [f"q{at}" for at in range(8)]
    edge, planner = counting(1, *(Quota(name=name, strategy="traverse", backfill="off") for name in names))
    edge.submit(0.0, job("a", 4, quota="q0"), job("b", 4, quota="q0"))
    for name in names:
        edge.submit(1.0, *(job(f"{name}-{at}", 8, quota=name) for at in range(20)))
    planner.num_plans = 0
    edge.exit(2.0, "a")
    assert planner.num_plans == 1


def test_chips_without_room_are_left_out() -> None:
    infos = nodes(1) + nodes(1, chip="A100", first=9)
    made = scheduler(infos, [Quota(name="q", max={"H100": 1000})])
    made.pool.enqueue(waiter := _waiter(made, "a", 2))
    gang = within_chips(made.pool, waiter)
    assert gang is not None
    assert gang.shape.chips == ("A100",)
    only = _waiter(made, "b", 2, chips=("H100",))
    assert within_chips(made.pool, only) is None


def _waiter(made: Scheduler, id_: str, devices: int, chips: tuple[str, ...] = ()) -> Waiter:
    wanted = job(id_, devices, quota="q", chips=chips)
    return Waiter(wanted, made.pool.kind_of(wanted.gang), 1, 0.0)
