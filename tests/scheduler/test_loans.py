"""Idle guarantees of services: lent, announced, asked back in time."""

import math

from roadbed.scheduler.accounts import QuotaTree
from roadbed.scheduler.base import Shape
from roadbed.scheduler.events import Demand, Start, Stop
from roadbed.scheduler.loans import Loans
from roadbed.scheduler.pool import Config
from roadbed.scheduler.quota import Quota
from tests.scheduler.cluster import Edge, job, nodes, scheduler, starts, stops

REPLICA = Shape(num_devices=1, cpu_milli=1000, memory_mib=1000)
DAY = 86_400.0
QUOTAS = (Quota(name="svc", min={"gpu": 8000}), Quota(name="train"))


def diurnal(at_s: float) -> float:
    """Two replicas at night, eight at noon."""
    return round(5 - 3 * math.cos(2 * math.pi * at_s / DAY))


def history(days: int, step_s: float = 900.0) -> tuple[tuple[float, float], ...]:
    return tuple((at * step_s, diurnal(at * step_s)) for at in range(int(days * DAY / step_s)))


def edge_of(num_nodes: int = 1, *, slow: bool = False) -> Edge:
    return Edge(scheduler(nodes(num_nodes), QUOTAS, Config(lead_s=900.0)), slow=slow)


def need(edge: Edge, now: float, num: int, samples: tuple[tuple[float, float], ...] = ()) -> None:
    edge.tell(Demand("svc", num, REPLICA, samples), now)
    edge.decide(now)


def test_what_is_not_needed_is_lent_and_no_more() -> None:
    edge = edge_of()
    need(edge, 0.0, 6)
    edge.submit(0.0, *(job(f"t{at}", quota="train") for at in range(4)))
    assert len(edge.running) == 2
    assert edge.scheduler.why("t3", 0.0).reason == "quota_not_lent"
    assert starts(edge.submit(1.0, *(job(f"r{at}", quota="svc", preemptible=False) for at in range(6)))) == [
        f"r{at}" for at in range(6)
    ]


def test_without_a_demand_a_guarantee_is_lent_whole() -> None:
    edge = edge_of()
    edge.submit(0.0, *(job(f"t{at}", quota="train") for at in range(9)))
    assert len(edge.running) == 8


def test_a_rising_demand_asks_back_the_cheapest() -> None:
    edge = edge_of(slow=True)
    need(edge, 0.0, 0)
    edge.submit(0.0, job("dear", 4, quota="train"), job("cheap", 4, quota="train", checkpoint_s=60.0))
    edge.tell(Demand("svc", 3, REPLICA), 610.0)
    assert edge.decide(610.0) == [Stop("cheap", "loan_return", "svc", 640.0)]
    edge.tell(Demand("svc", 4, REPLICA), 620.0)
    assert edge.decide(620.0) == []  # what is leaving already will do
    assert edge.exit(640.0, "cheap", outcome="stopped") == []  # it may not have it back
    replicas = [job(f"r{at}", quota="svc", preemptible=False) for at in range(4)]
    assert len(starts(edge.submit(641.0, *replicas))) == 4


def test_capacity_is_asked_back_ahead_of_the_need() -> None:
    """At six in the morning five replicas are needed and the forecast knows it a lead time before."""
    edge = edge_of()
    now = 2 * DAY
    need(edge, now, 2, history(2))
    lent = starts(edge.submit(now, *(job(f"t{at}", quota="train", grace_s=0.0) for at in range(8))))
    assert 5 <= len(lent) <= 6  # two are needed, and a margin for the days' errors
    asked: list[float] = []
    while now < 2 * DAY + DAY / 2:
        now += 300.0
        if edge.scheduler.wake_s(now - 300.0) is not None and stops(edge.decide(now)):
            asked.append(now)
        want = int(diurnal(now))
        free = 8 - len(edge.running)
        assert free >= want, f"at {now - 2 * DAY:.0f} s: {want} needed, {free} there"
    assert asked, "nothing was asked back all morning"


def test_borrowers_are_told_when_and_the_short_go_first() -> None:
    edge = edge_of()
    now = 2 * DAY
    need(edge, now, 2, history(2))
    found = edge.submit(now, *(job(f"t{at}", quota="train") for at in range(3)))
    back = {each.return_by_s for each in found if isinstance(each, Start)}
    assert len(back) == 1
    assert now < back.pop() < now + DAY / 4
    shorter = job("short", 1, quota="train", duration_s=600.0)
    longer = job("long", 2, quota="train", duration_s=DAY)
    assert starts(edge.submit(now + 1, longer, shorter))[0] == "short"


def test_services_are_not_told_to_return_what_is_theirs() -> None:
    edge = edge_of()
    need(edge, 2 * DAY, 2, history(2))
    found = edge.submit(2 * DAY, job("r", quota="svc", preemptible=False))
    assert [each.return_by_s for each in found if isinstance(each, Start)] == [0.0]


def test_a_need_beyond_the_guarantee_takes_nothing_from_others() -> None:
    edge = edge_of(2, slow=True)
    edge.submit(0.0, *(job(f"t{at}", quota="train") for at in range(8)))
    edge.tell(Demand("svc", 50, REPLICA), 1.0)
    assert edge.decide(1.0) == []  # eight are free, and more it is not guaranteed


def test_owners_of_cpu() -> None:
    tree = QuotaTree([Quota(name="svc", min={"cpu": 8000}), Quota(name="b")], {"gpu": 0, "cpu": 10_000})
    loans = Loans(60.0)
    loans.demand(Demand("svc", 3, Shape(cpu_milli=2000)), 0.0)
    assert loans.keep(tree, 0.0)
    assert tree.refusal("b", (0, 4000), True) == ""
    assert tree.refusal("b", (0, 4001), True) == "quota_not_lent"
    assert loans.return_by_s(0.0) == 0.0  # nothing says the need will rise
