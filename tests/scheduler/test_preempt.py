"""Who makes room: the cheapest that really helps, and nobody else."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from roadbed.scheduler.base import Job, Topology
from roadbed.scheduler.events import NodeDown, Resize, Start, Stop
from roadbed.scheduler.pool import Config
from roadbed.scheduler.quota import Quota
from tests.scheduler.cluster import Edge, job, nodes, scheduler, starts, stops


def edge_of(num_nodes: int = 2, *, quotas: tuple[Quota, ...] = (), slow: bool = True, **config: float) -> Edge:
    return Edge(scheduler(nodes(num_nodes), quotas, Config(**config)), slow=slow)  # type: ignore[arg-type]


class TestInOneQuota:
    def test_lower_priority_leaves_and_its_devices_are_kept_for_the_preemptor(self) -> None:
        edge = edge_of(1)
        edge.submit(0.0, job("low", 8, priority=2, grace_s=20.0))
        assert edge.submit(1.0, job("high", 8, priority=7)) == [Stop("low", "priority", "high", 21.0)]
        assert edge.scheduler.why("high", 1.0).reason == "victims_leaving"
        assert edge.submit(2.0, job("other", 1, priority=7)) == []  # nothing is free: it is held for `high`
        assert starts(edge.exit(3.0, "low", outcome="stopped")) == ["high"]
        assert {id_ for _, id_ in edge.scheduler.queue(3.0)} == {"low", "other"}

    @pytest.mark.parametrize("priority", [2, 1])
    def test_never_for_equal_or_lower(self, priority: int) -> None:
        edge = edge_of(1)
        edge.submit(0.0, job("low", 8, priority=2))
        assert edge.submit(1.0, job("new", 8, priority=priority)) == []

    def test_who_can_not_be_stopped_or_is_protected_stays(self) -> None:
        edge = edge_of(2)
        edge.submit(0.0, job("fixed", 8, priority=1, preemptible=False), job("young", 8, priority=1, min_run_s=100.0))
        assert edge.submit(1.0, job("high", 8, priority=9)) == []
        assert stops(edge.decide(100.0)) == [("young", "priority")]

    def test_the_cheapest_leaves(self) -> None:
        edge = edge_of(2)
        edge.submit(0.0, job("dear", 8, priority=1, checkpoint_s=0.0), job("cheap", 8, priority=1, checkpoint_s=100.0))
        assert stops(edge.submit(1005.0, job("high", 8, priority=9))) == [("cheap", "priority")]

    def test_only_as_many_as_needed_on_one_node(self) -> None:
        """An 8-device process needs one node: freeing 8 devices on four nodes would not do."""
        edge = edge_of(4)
        edge.submit(0.0, *(job(f"j{at}", 2, priority=1) for at in range(16)))
        stopped = stops(edge.submit(1.0, job("high", 8, priority=9)))
        assert len(stopped) == 4
        claim = edge.scheduler.pool.book.claims["high"]
        (node,) = {slot.node for slot in claim.placement.slots}
        assert {edge.scheduler.pool.book.runs[id_].placement.slots[0].node for id_, _ in stopped} == {node}

    def test_free_devices_are_used_before_anybody_leaves(self) -> None:
        edge = edge_of(1)
        edge.submit(0.0, job("a", 2, priority=1), job("b", 2, priority=1))
        assert stops(edge.submit(1.0, job("high", 6, priority=9))) in ([("a", "priority")], [("b", "priority")])
        assert edge.scheduler.pool.state.used_milli == 8000  # the free half is held already

    def test_topology_is_asked_for_and_given(self) -> None:
        edge = edge_of(4)  # two segments of two nodes
        edge.submit(0.0, *(job(f"n{at}", 8, priority=1) for at in range(4)))
        together = Topology(required="segment")
        found = stops(edge.submit(1.0, job("high", 8, 2, priority=9, topology=together)))
        segments = {
            edge.scheduler.pool.state.nodes[edge.scheduler.pool.book.runs[id_].held[0].node].segment for id_, _ in found
        }
        assert len(found) == 2
        assert len(segments) == 1

    def test_nobody_leaves_when_it_would_not_help(self) -> None:
        edge = edge_of(2)
        edge.submit(
            0.0, job("fixed", 1, preemptible=False), job("fixed2", 8, preemptible=False), job("low", 4, priority=1)
        )
        assert edge.submit(1.0, job("high", 8, priority=9)) == []

    def test_a_quota_at_its_max_makes_room_within(self) -> None:
        edge = edge_of(2, quotas=(Quota(name="q", max={"gpu": 8000}),))
        edge.submit(0.0, job("low", 8, priority=1, quota="q"))
        assert stops(edge.submit(1.0, job("high", 4, priority=9, quota="q"))) == [("low", "priority")]
        assert starts(edge.exit(2.0, "low", outcome="stopped")) == ["high"]

    def test_it_can_be_switched_off(self) -> None:
        edge = edge_of(1, preempt=False)
        edge.submit(0.0, job("low", 8, priority=1))
        assert edge.submit(1.0, job("high", 8, priority=9)) == []


class TestElastic:
    def test_it_shrinks_before_anybody_dies(self) -> None:
        edge = edge_of(2, grow_s=10.0, slow=False)
        edge.submit(0.0, job("elastic", 4, 1, max_num=4, priority=1, checkpoint_s=60.0))
        edge.decide(20.0)
        assert edge.scheduler.pool.book.runs["elastic"].num == 4
        found = edge.submit(30.0, job("high", 8, priority=9))
        assert stops(found) == []
        assert [each.reason for each in found if isinstance(each, Resize)] == ["priority"]
        assert starts(found) == ["high"]
        assert edge.scheduler.pool.book.runs["elastic"].num == 2

    def test_its_surplus_goes_to_equals_too(self) -> None:
        edge = edge_of(1, grow_s=10.0, slow=False)
        edge.submit(0.0, job("elastic", 2, 1, max_num=4))
        edge.decide(20.0)
        assert starts(edge.submit(30.0, job("equal", 4))) == ["equal"]
        assert edge.submit(31.0, job("more", 8)) == []

    def test_it_stops_when_shrinking_is_not_enough(self) -> None:
        edge = edge_of(1, grow_s=10.0, slow=False)
        edge.submit(0.0, job("elastic", 2, 1, max_num=4, priority=1))
        edge.decide(20.0)
        found = edge.submit(30.0, job("high", 8, priority=9))
        assert stops(found) == [("elastic", "priority")]
        assert starts(found) == ["high"]


class TestAcrossQuotas:
    def quotas(self) -> tuple[Quota, ...]:
        return Quota(name="a", min={"gpu": 8000}, preempt_siblings=True), Quota(name="b", min={"gpu": 8000})

    def test_borrowed_capacity_is_given_back_and_no_more(self) -> None:
        edge = edge_of(2, quotas=self.quotas())
        edge.submit(0.0, *(job(f"b{at}", 4, quota="b", priority=9) for at in range(4)))
        found = stops(edge.submit(1.0, job("a1", 8, quota="a", priority=1)))
        assert [reason for _, reason in found] == ["reclaim", "reclaim"]
        assert edge.submit(40.0, job("a2", 4, quota="a", priority=9)) == []  # b is down to its guarantee

    def test_only_the_lender_may_ask(self) -> None:
        edge = edge_of(2, quotas=self.quotas())
        edge.submit(0.0, *(job(f"a{at}", 4, quota="a") for at in range(4)))
        assert edge.submit(1.0, job("b1", 8, quota="b")) == []

    def test_fairness_preempts_only_where_it_is_switched_on(self) -> None:
        quotas = tuple(Quota(name=name, preempt_siblings=True) for name in "ab")
        for fair in (False, True):
            edge = edge_of(2, quotas=quotas, fair_preemption=fair, slow=False)
            edge.submit(0.0, *(job(f"b{at}", 4, quota="b") for at in range(4)))
            edge.submit(1.0, *(job(f"a{at}", 4, quota="a") for at in range(4)))
            edge.decide(40.0)
            edge.decide(80.0)
            assert sum(id_.startswith("a") for id_ in edge.running) == (2 if fair else 0)


def test_a_lost_node_breaks_the_claim_and_its_job_queues_again() -> None:
    edge = edge_of(2)
    edge.submit(0.0, job("low", 8, priority=1), job("low2", 8, priority=1))
    edge.submit(1.0, job("high", 8, priority=9))
    (stop,) = edge.stopping.values()
    node = edge.scheduler.pool.book.runs[stop.id].held[0].node
    edge.tell(NodeDown(f"n{node:03d}"), 2.0)
    assert edge.scheduler.pool.book.claims == {}
    found = edge.decide(2.0)
    assert (stop.id, "node_down") in stops(found)
    assert ("low" if stop.id == "low2" else "low2", "priority") in stops(found)
    edge.exit(3.0, stop.id, outcome="stopped")
    other = next(id_ for id_ in edge.stopping)
    assert starts(edge.exit(4.0, other, outcome="stopped")) == ["high"]


@given(
    st.lists(st.tuples(st.sampled_from([1, 2, 4, 8]), st.integers(1, 5), st.integers(0, 900)), min_size=4, max_size=20),
    st.sampled_from([(8, 1), (4, 2), (8, 2), (2, 1)]),
)
@settings(max_examples=60, deadline=None)
def test_no_victim_is_superfluous(low: list[tuple[int, int, int]], wanted: tuple[int, int]) -> None:
    """Whoever is chosen, all leave and the gang starts; and had any one of them stayed, its place would not be free."""
    edge = edge_of(2)
    for at, (devices, priority, since_s) in enumerate(sorted(low, key=lambda each: each[2])):
        edge.submit(float(since_s), job(f"j{at}", devices, priority=1, checkpoint_s=priority * 100.0))
    before = {id_: run.placement for id_, run in edge.scheduler.pool.book.runs.items()}
    high: Job = job("high", *wanted, priority=9)
    found = edge.submit(1000.0, high)
    claim = edge.scheduler.pool.book.claims.get("high")
    if claim is None:
        assert "high" in starts(found)  # every low job may go, so it never just waits
        return
    needed = {(slot.node, device) for slot in claim.placement.slots for device in slot.devices}
    victims = [id_ for id_, _ in stops(found)]
    for id_ in victims:
        own = {(slot.node, device) for slot in before[id_].slots for device in slot.devices}
        assert own & needed
    started: list[Start] = []
    for id_ in victims:
        started += [each for each in edge.exit(1001.0, id_, outcome="stopped") if isinstance(each, Start)]
    assert "high" in {each.id for each in started}
