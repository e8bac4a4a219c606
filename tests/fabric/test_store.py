"""The store and its index: they forget what is over and nothing else."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from roadbed.fabric.maxmin import Sessions
from roadbed.fabric.store import Index, Store


def sessions(paths: list[list[int]]) -> Sessions:
    start = np.cumsum([0, *map(len, paths)], dtype=np.int32)
    flat = [link for path in paths for link in path]
    return Sessions.of(start, flat, np.arange(1, len(flat) + 1))


PATHS = st.lists(st.lists(st.integers(0, 9), max_size=4, unique=True), min_size=1, max_size=6)


@given(st.lists(st.tuples(PATHS, st.floats(0, 1)), min_size=1, max_size=12))
@settings(max_examples=100, deadline=None)
def test_equals_a_dictionary(rounds: list[tuple[list[list[int]], float]]) -> None:
    store = Store()
    index = Index(10, store)
    known: dict[int, list[int]] = {}
    for paths, part in rounds:
        first = store.add(sessions(paths))
        added = np.arange(first, first + len(paths))
        known.update(zip(added.tolist(), paths, strict=True))
        owner, link, count = store.entries(added)
        store.active[added] = True
        index.add(link, count, added[owner])
        gone = np.array(sorted(known)[: int(part * len(known))], np.int64)
        index.forget(sum(len(known.pop(int(one))) for one in gone))
        store.active[gone] = False
        store.drop(gone)
        for number, path in known.items():
            assert store.entries(np.array([number]))[1].tolist() == path
        asked = np.array([7, 2, 0], np.int32)
        at, session, _ = index.pairs(asked)
        found = sorted(zip(asked[at].tolist(), session.tolist(), strict=True))
        assert found == sorted((link, number) for number, path in known.items() for link in path if link in asked)


def test_many_short_sessions_leave_no_trace() -> None:
    store = Store()
    index = Index(100, store)
    for _ in range(3_000):
        first = store.add(sessions([[1, 2, 3], [4, 5]]))
        both = np.arange(first, first + 2)
        owner, link, count = store.entries(both)
        store.active[both] = True
        index.add(link, count, both[owner])
        store.active[both] = False
        store.drop(both)
        index.forget(len(link))
        assert len(index.pairs(np.array([1], np.int32))[0]) == 0
    assert store.num == 6_000
    assert len(store._link) < 5_000


def test_pairs_carry_their_counts() -> None:
    store = Store()
    index = Index(10, store)
    store.add(sessions([[3, 4], [4]]))
    store.active[:2] = True
    owner, link, count = store.entries(np.arange(2))
    index.add(link, count, owner)
    at, session, counts = index.pairs(np.array([4], np.int32))
    assert (at.tolist(), session.tolist(), counts.tolist()) == ([0, 0], [0, 1], [2.0, 3.0])
