"""Reservations: where and when, who must heed them."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from roadbed.scheduler.backfill import clashes, plan_beside, reserve
from roadbed.scheduler.base import Placement, Slot
from roadbed.scheduler.core import Scheduler
from roadbed.scheduler.quota import Backfill, Quota
from tests.scheduler.cluster import Edge, job, nodes, scheduler, starts


def full(ends: dict[str, tuple[int, float]], num_nodes: int = 2) -> Edge:
    """A cluster with jobs of (devices, duration) running since 0."""
    edge = Edge(scheduler(nodes(num_nodes)))
    edge.submit(0.0, *(job(id_, size, duration_s=runs_s) for id_, (size, runs_s) in ends.items()))
    assert len(edge.running) == len(ends)
    return edge


def reserved(made: Scheduler, devices: int, num: int = 1, now: float = 1.0) -> tuple[float, set[int]] | None:
    gang = job("wanted", devices, num).gang
    found = reserve(made.pool.book, made.pool.planner, "wanted", gang, 10.0, [], now)
    return (found.start_s, set(found.nodes)) if found else None


class TestReserve:
    def test_full_nodes_count_with_the_hour_they_become_free(self) -> None:
        edge = full({"a": (8, 500.0), "b": (8, 100.0)})
        before = edge.scheduler.snapshot(1.0)
        start = reserved(edge.scheduler, 8)
        assert start is not None
        assert start[0] == 100.0
        assert reserved(edge.scheduler, 8, 2) == (500.0, {0, 1})
        assert edge.scheduler.snapshot(1.0) == before  # a what-if

    def test_free_now(self) -> None:
        assert reserved(full({"a": (8, 500.0)}).scheduler, 8) == (1.0, {1})

    def test_nothing_when_not_even_an_empty_cluster_would_do(self) -> None:
        edge = full({"a": (8, 500.0)})
        edge.scheduler.pool.state.set_schedulable(0, False)
        assert reserved(edge.scheduler, 8, 2) is None

    def test_the_overdue_are_expected_later(self) -> None:
        start = reserved(full({"a": (8, 50.0), "b": (8, 500.0)}).scheduler, 8, now=80.0)
        assert start is not None
        assert start[0] == 110.0  # 30 s late: as long again

    @given(
        st.lists(st.tuples(st.integers(1, 8), st.integers(2, 900)), min_size=1, max_size=12),
        st.integers(1, 8),
        st.integers(1, 2),
    )
    @settings(max_examples=60, deadline=None)
    def test_it_is_the_earliest_of_the_ends(self, jobs: list[tuple[int, int]], size: int, num: int) -> None:
        """As an oracle that gives back one job after another, without bisection."""
        edge = Edge(scheduler(nodes(2)))
        for at, (devices, runs_s) in enumerate(jobs):
            edge.submit(0.0, job(f"j{at}", devices, duration_s=float(runs_s)))
        made = edge.scheduler
        pool = made.pool
        gang = job("wanted", size, num).gang
        expected = None
        mark = pool.state.mark()
        for end_s, _, id_ in [(1.0, 0, ""), *pool.book.upcoming(1.0)]:
            if id_:
                for slot in pool.book.runs[id_].held:
                    pool.state.give(slot, pool.book.runs[id_].job.gang.shape)
            if pool.planner.plan(gang) is not None:
                expected = end_s
                break
        pool.state.undo(mark)
        found = reserve(pool.book, pool.planner, "wanted", gang, 10.0, [], 1.0)
        assert found is not None
        assert found.start_s == expected


class TestBeside:
    def test_long_jobs_stay_off_reserved_devices(self) -> None:
        edge = full({"a": (4, 100.0)})
        pool = edge.scheduler.pool
        gang = job("wanted", 8, 2).gang
        held = reserve(pool.book, pool.planner, "wanted", gang, 10.0, [], 1.0)
        assert held is not None
        one = job("x", 1).gang
        assert pool.planner.plan(one) is not None
        assert plan_beside(pool.book, pool.planner, one, [held]) is None
        assert plan_beside(pool.book, pool.planner, one, []) is not None

    def test_clash_is_about_devices_not_nodes(self) -> None:
        pool = full({"a": (6, 100.0)}, 1).scheduler.pool
        held = reserve(pool.book, pool.planner, "w", job("w", 1).gang, 10.0, [], 1.0)
        assert held is not None
        (device,) = held.placement.slots[0].devices
        shape = job("x", 1).gang.shape
        (other,) = {6, 7} - {device}
        assert clashes(pool.state, Placement((Slot(0, (device,)),)), shape, [held])
        assert not clashes(pool.state, Placement((Slot(0, (other,)),)), shape, [held])


class TestPasses:
    def line(self, backfill: Backfill) -> Edge:
        quota = Quota(name="default", strategy="fifo", backfill=backfill)
        edge = Edge(scheduler(nodes(2), [quota]))
        edge.submit(0.0, job("a", 8, duration_s=100.0), job("b", 4, duration_s=50.0))
        return edge

    def test_off_blocks(self) -> None:
        edge = self.line("off")
        assert starts(edge.submit(1.0, job("head", 8, 2), job("short", 2, duration_s=10.0))) == []

    def test_easy_fills_the_gap_with_what_ends_in_time(self) -> None:
        edge = self.line("easy")
        late = job("late", 2, duration_s=200.0)
        assert starts(edge.submit(1.0, job("head", 8, 2), late, job("short", 2, duration_s=90.0))) == ["short"]
        edge.exit(50.0, "b")
        edge.exit(91.0, "short")
        assert starts(edge.exit(100.0, "a")) == ["head"]

    def test_easy_lets_the_long_use_what_is_not_reserved(self) -> None:
        edge = self.line("easy")
        edge.submit(1.0, job("head", 8, duration_s=100.0))
        reservation = edge.scheduler.pool.reservations["head"]
        assert reservation.start_s == 50.0
        assert starts(edge.submit(2.0, job("long", 4, duration_s=1000.0))) == []
        assert edge.scheduler.why("long", 2.0).reason == "reserved"

    def test_conservative_delays_nobody(self) -> None:
        jobs = [
            job("head", 8, 2, duration_s=50.0),
            job("second", 4, duration_s=500.0),
            job("third", 4, duration_s=97.0),
        ]
        easy, conservative = self.line("easy"), self.line("conservative")
        easy.submit(1.0, *jobs)
        conservative.submit(1.0, *jobs)
        assert list(easy.scheduler.pool.reservations) == ["head"]
        made = conservative.scheduler.pool.reservations
        assert set(made) == {"head", "second"}
        assert made["head"].start_s == 100.0
        assert made["second"].start_s == 150.0
        assert "third" in conservative.running  # over before the head starts

    def test_a_withdrawn_head_frees_its_reservation(self) -> None:
        edge = self.line("easy")
        edge.submit(1.0, job("head", 8, 2), job("late", 2, duration_s=500.0))
        edge.scheduler.pool.dequeue(edge.scheduler.pool.waiting["head"])
        assert edge.scheduler.pool.reservations == {}
        assert starts(edge.decide(2.0)) == ["late"]

    def test_the_guaranteed_need_not_heed_a_borrower(self) -> None:
        quotas = [Quota(name="g", min={"gpu": 8000}), Quota(name="b")]
        edge = Edge(scheduler(nodes(1), quotas))
        edge.submit(0.0, job("r", 4, quota="b", duration_s=100.0), job("big", 8, quota="b", duration_s=100.0))
        assert edge.scheduler.pool.reservations["big"].borrowed
        assert starts(edge.submit(1.0, job("mine", 4, quota="g", duration_s=1e4))) == ["mine"]

    @pytest.mark.parametrize("backfill", ["easy", "conservative"])
    def test_the_head_is_never_later_than_reserved(self, backfill: Backfill) -> None:
        """With exact durations: whatever is submitted after, who is first starts by the time then reserved."""
        quota = Quota(name="default", strategy="fifo", backfill=backfill)
        edge = Edge(scheduler(nodes(2), [quota]))
        runs_s = {f"j{at}": float(30 + 35 * at % 200) for at in range(60)}
        sizes = [1, 8, 2, 4, 1, 8, 3]
        promised: dict[str, float] = {}
        for step in range(1500):
            now = step * 5.0
            for id_ in [id_ for id_, since_s in edge.running.items() if since_s + runs_s[id_] <= now]:
                edge.exit(now, id_)
            if step < 60:
                id_ = f"j{step}"
                edge.submit(now, job(id_, sizes[step % 7], 1 + step % 2, duration_s=runs_s[id_]))
            head = next((id_ for _, id_ in edge.scheduler.queue(now)), "")
            if head in edge.scheduler.pool.reservations:
                promised.setdefault(head, edge.scheduler.pool.reservations[head].start_s)
            for id_ in edge.running:
                if id_ in promised:
                    assert edge.running[id_] <= promised[id_] + 5.0
        assert len(promised) >= 3
        assert not edge.scheduler.pool.waiting
