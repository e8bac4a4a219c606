"""Rates kept fair step by step must be those of solving everything anew; and what the books say about links."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from roadbed.fabric.base import Floats
from roadbed.fabric.constants import CONGESTION_REACTION_S
from roadbed.fabric.fluid import Fluid
from roadbed.fabric.maxmin import Sessions, bottlenecked, share


def of(*paths: list[int], cap: float = np.inf) -> Sessions:
    start = np.cumsum([0, *map(len, paths)], dtype=np.int32)
    flat = [link for path in paths for link in path]
    return Sessions(start=start, link=np.array(flat, np.int32), count=np.ones(len(flat)), cap=np.full(len(paths), cap))


def fluid_of(capacity: list[float], hosts: list[int] | None = None) -> Fluid:
    mask = np.zeros(len(capacity), bool)
    mask[hosts or []] = True
    return Fluid(np.array(capacity), mask)


def numbers(*values: int) -> np.ndarray:
    return np.array(values, np.int64)


def fresh_rates(fluid: Fluid) -> Floats:
    """Everybody solved at once."""
    sending = np.flatnonzero(fluid.store.active)
    _, link, count = fluid.store.entries(sending)
    start = np.concatenate([[0], np.cumsum(fluid.store.size[sending])]).astype(np.int32)
    return share(fluid.capacity, Sessions(start=start, link=link, count=count, cap=fluid.store.cap[sending]))


def agree(fluid: Fluid) -> None:
    sending = np.flatnonzero(fluid.store.active)
    np.testing.assert_allclose(fluid.store.rate[sending], fresh_rates(fluid), rtol=1e-6, atol=1e-9)
    owner, link, count = fluid.store.entries(sending)
    load = np.bincount(link, count * fluid.store.rate[sending][owner], len(fluid.capacity))
    np.testing.assert_allclose(fluid.load, load, rtol=1e-6, atol=1e-6)
    assert np.all(load <= fluid.capacity * (1 + 1e-6) + 1e-9)


@given(st.data())
@settings(max_examples=120, deadline=None)
def test_steps_end_where_a_fresh_start_does(data: st.DataObject) -> None:
    num_links = data.draw(st.integers(3, 14))
    capacity = [float(data.draw(st.integers(1, 40))) for _ in range(num_links)]
    fluid = fluid_of(capacity, [0, 1])
    path = st.lists(st.integers(0, num_links - 1), min_size=1, max_size=3, unique=True)
    for _ in range(data.draw(st.integers(1, 14))):
        sending = np.flatnonzero(fluid.store.active)
        what = data.draw(st.sampled_from(["begin", "begin", "end", "capacity"]))
        if what == "begin":
            some = data.draw(st.lists(path, min_size=1, max_size=5))
            first = fluid.register(of(*some, cap=data.draw(st.sampled_from([np.inf, 2.5]))))
            fluid.begin(np.arange(first, first + len(some)), 0.0)
        elif what == "end" and len(sending):
            fluid.end(sending[: data.draw(st.integers(1, len(sending)))], 0.0)
        else:
            link = data.draw(st.integers(0, num_links - 1))
            value = data.draw(st.sampled_from([0.0, 1.0, 7.5, 30.0]))
            fluid.set_capacity(np.array([link], np.int32), np.array([value]), 0.0)
        before = fluid.store.rate.copy()
        changed, were = fluid.settle(0.0)
        agree(fluid)
        np.testing.assert_array_equal(before[changed], were)
        same = np.setdiff1d(np.flatnonzero(fluid.store.active), changed)
        np.testing.assert_allclose(fluid.store.rate[same], before[same], rtol=2e-9)


@pytest.mark.parametrize("seed", range(3))
def test_a_large_network_stays_fair_under_churn(seed: int) -> None:
    """Hundreds of sessions over shared links, one coming or going at a time; checked against the definition."""
    rng = np.random.default_rng(seed)
    num_links = 120
    fluid = Fluid(rng.choice([10.0, 25.0, 40.0], num_links), np.zeros(num_links, bool))
    first = fluid.register(of(*[rng.choice(num_links, 3, replace=False).tolist() for _ in range(550)]))
    alive = list(range(first, first + 400))
    fluid.begin(np.array(alive), 0.0)
    fluid.settle(0.0)
    for step in range(400, 550):
        gone = alive.pop(int(rng.integers(len(alive))))
        fluid.end(numbers(gone), 0.0)
        fluid.settle(0.0)
        fluid.begin(numbers(step), 0.0)
        alive.append(step)
        fluid.settle(0.0)
        if step % 50 == 0:
            agree(fluid)
            sending = np.flatnonzero(fluid.store.active)
            owner, link, count = fluid.store.entries(sending)
            start = np.searchsorted(owner, np.arange(len(sending) + 1)).astype(np.int32)
            sessions = Sessions(start=start, link=link, count=count, cap=fluid.store.cap[sending])
            assert bottlenecked(fluid.capacity, sessions, fluid.store.rate[sending], 1e-6).all()


def test_only_what_a_change_touches_is_solved() -> None:
    """Three islands: an event on one leaves the other's sessions alone."""
    fluid = fluid_of([10.0, 10.0, 10.0])
    fluid.register(of(*[[0]] * 50, *[[1]] * 50, *[[2]] * 50, [0]))
    fluid.begin(np.arange(150), 0.0)
    fluid.settle(0.0)
    work = fluid.num_solved
    fluid.begin(numbers(150), 0.0)
    changed, _ = fluid.settle(0.0)
    assert set(changed.tolist()) == {*range(50), 150}
    assert fluid.num_solved - work <= 1 + 51
    np.testing.assert_allclose(fluid.store.rate[:50], 10 / 51)


