"""The scheduler as its edges see it: scenarios, refusals, and what holds for any history."""

from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from roadbed.errors import ConflictError, NotFoundError, RoadbedError, UsageError
from roadbed.scheduler.base import WHOLE, Gang, Job, Placement, Shape, Slot, Topology
from roadbed.scheduler.core import Scheduler, replay
from roadbed.scheduler.events import (
    Adopt,
    Cordon,
    Demand,
    Entry,
    Event,
    Exited,
    Migrate,
    Moved,
    NodeDown,
    NodeUp,
    Quotas,
    Resize,
    Risk,
    Start,
    Started,
    Stop,
    Submit,
    Withdraw,
)
from roadbed.scheduler.pool import Config
from roadbed.scheduler.quota import Quota
from tests.scheduler.cluster import Edge, job, nodes, scheduler, starts, stops


class TestLife:
    def test_start_run_finish(self) -> None:
        edge = Edge(scheduler())
        assert starts(edge.submit(0.0, job("a", 8, 2))) == ["a"]
        assert edge.scheduler.snapshot(0.0).running[0].state == "running"
        edge.exit(10.0, "a")
        assert edge.scheduler.pool.state.used_milli == 0
        assert edge.scheduler.snapshot(10.0).running == ()

    def test_many_start_in_one_pass(self) -> None:
        edge = Edge(scheduler())
        assert len(starts(edge.submit(0.0, *(job(f"j{at}") for at in range(40))))) == 32

    def test_a_stopped_job_queues_again_where_it_was(self) -> None:
        edge = Edge(scheduler(nodes(1)))
        edge.submit(0.0, job("a", 8), job("b", 8), job("c", 8))
        edge.exit(5.0, "a", outcome="failed")  # its own failure: its owner decides whether to try again
        assert list(edge.running) == ["b"]
        edge.tell(NodeDown("n000"), 6.0)
        assert stops(edge.decide(6.0)) == [("b", "node_down")]
        assert [id_ for _, id_ in edge.scheduler.queue(6.0)] == ["b", "c"]
        edge.tell(NodeUp("n000"), 7.0)
        assert starts(edge.decide(7.0)) == ["b"]

    def test_withdraw(self) -> None:
        edge = Edge(scheduler(nodes(1)), slow=True)
        edge.submit(0.0, job("a", 8), job("b", 8))
        edge.tell(Withdraw("b"), 1.0)
        edge.tell(Withdraw("a"), 1.0)
        assert edge.decide(1.0) == [Stop("a", "withdrawn", "a", 31.0, requeue=False)]
        assert edge.exit(2.0, "a", outcome="stopped") == []
        assert edge.scheduler.queue(2.0) == []

    def test_adopt_after_a_restart(self) -> None:
        edge = Edge(scheduler(nodes(1), [Quota(name="default", strategy="traverse", backfill="off")]))
        place = Placement((Slot(0, (0, 1)),))
        edge.tell(Adopt(job("a", 2), place, 5.0), 9.0)
        assert starts(edge.submit(9.0, job("b", 8), job("c", 6))) == ["c"]
        with pytest.raises(ConflictError, match="adopted"):
            edge.tell(Adopt(job("d", 2), place, 5.0), 9.0)
        with pytest.raises(UsageError, match="no node"):
            edge.tell(Adopt(job("d", 2), Placement((Slot(7, (0, 1)),)), 5.0), 9.0)
        edge.exit(20.0, "a")

    def test_replacing_quotas_keeps_what_runs_and_waits(self) -> None:
        edge = Edge(scheduler(nodes(1), [Quota(name="a"), Quota(name="b")]))
        edge.submit(0.0, job("a1", 8, quota="a"), job("a2", 8, quota="a"), job("b1", 8, quota="b"))
        edge.tell(Quotas((Quota(name="b", max={"gpu": 4000}), Quota(name="c"))), 1.0)
        assert edge.decide(1.0) == []
        assert edge.scheduler.why("a2", 1.0).reason == "quota_unknown"
        assert edge.scheduler.why("b1", 1.0).reason == "quota_max_too_small"
        assert edge.exit(2.0, "a1") == []
        with pytest.raises(UsageError, match="no parent"):
            edge.tell(Quotas((Quota(name="b", parent="z"),)), 3.0)
        edge.tell(Quotas((Quota(name="a"), Quota(name="b"))), 3.0)
        assert starts(edge.decide(3.0)) == ["a2"]


