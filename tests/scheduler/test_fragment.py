"""Fragmentation against its definition, written out naively, on random nodes and targets."""

from random import Random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from roadbed.scheduler.base import Shape
from roadbed.scheduler.fragment import Fragments
from roadbed.scheduler.state import State
from roadbed.scheduler.target import Target
from roadbed.spec.inventory import NodeInfo

CHIPS = ("T4", "H100")
SHAPES = st.builds(
    lambda num, milli, cpu, chips: Shape(
        num_devices=num, milli=milli if num == 1 else 1000 if num else 0, cpu_milli=cpu, chips=chips
    ),
    st.integers(0, 3), st.sampled_from([100, 250, 500, 810, 1000]), st.sampled_from([0, 1000, 8000]),
    st.sampled_from([(), ("T4",), CHIPS]),
)  # fmt: skip


def naive(left: list[int], cpu: int, chip: str, target: Target) -> float:
    """F_n word by word."""
    total = 0.0
    for shape, share in zip(target.shapes, target.shares, strict=True):
        enough = [g for g in left if g >= shape.milli]
        fits = len(enough) >= shape.num_devices and cpu >= shape.cpu_milli and (not shape.chips or chip in shape.chips)
        needs = shape.num_devices * shape.milli > 0
        total += share * (sum(g for g in left if g < shape.milli) if needs and fits else sum(left))
    return total


@settings(max_examples=200, deadline=None)
@given(
    st.lists(st.integers(0, 1000), min_size=3, max_size=3),
    st.integers(0, 10_000),
    st.sampled_from(CHIPS),
    st.lists(SHAPES, min_size=1, max_size=5, unique=True),
    st.sampled_from([100, 330, 500, 1000]),
)
def test_it_is_what_its_definition_says(left: list[int], cpu: int, chip: str, shapes: list[Shape], milli: int) -> None:
    target = Target(tuple(shapes), tuple(1 / len(shapes) for _ in shapes))
    state = State([NodeInfo(name="n", cpu_milli=10_000, memory_mib=1, chip=chip, num_devices=3)])
    state.left[0] = left
    state.cpu_left[0] = cpu
    fragments = Fragments(state, target)
    here = np.array([0])
    assert fragments.of(state, here)[0] == pytest.approx(naive(left, cpu, chip, target))
    now, after = fragments.after_share(state, here, milli, 500)
    assert now[0] == pytest.approx(naive(left, cpu, chip, target))
    for device, free in enumerate(left):
        if free < milli or (device and free == left[device - 1]):
            assert after[0, device] == np.inf
        else:
            changed = [*left[:device], free - milli, *left[device + 1 :]]
            assert after[0, device] == pytest.approx(naive(changed, cpu - 500, chip, target))


@settings(max_examples=100, deadline=None)
@given(
    st.lists(st.tuples(st.sampled_from(CHIPS), st.integers(1, 4), st.integers(0, 9000)), min_size=1, max_size=6),
    st.lists(SHAPES, min_size=1, max_size=6, unique=True),
    st.randoms(use_true_random=False),
)
def test_nodes_of_all_kinds_at_once(kinds: list[tuple[str, int, int]], shapes: list[Shape], rng: Random) -> None:
    target = Target(tuple(shapes), tuple(1 / len(shapes) for _ in shapes))
    state = State(
        [
            NodeInfo(name=f"n{at}", cpu_milli=cpu, memory_mib=1, chip=chip, num_devices=num)
            for at, (chip, num, cpu) in enumerate(kinds)
        ]
    )
    for at, (_, num, _) in enumerate(kinds):
        state.left[at, :num] = [rng.choice([0, 100, 190, 500, 1000]) for _ in range(num)]
    of = Fragments(state, target).of(state, np.arange(len(kinds)))
    after = Fragments(state, target).after_devices(state, np.arange(len(kinds)), 1, 1000, 0)[1]
    for at, (chip, num, cpu) in enumerate(kinds):
        left = state.left[at, :num].tolist()
        assert of[at] == pytest.approx(naive(left, cpu, chip, target))
        if 1000 in left:
            left[left.index(1000)] = 0
            assert after[at] == pytest.approx(naive(left, cpu, chip, target))


def test_whole_devices_are_taken_from_the_tightest() -> None:
    target = Target((Shape(num_devices=1),), (1.0,))
    state = State([NodeInfo(name="n", cpu_milli=10, memory_mib=1, chip="T4", num_devices=4)])
    state.left[0] = [1000, 400, 1000, 600]
    now, after = Fragments(state, target).after_devices(state, np.array([0]), 1, 1000, 0)
    assert (now[0], after[0]) == (1000.0, 1000.0)
    _, shared = Fragments(state, target).after_devices(state, np.array([0]), 2, 300, 0)
    assert shared[0] == 400.0  # the two broken devices give 300 each; the whole ones stay whole


def test_an_unknown_workload_has_no_fragments() -> None:
    state = State([NodeInfo(name="n", cpu_milli=10, memory_mib=1, chip="T4", num_devices=4)])
    assert Fragments(state, Target()).of(state, np.array([0]))[0] == 0.0
