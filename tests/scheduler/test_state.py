"""Free capacity to the last unit: taken or refused whole, given back exactly, rolled back without a trace."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from roadbed.scheduler.base import Placement, Shape, Slot
from roadbed.scheduler.state import State, allowed, pod_class
from roadbed.spec.inventory import NodeInfo
from tests.scheduler.cluster import nodes

HALF = Shape(num_devices=1, milli=500, cpu_milli=1000, memory_mib=100)
PAIR = Shape(num_devices=2, cpu_milli=2000, memory_mib=100)


def copy_of(state: State) -> tuple[np.ndarray, ...]:
    return state.left.copy(), state.cpu_left.copy(), state.memory_left.copy(), state.used_by.copy()


def same(a: tuple[np.ndarray, ...], b: tuple[np.ndarray, ...]) -> bool:
    return all(np.array_equal(x, y) for x, y in zip(a, b, strict=True))


def test_what_is_not_free_is_refused_and_changes_nothing() -> None:
    state = State(nodes(1, devices=2))
    state.take(Slot(0, (0,)), HALF)
    before = copy_of(state)
    for slot, shape in (
        (Slot(0, (0, 1)), PAIR),
        (Slot(0, (1, 1)), PAIR),
        (Slot(0, (1,)), PAIR),
        (Slot(0, (1,)), Shape(num_devices=1, cpu_milli=64_000)),
        (Slot(0, ()), Shape(memory_mib=600_000)),
    ):
        with pytest.raises(ValueError, match="n000"):
            state.take(slot, shape)
    assert same(copy_of(state), before)


def test_what_was_not_taken_can_not_be_given() -> None:
    state = State(nodes(1, devices=2))
    for slot, shape in ((Slot(0, (0,)), HALF), (Slot(0, ()), Shape(cpu_milli=1))):
        with pytest.raises(ValueError, match="was not given out"):
            state.give(slot, shape)


def test_a_gang_is_taken_whole_or_not_at_all() -> None:
    state = State(nodes(2, devices=2))
    before = copy_of(state)
    with pytest.raises(ValueError, match="free"):
        state.take_all(Placement((Slot(0, (0, 1)), Slot(1, (0, 1)), Slot(0, (0, 1)))), PAIR)
    assert same(copy_of(state), before)
    assert state.used_milli == 0


def test_two_nodes_of_one_name_are_one_too_many() -> None:
    with pytest.raises(ValueError, match="same name"):
        State([*nodes(1), *nodes(1)])


def test_the_log_tells_what_changed_and_when_too_much_did() -> None:
    state = State(nodes(4))
    changed, position = state.changed_since(-1)
    assert changed is None or len(changed) == 0
    state.take(Slot(2, (0,)), HALF)
    state.take(Slot(1, (0,)), HALF)
    state.take(Slot(2, (1,)), HALF)
    found, end = state.changed_since(position)
    assert found is not None
    assert sorted(found.tolist()) == [1, 2]
    assert len(state.changed_since(end)[0]) == 0  # type: ignore[arg-type]
    state.set_schedulable(3, False)
    assert state.changed_since(end)[0].tolist() == [3]  # type: ignore[union-attr]
    state.set_schedulable(3, False)
    assert len(state.log) == 4


def test_classes_of_processes() -> None:
    sizes = (Shape(num_devices=0), HALF, Shape(num_devices=1), PAIR, Shape(num_devices=3), Shape(num_devices=8))
    assert [pod_class(shape) for shape in sizes] == [0, 1, 2, 3, 4, 5]


def test_fixed_properties_decide_where_a_shape_could_ever_go() -> None:
    machines = [
        NodeInfo(name="a", cpu_milli=1, memory_mib=1, chip="T4", num_devices=2, device_memory_mib=16_000),
        NodeInfo(name="b", cpu_milli=1, memory_mib=1, chip="H100", num_devices=8, device_memory_mib=80_000),
        NodeInfo(name="c", cpu_milli=1, memory_mib=1, labels={"zone": "x"}),
    ]
    state = State(machines)

    def names(**fields: object) -> str:
        return "".join(machines[at].name for at in np.flatnonzero(allowed(state, Shape(**fields))))  # type: ignore[arg-type]

    assert names() == "abc"
    assert names(num_devices=1) == "ab"
    assert names(num_devices=4) == "b"
    assert names(num_devices=1, chips=("T4", "V100")) == "a"
    assert names(num_devices=1, chips=("V100",)) == ""
    assert names(num_devices=1, min_device_mib=24_000) == "b"
    assert names(num_devices=1, max_device_mib=24_000) == "a"
    assert names(labels=(("zone", "x"),)) == "c"


def test_want_of_whole_devices_is_known_without_a_look_at_nodes() -> None:
    state = State(nodes(3, devices=3))
    two = Shape(num_devices=2)
    assert not state.lacks_devices(two, 3)
    assert state.lacks_devices(two, 4)  # one is left over on each node
    state.take(Slot(0, (0,)), HALF)
    assert not state.lacks_devices(two, 3)
    state.take(Slot(0, (1,)), HALF)
    assert state.lacks_devices(two, 3)
    assert state.lacks_devices(Shape(num_devices=4), 1)
    assert not state.lacks_devices(Shape(num_devices=4, milli=900), 1)  # of parts it says nothing
    assert not state.lacks_devices(Shape(cpu_milli=1), 1000)


SHAPES = (HALF, PAIR, Shape(num_devices=1, milli=330, cpu_milli=500), Shape(cpu_milli=5000, memory_mib=1000))
ACTIONS = st.lists(
    st.tuples(st.sampled_from(["take", "give", "mark", "undo", "keep"]), st.integers(0, 63), st.integers(0, 3)),
    max_size=80,
)


@settings(max_examples=150, deadline=None)
@given(ACTIONS)
def test_any_history_leaves_what_nobody_holds(actions: list[tuple[str, int, int]]) -> None:
    """No device over 1000 milli, no double allocation, and an undone what-if is as if it never was."""
    state = State(nodes(3, devices=3))
    held: list[tuple[Slot, Shape]] = []
    marks: list[tuple[int, list[tuple[Slot, Shape]], tuple[np.ndarray, ...]]] = []
    for what, number, which in actions:
        shape = SHAPES[which]
        if what == "take":
            first = number % 3
            slot = Slot(number % 3, tuple((first + at) % 3 for at in range(shape.num_devices)))
            try:
                state.take(slot, shape)
                held.append((slot, shape))
            except ValueError:
                continue
        elif what == "give" and held:
            state.give(*held.pop(number % len(held)))
        elif what == "mark":
            marks.append((state.mark(), list(held), copy_of(state)))
        elif what == "undo" and marks:
            mark, held, before = marks.pop()
            state.undo(mark)
            assert same(copy_of(state), before)
        elif what == "keep" and marks:
            state.keep(marks.pop()[0])
        fresh = State(nodes(3, devices=3))
        for slot, taken in held:
            fresh.take(slot, taken)
        assert same(copy_of(state), copy_of(fresh))
        whole = (state.left == 1000).sum(1)
        assert state.whole.tolist() == whole.tolist()
        assert state.num_with == np.bincount(whole, minlength=4).tolist()
        assert (state.left[state.exists] >= 0).all()
        assert (state.left <= 1000).all()