class TestBadInput:
    @pytest.mark.parametrize(
        ("bad", "words"),
        [
            (job("a", -1), "num_devices is -1"),
            (job("a", cpu=-5), "cpu_milli is -5"),
            (job("a", num=0), "0 processes"),
            (job("a", milli=0), "milli 0"),
            (job("a", milli=1001), "milli 1001"),
            (job("", 1), "needs an id"),
            (job("a", priority=0), "priority 0"),
            (job("a", priority=10), "priority 10"),
            (job("a", duration_s=float("inf")), "duration_s is inf"),
            (job("a", duration_s=float("nan")), "duration_s is nan"),
            (job("a", chips=("B300",)), "no node has B300; there is H100"),
            (job("a", 8, 5), "40 devices of 32"),
            (job("a", quota="z"), "no quota 'z'"),
            (job("a", 2, 3, topology=Topology(slices=((3, "server"),))), "not a whole number"),
            (job("a", 2, 3, topology=Topology(slices=((4, "server"),))), "not whole slices"),
        ],
    )
    def test_submit_says_what_is_wrong_and_changes_nothing(self, bad: Job, words: str) -> None:
        made = scheduler()
        before = made.snapshot(0.0)
        with pytest.raises(UsageError, match=words):
            made.handle(Submit(bad), 0.0)
        assert made.snapshot(0.0) == before
        assert made.decide(0.0) == []

    def test_jobs_go_to_leaves(self) -> None:
        with pytest.raises(UsageError, match="use one of a"):
            scheduler(quotas=[Quota(name="p"), Quota(name="a", parent="p")]).handle(Submit(job("j", quota="p")), 0.0)

    def test_twice(self) -> None:
        edge = Edge(scheduler(nodes(1)))
        edge.submit(0.0, job("runs", 8), job("waits", 8))
        for id_ in ("runs", "waits"):
            with pytest.raises(ConflictError, match="already"):
                edge.tell(Submit(job(id_)), 1.0)

    @pytest.mark.parametrize(
        "event",
        [
            Withdraw("x"), Started("x"), Moved("x"), Exited("x"), NodeDown("x"), NodeUp("x"), Cordon("x"),
            Risk("x", 0.5), Demand("x", 1, Shape(num_devices=1)),
        ],
    )  # fmt: skip
    def test_unknown_names(self, event: Event) -> None:
        with pytest.raises(NotFoundError, match="x"):
            scheduler().handle(event, 0.0)

    @pytest.mark.parametrize(
        "event",
        [
            Risk("n000", 1.5),
            Demand("default", -1, Shape(num_devices=1)),
            Demand("default", 1, Shape()),
            Demand("default", 1, Shape(num_devices=1), ((0.0, -1.0),)),
        ],
    )
    def test_nonsense(self, event: Event) -> None:
        with pytest.raises(UsageError):
            scheduler().handle(event, 0.0)

    def test_moved_without_a_move(self) -> None:
        edge = Edge(scheduler())
        edge.submit(0.0, job("a"))
        with pytest.raises(ConflictError, match="not being moved"):
            edge.tell(Moved("a"), 1.0)

    def test_larger_than_what_is_up_waits_without_holding_others_up(self) -> None:
        edge = Edge(scheduler(nodes(2), [Quota(name="default", strategy="fifo", backfill="off")]))
        edge.tell(NodeDown("n001"), 0.0)
        assert starts(edge.submit(0.0, job("big", 8, 2), job("small"))) == ["small"]
        assert edge.scheduler.why("big", 0.0).reason == "impossible"
        edge.tell(NodeUp("n001"), 1.0)
        edge.exit(2.0, "small")
        assert "big" in edge.running

    def test_why_of_who_does_not_wait(self) -> None:
        with pytest.raises(NotFoundError, match="does not wait"):
            scheduler().why("x", 0.0)