def test_who_has_room_elsewhere_is_not_touched() -> None:
    """Session 2 is held by its own narrow link, so what happens on the wide one does not concern it."""
    fluid = fluid_of([100.0, 1.0])
    fluid.register(of([0], [0], [0, 1], [0]))
    fluid.begin(numbers(0, 1, 2), 0.0)
    fluid.settle(0.0)
    fluid.begin(numbers(3), 0.0)
    changed, _ = fluid.settle(0.0)
    assert changed.tolist() == [0, 1, 3]
    np.testing.assert_allclose(fluid.store.rate[:4], [33, 33, 1, 33])


def test_books_of_a_link() -> None:
    """10 bytes/s for 2 s, nothing for 3 s, then half of it for 1 s by one of two."""
    fluid = fluid_of([10.0, 5.0])
    fluid.register(of([0], [0, 1], [0]))
    fluid.begin(numbers(0), 0.0)
    fluid.settle(0.0)
    fluid.end(numbers(0), 2.0)
    fluid.settle(2.0)
    fluid.begin(numbers(1, 2), 5.0)
    fluid.settle(5.0)
    fluid.account(6.0)
    np.testing.assert_allclose(fluid.sent_bytes, [30.0, 5.0])
    np.testing.assert_allclose(fluid.busy_s, [3.0, 1.0])


def test_a_session_without_links_runs_at_its_cap() -> None:
    fluid = fluid_of([1.0])
    fluid.register(of([], [0], cap=4.0))
    fluid.begin(numbers(0, 1), 0.0)
    fluid.settle(0.0)
    assert fluid.store.rate[:2].tolist() == [4.0, 1.0]
    assert fluid.load.tolist() == [1.0]


def test_queues_hold_what_hosts_send_too_much_meanwhile() -> None:
    """Three hosts of 10 each into a port of 10: 20 too much for one reaction time. One host: no queue."""
    fluid = fluid_of([10.0, 10.0, 10.0, 10.0], hosts=[0, 1, 2])
    fluid.register(of([0, 3], [1, 3], [2, 3]))
    fluid.begin(numbers(0), 0.0)
    fluid.settle(0.0)
    assert fluid.peak_queue_bytes.max() == 0
    fluid.begin(numbers(1, 2), 0.0)
    fluid.settle(0.0)
    np.testing.assert_allclose(fluid.peak_queue_bytes, [0, 0, 0, 20 * CONGESTION_REACTION_S])
    fluid.end(numbers(0, 1, 2), 1.0)
    fluid.settle(1.0)
    assert fluid.offered.tolist() == [0, 0, 0, 0]


def test_two_flows_of_one_host_offer_no_more_than_it_has() -> None:
    fluid = fluid_of([10.0, 10.0], hosts=[0])
    fluid.register(of([0, 1], [0, 1]))
    fluid.begin(numbers(0, 1), 0.0)
    fluid.settle(0.0)
    np.testing.assert_allclose(fluid.offered, [10, 10])
    assert fluid.peak_queue_bytes.max() == 0


def test_nothing_happened() -> None:
    fluid = fluid_of([1.0])
    assert len(fluid.settle(0.0)[0]) == 0
    fluid.register(of([0]))
    fluid.begin(numbers(0), 0.0)
    fluid.end(numbers(0), 0.0)
    assert len(fluid.settle(0.0)[0]) == 0
