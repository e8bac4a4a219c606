"""The value of free domains: whole segments stay whole while broken ones have room."""

import numpy as np
import pytest

from roadbed.scheduler.base import Shape, Slot
from roadbed.scheduler.domains import DomainValue
from roadbed.scheduler.state import State
from roadbed.scheduler.tree import SEGMENT, Tree
from tests.scheduler.cluster import nodes


def fill(state: State, *which: int) -> None:
    for node in which:
        state.take(Slot(node, tuple(range(8))), Shape(num_devices=8))


def test_a_small_job_goes_where_nothing_large_fits_any_more() -> None:
    state = State(nodes(8))  # segments of 16 devices, pods of 32
    value = DomainValue(Tree(state.nodes), [(16, 1.0)], state.num_devices)
    fill(state, 5)
    assert value.cheapest(state, np.arange(8), 8) == 4  # its segment is broken already
    order = value.order(state, SEGMENT, np.array([0, 1, 2, 3]), np.array([2, 2, 1, 2]), 8)
    assert order[0] == 2


def test_it_follows_what_is_taken_and_given_back() -> None:
    state = State(nodes(8))
    value = DomainValue(Tree(state.nodes), [(16, 1.0)], state.num_devices)
    value.cheapest(state, np.arange(8), 8)
    fill(state, 1)
    value.cheapest(state, np.arange(8), 8)
    assert value.free[SEGMENT].tolist() == [8, 16, 16, 16]
    state.give(Slot(1, tuple(range(8))), Shape(num_devices=8))
    value.cheapest(state, np.arange(8), 8)
    assert value.free[SEGMENT].tolist() == [16] * 4


def test_among_equals_the_fullest_domain_in_the_fullest_parent() -> None:
    state = State(nodes(8))
    value = DomainValue(Tree(state.nodes), [(1, 1.0)], state.num_devices)  # nobody needs a whole segment
    fill(state, 6)
    assert value.cheapest(state, np.array([0, 3, 7]), 8) == 7


@pytest.mark.parametrize("gangs", [[], [(8, 0.5), (64, 0.5)]])
def test_taking_all_of_a_domain_costs_no_fragment(gangs: list[tuple[int, float]]) -> None:
    state = State(nodes(8))
    value = DomainValue(Tree(state.nodes), gangs, state.num_devices)
    half = value.order(state, SEGMENT, np.array([0, 1]), np.array([2, 2]), 16)
    assert sorted(half.tolist()) == [0, 1]