class TestInvariants:
    def test_no_starvation_under_ageing(self) -> None:
        """A whole-cluster gang of priority 1 beside an endless stream of small jobs of priority 6, without backfill."""
        quota = Quota(name="default", strategy="intelligent", backfill="off", age_s=100.0)
        edge = Edge(scheduler(nodes(1), [quota], Config(preempt=False)))
        edge.submit(0.0, *(job(f"first{at}", duration_s=100.0 + at, priority=6) for at in range(8)))
        edge.submit(0.0, job("gang", 8, priority=1, duration_s=100.0))
        ends = {f"first{at}": 100.0 + at for at in range(8)}
        for step in range(1, 400):
            now = step * 10.0
            for id_ in [id_ for id_ in list(edge.running) if ends.get(id_, np.inf) <= now]:
                edge.exit(now, id_)
            if "gang" in edge.running:
                return
            ends[f"j{step}"] = now + 100.0
            edge.submit(now, job(f"j{step}", duration_s=100.0, priority=6))
            for id_, since_s in edge.running.items():
                ends[id_] = since_s + 100.0
        raise AssertionError("the gang never started")

    @given(st.integers(1, 15), st.integers(0, 16), st.integers(0, 16), st.booleans())
    @settings(max_examples=60, deadline=None)
    def test_guarantees_are_honoured_once_asked_for(self, min_a: int, ask_a: int, ask_b: int, b_first: bool) -> None:
        quotas = [
            Quota(name="a", min={"gpu": min_a * 1000}, preempt_siblings=True),
            Quota(name="b", min={"gpu": (16 - min_a) * 1000}, preempt_siblings=True),
        ]
        edge = Edge(scheduler(nodes(2), quotas))
        wishes = [job(f"a{at}", quota="a") for at in range(ask_a)], [job(f"b{at}", quota="b") for at in range(ask_b)]
        for at, wish in enumerate(wishes[::-1] if b_first else wishes):
            edge.submit(float(at), *wish)
        for step in range(4):
            edge.decide(100.0 * (step + 1))
        runs = {name: sum(id_.startswith(name) for id_ in edge.running) for name in "ab"}
        assert runs["a"] >= min(min_a, ask_a)
        assert runs["b"] >= min(16 - min_a, ask_b)
        assert runs["a"] + runs["b"] == min(16, ask_a + ask_b)  # and nothing idles

    @given(
        st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from([1, 2, 4, 8]), st.integers(1, 9)), max_size=14),
        st.tuples(st.integers(0, 6), st.integers(0, 6), st.integers(0, 4)),
        st.booleans(),
        st.booleans(),
    )
    @settings(max_examples=60, deadline=None)
    def test_preemption_comes_to_rest(
        self, jobs: list[tuple[str, int, int]], mins: tuple[int, int, int], fair: bool, children: bool
    ) -> None:
        """Nothing but passes and the exits they cause: after finitely many there is nothing left to decide."""
        quotas = [
            Quota(name="p", min={"gpu": (mins[0] + mins[1]) * 1000}, preempt_children=children),
            Quota(name="a", parent="p", min={"gpu": mins[0] * 1000}, preempt_siblings=True),
            Quota(name="b", parent="p", min={"gpu": mins[1] * 1000}, preempt_siblings=True),
            Quota(name="c", min={"gpu": mins[2] * 1000}, preempt_siblings=True),
        ]
        edge = Edge(scheduler(nodes(2), quotas, Config(fair_preemption=fair, retry_s=1.0)))
        for at, (name, size, priority) in enumerate(jobs):
            edge.submit(float(at), job(f"j{at}", size, quota=name, priority=priority))
        for step in range(60):
            if not any(edge.decide(1000.0 + 10 * step) for _ in range(3)):
                return
        raise AssertionError(f"still preempting: {edge.decided[-3:]}")


