"""Whose turn it is, by strategy."""

import math

from hypothesis import given
from hypothesis import strategies as st

from roadbed.scheduler.order import FIRM, Kind, Queue, Waiter
from roadbed.scheduler.quota import Backfill, Quota, Strategy
from tests.scheduler.cluster import job

BIG, SMALL = Kind(job("big", 8).gang), Kind(job("small", 1).gang)


def queue(strategy: Strategy, backfill: Backfill = "off", **more: float) -> Queue:
    return Queue(Quota(name="q", strategy=strategy, backfill=backfill, **more))  # type: ignore[arg-type]


def waiter(id_: str, kind: Kind, seq: int, priority: int = 5, since_s: float = 0.0) -> Waiter:
    kind.refused_at = -1
    return Waiter(job(id_, kind.gang.shape.num_devices, priority=priority), kind, seq, since_s)


def filled(line: Queue, *waiters: Waiter) -> Queue:
    for each in waiters:
        line.add(each)
    return line


def tried(line: Queue, now: float = 0.0) -> list[str]:
    return [bucket.waiters[0].job.id for bucket in line.candidates(now, 0, 0)]


def test_priority_then_arrival() -> None:
    line = filled(queue("traverse"), waiter("a", BIG, 1), waiter("b", SMALL, 2), waiter("c", BIG, 3, priority=9))
    assert [each.job.id for each in line.in_order(0.0)] == ["c", "a", "b"]
    head = line.head(0.0)
    assert head is not None
    assert head.job.id == "c"


def test_fifo_tries_the_head_alone() -> None:
    line = filled(queue("fifo"), waiter("a", BIG, 1), waiter("b", SMALL, 2))
    assert tried(line) == ["a"]
    BIG.refused_at = 0
    assert tried(line) == []


def test_fifo_with_backfill_tries_all() -> None:
    line = filled(queue("fifo", "easy"), waiter("a", BIG, 1), waiter("b", SMALL, 2))
    BIG.refused_at = 0
    assert tried(line) == ["b"]


def test_traverse_skips_what_was_refused() -> None:
    line = filled(queue("traverse"), waiter("a", BIG, 1), waiter("b", SMALL, 2), waiter("c", BIG, 3))
    assert tried(line) == ["a", "b"]
    BIG.refused_at = 0
    assert tried(line) == ["b"]


def test_balance_widens_with_the_wait_of_the_head() -> None:
    line = filled(queue("balance", widen_s=60.0), waiter("a", BIG, 1), waiter("b", SMALL, 2))
    assert tried(line) == ["a"]
    BIG.refused_at = 0
    assert tried(line, 59.0) == []
    assert line.next_change_s(59.0) == 60.0
    assert tried(line, 60.0) == ["b"]
    assert line.next_change_s(60.0) == 120.0


def test_balance_starts_anew_with_another_head() -> None:
    first = waiter("a", BIG, 1)
    line = filled(queue("balance", widen_s=60.0), first, waiter("b", SMALL, 2), waiter("c", BIG, 3))
    tried(line)
    line.remove(first)
    assert tried(line, 100.0) == ["b"]
    assert line.next_change_s(100.0) == 160.0


def test_intelligent_is_firm_from_seven() -> None:
    line = filled(queue("intelligent"), waiter("a", BIG, 1, priority=FIRM), waiter("b", SMALL, 2))
    assert tried(line) == ["a", "b"]
    BIG.refused_at = 0
    assert tried(line) == []
    assert line.is_firm(FIRM)
    assert not line.is_firm(FIRM - 1)


def test_ageing_raises_to_six_and_no_further() -> None:
    line = queue("intelligent", age_s=10.0)
    old, new = waiter("old", BIG, 1, priority=1), waiter("new", SMALL, 2, priority=6, since_s=100.0)
    filled(line, old, new)
    assert [each.job.id for each in line.in_order(49.0)] == ["new", "old"]
    assert [each.job.id for each in line.in_order(50.0)] == ["old", "new"]
    assert line.place(old, 1e9)[0] == -6
    assert line.place(waiter("firm", BIG, 3, priority=8), 1e9)[0] == -8


def test_idle_jobs_hold_nobody_up() -> None:
    line = filled(queue("fifo"), waiter("a", BIG, 1), waiter("b", SMALL, 2))
    assert tried(line) == ["a"]
    line.bucket_of(next(line.in_order(0.0))).idle = "impossible"
    line.reorder()
    assert tried(line) == ["b"]


def test_time_matters_only_to_a_window() -> None:
    assert queue("traverse").next_change_s(0.0) == math.inf
    assert queue("balance", "easy").next_change_s(0.0) == math.inf


@given(st.lists(st.tuples(st.booleans(), st.integers(1, 9), st.floats(0, 5000)), max_size=30), st.floats(5000, 20_000))
def test_order_is_total_and_nobody_below_firm_waits_behind_the_newer_for_ever(
    jobs: list[tuple[bool, int, float]], now: float
) -> None:
    line = queue("intelligent", age_s=100.0)
    arrivals = sorted(jobs, key=lambda each: each[2])
    for seq, (big, priority, since_s) in enumerate(arrivals):
        line.add(waiter(f"j{seq}", BIG if big else SMALL, seq, priority, since_s))
    ordered = list(line.in_order(now))
    places = [line.place(each, now) for each in ordered]
    assert places == sorted(places)
    assert len({each.seq for each in ordered}) == len(jobs)
    aged = [each.seq for each in ordered if each.job.priority < FIRM and now - each.since_s >= 500.0]
    assert aged == sorted(aged)  # all aged to the end: first come, first served
    for each in ordered:
        line.remove(each)
    assert line.num_waiting == 0
    assert line.buckets == {}


@given(
    st.lists(
        st.tuples(st.sampled_from(["add", "add", "add", "first", "last"]), st.integers(1, 9), st.floats(0, 60)),
        max_size=60,
    ),
    st.integers(1, 12),
)
def test_the_first_few_are_those_of_the_whole_order(actions: list[tuple[str, int, float]], num: int) -> None:
    """Whatever comes, goes and ages, and in whatever order it is asked."""
    line = queue("intelligent", age_s=100.0)
    there: list[Waiter] = []
    now = 0.0
    for seq, (what, priority, wait_s) in enumerate(actions):
        now += wait_s
        if what == "add":
            there.append(waiter(f"j{seq}", (BIG, SMALL)[seq % 2], seq, priority, now))
            line.add(there[-1])
        elif there:
            line.remove(there.pop(0 if what == "first" else -1))
        for at_s in (now, now + 150.0, now):
            ordered = list(line.in_order(at_s))
            assert line.first(at_s, num) == ordered[:num]
            heads = [(line.place(b.waiters[0], at_s), b.waiters[0].seq) for b in line.buckets.values()]
            assert [(place, bucket.waiters[0].seq) for place, bucket in line.heads(at_s)] == sorted(heads)
