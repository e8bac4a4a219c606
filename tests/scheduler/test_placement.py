"""Cached scores are those a fresh look would give, whatever happened in between; ties go to the first node."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from roadbed.scheduler.base import Shape, Slot
from roadbed.scheduler.placement import UNFIT, Placer
from roadbed.scheduler.policies.base import Ask
from roadbed.scheduler.policies.registry import POLICY_NAMES, make_policy
from roadbed.scheduler.state import State
from roadbed.scheduler.target import target_of
from tests.scheduler.cluster import nodes

SHAPES = (
    Shape(num_devices=1, milli=470, cpu_milli=6000, memory_mib=1000),
    Shape(num_devices=1, milli=810, cpu_milli=8000),
    Shape(num_devices=1, cpu_milli=12_000),
    Shape(num_devices=4, cpu_milli=1000),
    Shape(cpu_milli=4000, memory_mib=10_000),
    Shape(num_devices=1, milli=320, chips=("T4",)),
)
TARGET = target_of([*SHAPES, SHAPES[0], SHAPES[2]])


def cluster() -> State:
    return State([*nodes(4, devices=4), *nodes(2, devices=2, chip="T4", first=4), *nodes(1, devices=0, first=6)])


@pytest.mark.parametrize("name", POLICY_NAMES)
@settings(max_examples=25, deadline=None)
@given(steps=st.lists(st.tuples(st.integers(0, 5), st.booleans(), st.integers(0, 99)), max_size=30))
def test_caches_follow_every_change(name: str, steps: list[tuple[int, bool, int]]) -> None:
    state = cluster()
    placer = Placer(state, make_policy(name, state, TARGET, np.random.default_rng(0)))
    held: list[tuple[Slot, Shape]] = []
    for which, leave, number in steps:
        shape = SHAPES[which]
        if leave and held:
            state.give(*held.pop(number % len(held)))
        if number % 7 == 0:
            state.set_schedulable(number % state.num_nodes, number % 2 == 0)
        slot = placer.best(shape)
        score = placer.scores(shape)
        fits = Ask(state, shape).fits(state, np.arange(state.num_nodes))
        assert ((score != UNFIT) == fits).all()
        assert (slot is not None) == bool(fits.any())
        if slot is None:
            continue
        state.take(slot, shape)  # raises if the policy's devices were not free
        held.append((slot, shape))
        if not placer.policy.volatile:
            fresh = Placer(state, make_policy(name, state, TARGET, np.random.default_rng(0))).scores(shape)
            assert (placer.scores(shape) == fresh).all()


def test_ties_go_to_the_first_node_and_a_choice_can_be_narrowed() -> None:
    state = State(nodes(3))
    placer = Placer(state, make_policy("bestfit", state, TARGET, np.random.default_rng(0)))
    assert placer.best(SHAPES[2]) == Slot(0, (0,))
    assert placer.best(SHAPES[2], np.array([2, 1])) == Slot(2, (0,))
    for node in range(3):
        state.set_schedulable(node, False)
    assert placer.best(SHAPES[2]) is None


def test_an_empty_cluster_places_nothing() -> None:
    state = State([])
    assert Placer(state, make_policy("bestfit", state, TARGET, np.random.default_rng(0))).best(SHAPES[0]) is None


def test_caches_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("roadbed.scheduler.placement._MAX_SHAPES", 4)
    state = State(nodes(2))
    placer = Placer(state, make_policy("bestfit", state, TARGET, np.random.default_rng(0)))
    for cpu in range(1, 20):
        assert placer.best(Shape(num_devices=1, cpu_milli=cpu)) is not None
    assert len(placer._cache) <= 4
