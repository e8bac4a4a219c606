"""Connected parts against a plain search."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from roadbed.fabric.graph import components, numbered


def _search(num: int, edges: list[tuple[int, int]]) -> list[int]:
    near: dict[int, set[int]] = {node: set() for node in range(num)}
    for a, b in edges:
        near[a].add(b)
        near[b].add(a)
    found = [-1] * num
    for node in range(num):
        waiting = [node] if found[node] < 0 else []
        while waiting:
            one = waiting.pop()
            if found[one] < 0:
                found[one] = node
                waiting.extend(near[one])
    return found


@given(st.integers(1, 30).flatmap(lambda num: st.tuples(
    st.just(num), st.lists(st.tuples(st.integers(0, num - 1), st.integers(0, num - 1)), max_size=40)
)))  # fmt: skip
def test_as_a_search_finds_them(graph: tuple[int, list[tuple[int, int]]]) -> None:
    num, edges = graph
    a, b = [edge[0] for edge in edges], [edge[1] for edge in edges]
    assert components(num, a, b).tolist() == _search(num, edges)


def test_a_long_chain_in_any_order() -> None:
    order = np.random.default_rng(1).permutation(5_000)
    assert set(components(5_000, order[:-1], order[1:]).tolist()) == {0}


def test_numbers_follow_labels() -> None:
    assert numbered(np.array([4, 0, 4, 2], np.int32)).tolist() == [2, 0, 2, 1]
