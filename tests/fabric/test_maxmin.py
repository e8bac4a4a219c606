"""Max–min shares: against a slow oracle written another way, and by the properties that define them."""

import itertools
from fractions import Fraction
from time import process_time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from roadbed.fabric.base import Floats
from roadbed.fabric.maxmin import Sessions, bottlenecked, share

Member = dict[int, Fraction]


@st.composite
def networks(draw: st.DrawFn) -> tuple[Floats, Sessions]:
    num_links = draw(st.integers(1, 8))
    capacity = draw(st.lists(st.integers(0, 60), min_size=num_links, max_size=num_links))
    entry = st.tuples(st.integers(0, num_links - 1), st.sampled_from([0.0, 0.25, 0.5, 1.0, 2.0, 7.0]))
    sessions = draw(st.lists(st.lists(entry, max_size=5), min_size=1, max_size=10))
    caps = [draw(st.sampled_from([np.inf, np.inf, 0.0, 3.0, 11.5])) for _ in sessions]
    made = Sessions(
        start=np.cumsum([0, *map(len, sessions)], dtype=np.int32),
        link=np.array([link for one in sessions for link, _ in one], np.int32),
        count=np.array([count for one in sessions for _, count in one]),
        cap=np.array(caps),
    )
    return np.array(capacity, float), made


def slow_share(capacity: Floats, sessions: Sessions) -> list[float]:
    """Textbook progressive filling in exact fractions, one bottleneck at a time."""
    members: list[Member] = []
    for s in range(len(sessions)):
        mine: Member = {}
        for e in range(sessions.start[s], sessions.start[s + 1]):
            if sessions.count[e] > 0:
                link = int(sessions.link[e])
                mine[link] = mine.get(link, Fraction(0)) + Fraction(float(sessions.count[e]))
        members.append(mine)
    rate: dict[int, Fraction | None] = {}
    while len(rate) < len(members):
        open_ = [s for s in range(len(members)) if s not in rate]
        limits: list[tuple[Fraction, list[int]]] = []
        for link in range(len(capacity)):
            weight = sum((members[s].get(link, Fraction(0)) for s in open_), Fraction(0))
            if weight:
                used = sum(((rate[s] or Fraction(0)) * members[s].get(link, Fraction(0)) for s in rate), Fraction(0))
                limits.append(
                    ((Fraction(float(capacity[link])) - used) / weight, [s for s in open_ if link in members[s]])
                )
        limits.extend((Fraction(float(sessions.cap[s])), [s]) for s in open_ if np.isfinite(sessions.cap[s]))
        if not limits:
            rate.update(dict.fromkeys(open_))
            break
        level = min(limit for limit, _ in limits)
        rate.update(dict.fromkeys(itertools.chain(*(who for limit, who in limits if limit == level)), level))
    return [np.inf if rate[s] is None else float(rate[s] or 0) for s in range(len(members))]


@given(networks())
@settings(max_examples=400, deadline=None)
def test_equals_the_oracle(network: tuple[Floats, Sessions]) -> None:
    capacity, sessions = network
    np.testing.assert_allclose(share(capacity, sessions), slow_share(capacity, sessions), rtol=1e-9, atol=1e-12)


@given(networks())
@settings(max_examples=200, deadline=None)
def test_no_link_carries_more_than_it_can(network: tuple[Floats, Sessions]) -> None:
    capacity, sessions = network
    rate = share(capacity, sessions)
    bounded = np.where(np.isfinite(rate), rate, 0)
    assert np.all(sessions.load(bounded, len(capacity)) <= capacity * (1 + 1e-9) + 1e-12)
    assert np.all(rate <= sessions.cap)


@given(networks())
@settings(max_examples=200, deadline=None)
def test_every_session_has_a_bottleneck(network: tuple[Floats, Sessions]) -> None:
    capacity, sessions = network
    rate = share(capacity, sessions)
    crossing = np.bincount(sessions.owner(), sessions.count, len(sessions)) > 0
    held = bottlenecked(capacity, sessions, np.where(np.isfinite(rate), rate, 0)) | ~crossing
    assert held.all()


@given(networks(), st.randoms(use_true_random=False))
@settings(max_examples=100, deadline=None)
def test_order_is_no_privilege(network: tuple[Floats, Sessions], random: object) -> None:
    capacity, sessions = network
    order = list(range(len(sessions)))
    random.shuffle(order)  # type: ignore[attr-defined]
    renamed = np.arange(len(capacity))
    random.shuffle(renamed)  # type: ignore[attr-defined]
    entries = [np.arange(sessions.start[s], sessions.start[s + 1])[::-1] for s in order]
    flat = np.concatenate(entries) if entries else np.zeros(0, int)
    shuffled = Sessions(
        start=np.cumsum([0, *map(len, entries)], dtype=np.int32),
        link=renamed[sessions.link[flat]].astype(np.int32),
        count=sessions.count[flat],
        cap=sessions.cap[order],
    )
    moved = np.empty_like(capacity)
    moved[renamed] = capacity
    np.testing.assert_allclose(share(moved, shuffled), share(capacity, sessions)[order], rtol=1e-9, atol=1e-12)


