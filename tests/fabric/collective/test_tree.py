"""Double binary trees: both span, nobody is inside twice, and they are shallow."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from roadbed.fabric.collective.base import ranks_of
from roadbed.fabric.collective.tree import both_trees, can_nvls, nvls, parents, tree
from tests.fabric.collective.net import flat


def depth_of(child, parent, num):
    up = dict(zip(child.tolist(), parent.tolist(), strict=True))
    deepest = 0
    for node in range(num):
        steps = 0
        while node in up:
            node = up[node]
            steps += 1
            assert steps <= num, "a cycle"
        deepest = max(deepest, steps)
    return deepest


@given(st.integers(2, 300))
def test_each_tree_spans_all_places_with_one_root_and_little_depth(num):
    child, parent, number = both_trees(num)
    for one in (0, 1):
        mine = number == one
        assert len(set(child[mine].tolist())) == num - 1
        assert depth_of(child[mine], parent[mine], num) <= num.bit_length()
        assert np.bincount(parent[mine], minlength=num).max() <= 2


@given(st.integers(2, 300))
def test_nobody_sends_to_more_than_three_children_in_both(num):
    """Who is inside one tree is a leaf (or the root) of the other."""
    _child, parent, _number = both_trees(num)
    busy = np.bincount(parent, minlength=num)
    assert busy.max() <= 3
    assert (busy == 3).sum() <= 2


def test_parents_of_eight():
    assert parents(8).tolist() == [-1, 2, 4, 2, 0, 6, 4, 6]


def test_only_whole_servers_of_chips_that_can_reduce_in_the_switch():
    fabric = flat(4, 8)
    assert can_nvls(fabric, "allreduce", ranks_of(fabric, range(32)))
    assert not can_nvls(fabric, "allgather", ranks_of(fabric, range(32)))
    assert not can_nvls(fabric, "allreduce", ranks_of(fabric, range(30)))
    assert not can_nvls(flat(4, 8, chip="A100-80GB"), "allreduce", ranks_of(fabric, range(32)))


@pytest.mark.parametrize("make", [tree, nvls])
def test_every_rail_has_two_trees_up_and_down(make):
    fabric = flat(4, 8)
    one = make(fabric, "allreduce", ranks_of(fabric, range(32)))
    assert one.num_sessions == 16
    assert len(one.src) == 8 * 2 * 2 * 3
    assert (fabric.rail[one.src] == fabric.rail[one.dst]).all()
    assert (fabric.server[one.src] != fabric.server[one.dst]).all()


def test_a_broadcast_goes_down_only():
    fabric = flat(4, 2)
    one = tree(fabric, "broadcast", ranks_of(fabric, range(8)))
    assert len(one.src) == 2 * 2 * 3