def events_of(rng: Any, edge: Edge, at: int, now: float) -> list[Event]:
    """One plausible or silly event."""
    made, book = edge.scheduler, edge.scheduler.pool.book
    names = [node.name for node in made.pool.state.nodes]
    runs = [*book.runs, "nobody"]
    kind = rng.choice(
        ["submit"] * 8 + ["exit"] * 5 + ["moved", "withdraw", "down", "up", "cordon", "risk", "demand", "quotas"]
    )
    if kind == "submit":
        devices = rng.choice([0, 1, 1, 1, 2, 4, 8])
        topology = rng.choice([None, None, Topology(required=rng.choice(["server", "segment", "pod", "island"]))])
        return [
            Submit(
                job(
                    f"j{at}", devices, rng.choice([1, 1, 1, 2, 3]),
                    milli=rng.choice([1000, 500, 300]) if devices == 1 else 1000,
                    chips=rng.choice([(), (), ("H100",), ("A100",)]),
                    max_num=rng.choice([0, 0, 4]), topology=topology, quota=rng.choice([*made.pool.queues, "nope"]),
                    priority=rng.randint(1, 9), preemptible=rng.random() < 0.8,
                    duration_s=rng.choice([0, 50, 500, 5000]), checkpoint_s=rng.choice([0, 60, 600]),
                    min_run_s=rng.choice([0, 0, 200]),
                )
            )
        ]  # fmt: skip
    node = rng.choice(names)
    return {
        "exit": lambda: [Exited(rng.choice(runs), rng.choice(["finished", "failed", "stopped"]))],
        "moved": lambda: [Moved(id_) for id_ in edge.moving],
        "withdraw": lambda: [Withdraw(rng.choice([*made.pool.waiting, *book.claims, *runs]))],
        "down": lambda: [NodeDown(node)],
        "up": lambda: [NodeUp(name) for name in names],
        "cordon": lambda: [Cordon(node, rng.random() < 0.5, rng.random() < 0.5, rng.choice([0.0, now + 100.0]))],
        "risk": lambda: [Risk(node, rng.random())],
        "demand": lambda: [Demand("svc", rng.randint(0, 4), Shape(num_devices=1), ((now, rng.randint(0, 4)),))],
        "quotas": lambda: [Quotas(quotas_of(rng))],
    }[kind]()


def quotas_of(rng: Any) -> tuple[Quota, ...]:
    def rules() -> dict[str, Any]:
        return {
            "strategy": rng.choice(["fifo", "traverse", "balance", "intelligent"]),
            "backfill": rng.choice(["off", "easy", "conservative"]),
            "preempt_siblings": rng.random() < 0.7,
            "preempt_children": rng.random() < 0.3,
            "lending": rng.random() < 0.8,
            "half_life_s": rng.choice([0.0, 100.0]),
        }

    whole = rng.randint(0, 8)
    part = rng.randint(0, whole)
    return (
        Quota(name="p", min={"gpu": whole * 1000}, **rules()),
        Quota(name="a", parent="p", min={"gpu": part * 1000}, **rules()),
        Quota(
            name="b", parent="p", min={"gpu": (whole - part) * 1000}, max={"gpu": rng.randint(8, 30) * 1000}, **rules()
        ),
        Quota(name="c", weight=rng.choice([1.0, 2.0]), max=rng.choice([{}, {"H100": 8000}]), **rules()),
        Quota(name="svc", min={"gpu": 4000}, **rules()),
    )


def check(made: Scheduler) -> None:
    """What must hold at any time."""
    pool, book = made.pool, made.pool.book
    left = np.where(pool.state.exists, WHOLE, 0).astype(np.int64)
    taken = [(slot, run.job.gang.shape) for run in book.runs.values() for slot in run.held]
    taken += [piece for claim in book.claims.values() for piece in (*claim.held, *claim.freed)]
    for slot, shape in taken:
        for device in slot.devices:
            left[slot.node, device] -= shape.milli
    assert (left >= 0).all(), "a device is given out twice"
    assert (left == pool.state.left).all(), "the state and the book differ"
    for run in book.runs.values():
        gang = run.job.gang
        assert gang.num <= run.num <= gang.most, "a gang is split"
        assert run.job.id not in pool.waiting
    assert {id_ for _, _, id_ in book.ends} == set(book.runs)
    assert len(book.ends) == len(book.runs)
    for name, node in pool.tree.nodes.items():
        charged = [run.amount for run in book.runs.values() if run.charged and run.job.quota == name]
        charged += [
            book.amount(claim.waiter.job, claim.placement.slots)
            for claim in book.claims.values()
            if claim.waiter.job.quota == name
        ]
        if not node.children:
            assert node.used == [sum(column) for column in zip(*charged, strict=True)] or (
                not charged and not any(node.used)
            )
        assert all(wanted >= 0 for wanted in node.wanted)
    for name, counts in book.stoppable.items():
        mine = [
            run.job.priority
            for run in book.runs.values()
            if run.job.quota == name and run.job.preemptible and not run.stopping
        ]
        assert counts == [mine.count(priority) for priority in range(10)]


