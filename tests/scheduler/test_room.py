"""How many processes fit, and which devices they take: never across inner islands where the gang stays inside one."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from roadbed.scheduler.base import Shape, Slot
from roadbed.scheduler.policies.base import Ask
from roadbed.scheduler.room import ONE_ISLAND, Inner, per_devices, pick, room
from roadbed.scheduler.state import State
from roadbed.spec.inventory import NodeInfo


def npu(**fields: object) -> NodeInfo:
    islands = (0,) * 8 + (1,) * 8
    return NodeInfo(
        name="npu", cpu_milli=64_000, memory_mib=1000, chip="910B", num_devices=16, device_islands=islands, **fields
    )  # type: ignore[arg-type]


def rooms(state: State, shape: Shape, together: int = 0, **fields: bool) -> int:
    return int(room(state, Ask(state, shape), np.array([0]), Inner(state), together, **fields)[0])


def test_six_and_two_are_no_eight() -> None:
    state = State([npu()])
    state.take(Slot(0, (0, 1)), Shape(num_devices=2))
    state.take(Slot(0, tuple(range(8, 14))), Shape(num_devices=6))
    eight = Shape(num_devices=8)
    assert rooms(state, eight) == 1  # 6 + 2, for who does not care
    assert rooms(state, eight, together=1) == 0
    assert rooms(state, eight, ONE_ISLAND) == 0
    assert pick(state, eight, 0, 1, Inner(state), 1) == []
    assert pick(state, eight, 0, 1, Inner(state), 0) == [(2, 3, 4, 5, 6, 7, 14, 15)]
    assert rooms(state, Shape(num_devices=2), ONE_ISLAND) == 3
    assert rooms(state, Shape(num_devices=2), together=1) == 4
    assert rooms(state, Shape(num_devices=2), together=2) == 2


def test_the_island_with_least_to_spare_is_taken() -> None:
    state = State([npu()])
    state.take(Slot(0, tuple(range(8, 14))), Shape(num_devices=6))
    assert pick(state, Shape(num_devices=2), 0, 2, Inner(state), 1) == [(14, 15), (0, 1)]


def test_cpu_memory_and_cordons_count() -> None:
    state = State([npu()])
    assert rooms(state, Shape(num_devices=1, cpu_milli=30_000)) == 2
    assert rooms(state, Shape(num_devices=1, memory_mib=300)) == 3
    state.take(Slot(0, (0,)), Shape(num_devices=1, cpu_milli=50_000))
    assert rooms(state, Shape(num_devices=1, cpu_milli=30_000)) == 0
    assert rooms(state, Shape(num_devices=1, cpu_milli=30_000), empty=True) == 2
    state.set_schedulable(0, False)
    assert rooms(state, Shape(), empty=True) == 0


ROWS = st.lists(st.integers(0, 10), min_size=6, max_size=6)


@settings(max_examples=200)
@given(ROWS, st.integers(1, 4), st.sampled_from([100, 300, 500, 700, 1000]))
def test_no_fewer_and_no_more_than_can_be_taken_one_by_one(row: list[int], num: int, milli: int) -> None:
    """What per_devices promises is what pick delivers, and one more would not fit."""
    state = State([NodeInfo(name="n", cpu_milli=1000, memory_mib=1, chip="x", num_devices=6)])
    state.left[0] = np.array(row) * 100
    shape = Shape(num_devices=num, milli=milli)
    promised = int(per_devices(state.left, shape)[0])
    picked = pick(state, shape, 0, promised, Inner(state), 0)
    assert len(picked) == promised
    for devices in picked:
        state.take(Slot(0, devices), shape)
    with pytest.raises(ValueError, match="free"):
        fitting = np.flatnonzero(state.left[0] >= milli)[:num]
        state.take(Slot(0, tuple(fitting.tolist()) if len(fitting) == num else tuple(range(num))), shape)
