"""Nodes that are lost or must be left, elastic growth, and the limits of what a pass does."""

from roadbed.scheduler.base import Topology
from roadbed.scheduler.events import Cordon, Demand, Migrate, NodeDown, NodeUp, Resize, Risk, Stop
from roadbed.scheduler.pool import Config
from roadbed.scheduler.quota import Quota
from tests.scheduler.cluster import Edge, job, nodes, scheduler, starts, stops


def edge_of(num_nodes: int = 2, *, slow: bool = False, quotas: tuple[Quota, ...] = (), **config: float) -> Edge:
    return Edge(scheduler(nodes(num_nodes), quotas, Config(**config)), slow=slow)  # type: ignore[arg-type]


def node_of(edge: Edge, id_: str) -> str:
    state = edge.scheduler.pool.state
    return state.nodes[edge.scheduler.pool.book.runs[id_].placement.slots[0].node].name


def test_a_job_may_look_for_room_in_vain_for_ever() -> None:
    edge = edge_of(1, defrag_moves=1, retry_s=1.0)
    edge.submit(0.0, job("runs", 8, preemptible=False), job("waits", 8))
    for at in range(1, 1200):
        assert edge.decide(at * 30.0) == []
    assert edge.scheduler.pool.waiting["waits"].try_at_s == 1199 * 30.0 + 20.0  # not looked for any less often


class TestNodes:
    def test_a_lost_node_stops_whole_gangs_at_once(self) -> None:
        edge = edge_of(2, slow=True)
        edge.submit(0.0, job("gang", 8, 2, grace_s=99.0))
        edge.tell(NodeDown("n001"), 5.0)
        assert edge.decide(5.0) == [Stop("gang", "node_down", "n001", 5.0)]
        assert edge.decide(6.0) == []  # said once
        edge.exit(7.0, "gang", outcome="stopped")
        assert edge.scheduler.why("gang", 7.0).reason == "impossible"
        edge.tell(NodeUp("n001"), 8.0)
        assert starts(edge.decide(8.0)) == ["gang"]

    def test_a_node_that_is_back_before_the_next_pass_has_lost_its_processes_all_the_same(self) -> None:
        edge = edge_of(2, slow=True)
        edge.submit(0.0, job("a", 8), job("b", 8))
        edge.tell(NodeDown("n000"), 5.0)
        edge.tell(NodeUp("n000"), 5.5)
        lost = next(id_ for id_ in ("a", "b") if node_of(edge, id_) == "n000")
        assert edge.decide(6.0) == [Stop(lost, "node_down", "n000", 6.0)]
        assert starts(edge.exit(7.0, lost, outcome="stopped")) == [lost]

    def test_a_job_that_is_leaving_is_killed_with_its_node(self) -> None:
        edge = edge_of(1, slow=True)
        edge.submit(0.0, job("low", 8, priority=1), job("high", 8, priority=9))
        edge.submit(1.0)
        assert edge.stopping == {} or "low" in edge.stopping
        edge.tell(NodeDown("n000"), 2.0)
        assert [(each.kill_at_s, each.reason) for each in edge.decide(2.0) if isinstance(each, Stop)] == [
            (2.0, "node_down")
        ]

    def test_cordoned_takes_nothing_new_and_keeps_what_runs(self) -> None:
        edge = edge_of(1)
        edge.submit(0.0, job("a", 1))
        edge.tell(Cordon("n000"), 1.0)
        assert edge.submit(2.0, job("b", 1)) == []
        assert "a" in edge.running
        edge.tell(Cordon("n000", on=False), 3.0)
        assert starts(edge.decide(3.0)) == ["b"]

    def test_nodes_may_begin_cordoned_or_at_risk(self) -> None:
        first, second, third = nodes(3)
        infos = [
            type(first)(**{**_fields(first), "cordoned": True}),
            type(second)(**{**_fields(second), "risk": 0.9}),
            third,
        ]
        edge = Edge(scheduler(infos))
        edge.submit(0.0, *(job(f"j{at}", 8) for at in range(3)))
        assert len(edge.running) == 1
        assert node_of(edge, next(iter(edge.running))) == "n002"


def _fields(node: object) -> dict[str, object]:
    return {name: getattr(node, name) for name in node.__struct_fields__}  # type: ignore[attr-defined]