def placed_whole(edge: Edge) -> None:
    """Gang atomicity as the edge sees it: every start names all processes, on distinct devices."""
    for decision in [each for found in edge.decided for each in found]:
        if isinstance(decision, Start | Resize | Migrate):
            devices = [(slot.node, device) for slot in decision.placement.slots for device in slot.devices]
            shape = edge.shapes[decision.id]
            assert len(decision.placement.slots) >= edge.sizes[decision.id]
            assert shape.milli < WHOLE or len(set(devices)) == len(devices)


class Recorder(Edge):
    """An edge that remembers what was asked."""

    def __init__(self, of: Scheduler, *, slow: bool) -> None:
        super().__init__(of, slow=slow)
        self.shapes: dict[str, Shape] = {}
        self.sizes: dict[str, int] = {}

    def tell(self, event: Event, now: float) -> None:
        super().tell(event, now)
        if isinstance(event, Submit):
            self.shapes[event.job.id], self.sizes[event.job.id] = event.job.gang.shape, event.job.gang.num
        if isinstance(event, Exited):
            self._gone(event.id)


@given(st.randoms(use_true_random=False), st.booleans())
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_any_history(rng: Any, slow: bool) -> None:
    """Invariants after every event; asking changes nothing; the journal gives the same decisions and the same state."""
    infos = nodes(rng.randint(1, 3)) + nodes(rng.randint(0, 2), 4, chip="A100", first=10)
    quotas = quotas_of(rng)
    config = Config(fair_preemption=rng.random() < 0.5, defrag_moves=rng.choice([0, 2]), grow_s=rng.choice([0.0, 50.0]))
    edge = Recorder(scheduler(infos, quotas, config), slow=slow)
    now = 0.0
    for at in range(60):
        now += rng.choice([0, 1, 10, 100, 1000])
        for event in events_of(rng, edge, at, now):
            try:
                edge.tell(event, now)
                if isinstance(event, Moved):
                    edge.moving.pop(event.id)
            except RoadbedError:
                continue  # refused: it is no part of the journal
        if rng.random() < 0.8:
            edge.decide(now)
        check(edge.scheduler)
        if rng.random() < 0.1:
            before = edge.scheduler.snapshot(now)
            for _, id_ in edge.scheduler.queue(now):
                assert str(edge.scheduler.why(id_, now))
            assert (edge.scheduler.wake_s(now) or np.inf) > now
            assert edge.scheduler.snapshot(now) == before
            check(edge.scheduler)
    placed_whole(edge)
    again = scheduler(infos, quotas, config)
    assert replay(again, edge.journal) == edge.decided
    assert again.snapshot(now) == edge.scheduler.snapshot(now)


def test_wake_is_when_time_alone_matters() -> None:
    edge = Edge(scheduler(nodes(1), [Quota(name="default", strategy="balance", backfill="off", widen_s=60.0)]))
    assert edge.scheduler.wake_s(0.0) is None
    edge.submit(0.0, job("a", 4), job("b", 8), job("c", 4))
    assert "c" not in edge.running
    assert edge.scheduler.wake_s(1.0) == 60.0
    assert starts(edge.decide(60.0)) == ["c"]


def test_standings_and_entries() -> None:
    edge = Edge(scheduler(quotas=[Quota(name="a"), Quota(name="b", min={"gpu": 1000})]))
    edge.submit(0.0, job("x", quota="a"))
    assert [(each.quota, each.used.get("gpu", 0)) for each in edge.scheduler.standings()] == [("a", 1000), ("b", 0)]
    assert edge.journal[-1] == Entry(0.0)
    assert Gang(shape=Shape()).most == 1