def test_members_of_a_session_count_one_by_one() -> None:
    """Three members and a plain flow on a link of 8: 2 each."""
    sessions = Sessions.of([0, 1, 2], [0, 0], [3, 1])
    np.testing.assert_allclose(share(np.array([8.0]), sessions), [2.0, 2.0])


def test_a_session_is_as_fast_as_its_slowest_edge() -> None:
    sessions = Sessions.of([0, 3, 4], [0, 1, 2, 1])
    np.testing.assert_allclose(share(np.array([10.0, 6.0, 9.0]), sessions), [3.0, 3.0])
    np.testing.assert_allclose(share(np.array([10.0, 6.0, 1.0]), sessions), [1.0, 5.0])


def test_the_parking_lot() -> None:
    """One flow over all links of a chain beside one per link: (C/2 everywhere), the textbook's example."""
    num = 200
    link = [*range(num), *range(num)]
    sessions = Sessions.of([0, *range(num, 2 * num + 1)], link)
    np.testing.assert_allclose(share(np.full(num, 4.0), sessions), 2.0)


def test_a_chain_of_bottlenecks_that_wait_for_one_another() -> None:
    """Flow i crosses links i and i+1: each link's share depends on the one before it."""
    num = 60
    capacity = np.array([1.0 + 2.5 * i for i in range(num + 1)])
    sessions = Sessions.of(np.arange(0, 2 * num + 1, 2), np.stack([np.arange(num), np.arange(num) + 1], 1).ravel())
    rate = share(capacity, sessions)
    np.testing.assert_allclose(rate, slow_share(capacity, sessions), rtol=1e-9)
    assert len(np.unique(np.round(rate, 6))) > num // 2


def test_a_dead_link_stops_only_those_who_cross_it() -> None:
    sessions = Sessions.of([0, 2, 3], [0, 1, 1])
    np.testing.assert_allclose(share(np.array([0.0, 5.0]), sessions), [0.0, 5.0])


def test_nobody_to_share_among() -> None:
    assert len(share(np.array([1.0]), Sessions.of([0], []))) == 0
    assert share(np.array([1.0]), Sessions.of([0, 0], [])).tolist() == [np.inf]


@pytest.mark.parametrize(
    ("capacity", "sessions", "words"),
    [
        ([1.0], Sessions.of([0, 2], [0]), "start must rise"),
        ([1.0], Sessions.of([0, 1], [1]), "not there"),
        ([1.0], Sessions.of([0, 1], [0], [-1.0]), "count holds a negative"),
        ([float("nan")], Sessions.of([0, 1], [0]), "capacity holds"),
        ([float("inf")], Sessions.of([0, 1], [0]), "capacity must be finite"),
        ([1.0], Sessions.of([0, 1], [0], [1.0, 1.0]), "count is per entry"),
    ],
)
def test_arrays_that_do_not_fit(capacity: list[float], sessions: Sessions, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        share(np.array(capacity), sessions)


def test_many_sessions_and_long_ones_are_quick() -> None:
    """CPU time; the aims are 2 s and 0.3 s, asked for with room for a slow machine."""
    rng = np.random.default_rng(7)
    num_links = 600_000
    link = rng.integers(0, num_links // 6, (250_000, 6)) + np.arange(6) * (num_links // 6)
    many = Sessions.of(np.arange(0, 6 * 250_000 + 1, 6), link.ravel())
    long = Sessions.of([0, 2_000_000], rng.integers(0, num_links, 2_000_000))
    capacity = rng.choice([25e9, 50e9], num_links)
    for sessions, limit_s in ((many, 4.0), (long, 0.6)):
        begun = process_time()
        rate = share(capacity, sessions)
        assert process_time() - begun < limit_s
        assert bottlenecked(capacity, sessions, rate).all()


def test_some_sessions_keep_their_entries() -> None:
    sessions = Sessions.of([0, 2, 3, 6], [5, 6, 7, 1, 2, 3], [1, 2, 3, 4, 5, 6])
    some = sessions.taken(np.array([2, 0], np.int32))
    assert some.start.tolist() == [0, 3, 5]
    assert some.link.tolist() == [1, 2, 3, 5, 6]
    assert some.count.tolist() == [4, 5, 6, 1, 2]