class TestDrain:
    def test_jobs_move_at_their_next_checkpoint(self) -> None:
        edge = edge_of(2, slow=True)
        edge.submit(0.0, job("a", 8, checkpoint_s=100.0))
        name = node_of(edge, "a")
        edge.tell(Risk(name, 0.8), 130.0)
        assert edge.decide(130.0) == []
        assert edge.scheduler.wake_s(130.0) == 200.0
        (move,) = edge.decide(200.0)
        assert isinstance(move, Migrate)
        assert (move.reason, move.cost_device_s) == ("risk", 0.0)
        assert edge.scheduler.pool.state.used_milli == 16_000  # both places until it has moved
        edge.moved(230.0, "a")
        assert edge.scheduler.pool.state.used_milli == 8000
        assert node_of(edge, "a") != name

    def test_without_a_place_it_stays_until_the_next_checkpoint(self) -> None:
        edge = edge_of(2)
        edge.submit(0.0, job("a", 8, checkpoint_s=100.0), job("b", 8))
        edge.tell(Cordon(node_of(edge, "a"), drain=True), 10.0)
        assert edge.decide(100.0) == []
        assert edge.exit(110.0, "b") == []
        assert [type(each) for each in edge.decide(200.0)] == [Migrate]

    def test_what_never_saves_stays_until_the_deadline(self) -> None:
        edge = edge_of(2, slow=True)
        edge.submit(0.0, job("a", 8))
        edge.tell(Cordon(node_of(edge, "a"), drain=True, drain_by_s=500.0), 10.0)
        assert edge.decide(499.0) == []
        assert edge.scheduler.wake_s(499.0) == 500.0
        assert stops(edge.decide(500.0)) == [("a", "drain")]
        assert starts(edge.exit(510.0, "a", outcome="stopped")) == ["a"]

    def test_a_node_that_recovers_is_not_left(self) -> None:
        edge = edge_of(2)
        edge.submit(0.0, job("a", 8, checkpoint_s=100.0))
        edge.tell(Risk(node_of(edge, "a"), 0.8), 10.0)
        edge.decide(10.0)
        edge.tell(Risk(node_of(edge, "a"), 0.1), 20.0)
        assert edge.decide(100.0) == []


class TestGrowth:
    def test_it_grows_into_what_nobody_wants_and_not_at_once(self) -> None:
        edge = edge_of(1, grow_s=60.0)
        edge.submit(0.0, job("e", 2, 1, max_num=3))
        assert edge.decide(59.0) == []
        assert edge.scheduler.wake_s(59.0) == 60.0
        (resize,) = edge.decide(60.0)
        assert isinstance(resize, Resize)
        assert (resize.reason, len(resize.placement.slots), len(resize.old.slots)) == ("grow", 3, 1)
        assert resize.placement.slots[0] == resize.old.slots[0]
        assert edge.decide(1000.0) == []  # as large as it may be

    def test_not_while_somebody_waits_for_room(self) -> None:
        edge = edge_of(1, grow_s=60.0)
        edge.submit(0.0, job("e", 2, 1, max_num=3), job("fixed", 4), job("waits", 4))
        assert edge.decide(100.0) == []
        edge.exit(101.0, "fixed")
        assert "waits" in edge.running

    def test_not_beyond_its_quota(self) -> None:
        edge = edge_of(1, grow_s=60.0, quotas=(Quota(name="q", max={"gpu": 4000}),))
        edge.submit(0.0, job("e", 2, 1, max_num=4, quota="q"))
        edge.decide(100.0)
        assert edge.scheduler.pool.book.runs["e"].num == 2

    def test_not_beyond_its_chips(self) -> None:
        quotas = (Quota(name="q", max={"H100": 4000}),)
        edge = Edge(scheduler(nodes(1), quotas, Config(grow_s=60.0)))
        edge.submit(0.0, job("e", 2, 1, max_num=4, quota="q"))
        edge.decide(100.0)
        edge.decide(200.0)
        assert edge.scheduler.pool.book.runs["e"].num == 2

    def test_its_topology_is_kept(self) -> None:
        edge = edge_of(4, grow_s=60.0)
        edge.submit(0.0, job("e", 8, 1, max_num=4, topology=Topology(required="segment")))
        for step in range(1, 5):
            edge.decide(100.0 * step)
        run = edge.scheduler.pool.book.runs["e"]
        segments = {edge.scheduler.pool.state.nodes[slot.node].segment for slot in run.placement.slots}
        assert len(segments) == 1
        assert run.num <= 2

    def test_it_can_be_switched_off(self) -> None:
        edge = edge_of(1, grow_s=0.0)
        edge.submit(0.0, job("e", 2, 1, max_num=3))
        assert edge.decide(1e6) == []


def test_victims_are_looked_for_again_after_a_while_only() -> None:
    edge = edge_of(1, slow=True, retry_s=30.0)
    edge.submit(0.0, job("young", 8, priority=1, min_run_s=10.0))
    assert edge.submit(1.0, job("high", 8, priority=9)) == []
    assert edge.scheduler.wake_s(1.0) == 31.0
    assert edge.decide(12.0) == []
    assert stops(edge.decide(31.0)) == [("young", "priority")]


def test_a_borrower_that_shrinks_is_enough() -> None:
    quotas = (Quota(name="svc", min={"gpu": 4000}), Quota(name="train"))
    edge = edge_of(1, quotas=quotas, grow_s=10.0, lead_s=10.0)
    shape = job("r").gang.shape
    edge.tell(Demand("svc", 0, shape), 0.0)
    edge.submit(0.0, job("e", 2, 1, max_num=4, quota="train"))
    edge.decide(20.0)
    assert edge.scheduler.pool.book.runs["e"].num == 4
    edge.tell(Demand("svc", 3, shape), 60.0)
    found = edge.decide(60.0)
    assert stops(found) == []
    assert [each.reason for each in found if isinstance(each, Resize)] == ["loan_return"]
    assert edge.scheduler.pool.book.runs["e"].num == 2
