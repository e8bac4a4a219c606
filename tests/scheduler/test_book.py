"""Devices between free, taken and held; what a run is expected to do and what stopping it costs."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from roadbed.scheduler.accounts import QuotaTree
from roadbed.scheduler.base import Placement, Shape, Slot
from roadbed.scheduler.book import Book, Run, Taken, hold
from roadbed.scheduler.forecast import Durations
from roadbed.scheduler.order import Kind, Waiter
from roadbed.scheduler.quota import Quota
from roadbed.scheduler.state import State
from tests.scheduler.cluster import job, nodes


def book(num_nodes: int = 1) -> Book:
    state = State(nodes(num_nodes))
    tree = QuotaTree([Quota(name="default")], {"gpu": num_nodes * 8000, "cpu": num_nodes * 64_000})
    return Book(state, tree, Durations(unknown_s=1000.0))


def waiter(id_: str, devices: int = 1, seq: int = 1, **more: object) -> Waiter:
    wanted = job(id_, devices, **more)  # type: ignore[arg-type]
    return Waiter(wanted, Kind(wanted.gang), seq, 0.0)


def place(*devices: int, node: int = 0) -> Placement:
    return Placement((Slot(node, devices),))


def test_start_and_leave_charge_and_give_back() -> None:
    made = book()
    run = made.start(waiter("a", 2), place(0, 1), 5.0)
    assert made.tree.used[0] == 2000
    assert made.state.used_milli == 2000
    version = made.version
    made.leave(run, 9.0)
    assert made.tree.used == [0, 0]
    assert made.state.used_milli == 0
    assert made.version > version
    assert made.ends == []
    assert made.stoppable["default"] == [0] * 10


def test_what_is_taken_can_not_be_started_on() -> None:
    made = book()
    made.start(waiter("a", 2), place(0, 1), 0.0)
    with pytest.raises(ValueError, match="device 1"):
        made.start(waiter("b", 2, 2), place(1, 2), 0.0)
    assert set(made.runs) == {"a"}
    assert made.state.used_milli == 2000


def test_a_claim_holds_the_free_gathers_the_rest_and_lets_go() -> None:
    made = book()
    run = made.start(waiter("a", 2), place(0, 1), 0.0)
    wanted = waiter("b", 4, 2)
    claim = made.claim(wanted, wanted.job.gang, place(0, 1, 2, 3), 1.0)
    run.claim, run.leaving = "b", list(run.held)
    claim.waiting_for = {"a"}
    assert made.state.used_milli == 4000  # two run, two are held
    made.leave(run, 2.0)
    assert made.state.used_milli == 4000  # what left is held as well
    assert claim.waiting_for == set()
    made.drop_claim(claim, 2.0)
    assert made.state.used_milli == 0
    assert made.tree.used == [0, 0]
    assert made.state.cpu_left[0] == made.state.cpu[0]


def test_a_move_has_both_places_until_it_is_done() -> None:
    made = book()
    run = made.start(waiter("a", 2), place(0, 1), 0.0)
    made.move(run, place(4, 5), 1.0)
    assert made.state.used_milli == 4000
    assert made.tree.used[0] == 2000
    made.moved(run)
    assert made.state.used_milli == 2000
    assert made.state.left[0].tolist() == [1000, 1000, 1000, 1000, 0, 0, 1000, 1000]
    assert made.on_node[0] == {"a": None}


@pytest.mark.parametrize(
    ("checkpoint_s", "lost_s", "kept_s"), [(0.0, 250.0, 0.0), (100.0, 50.0, 200.0), (300.0, 250.0, 0.0)]
)
def test_what_a_stop_costs(checkpoint_s: float, lost_s: float, kept_s: float) -> None:
    run = Run(waiter("a", 4, checkpoint_s=checkpoint_s), place(0, 1, 2, 3), 0.0)
    assert run.lost_s(250.0) == lost_s
    assert run.kept_s(250.0) == kept_s
    assert run.cost(250.0) == 4 * lost_s


def test_expected_ends() -> None:
    made = book()
    declared = made.start(waiter("a", 1, duration_s=100.0), place(0), 0.0)
    unknown = made.start(waiter("b", 1, 2), place(1), 0.0)
    assert (declared.end_s, unknown.end_s) == (100.0, 1000.0)
    assert made.upcoming(130.0)[0] == (160.0, 1, "a")  # 30 s late: as long again
    assert declared.end_s == 100.0  # asking changes nothing
    for _ in range(6):
        made.durations.learn("default", 1000, 50.0)
    assert made.remaining_s(waiter("c")) == 50.0
    assert made.remaining_s(waiter("d", duration_s=70.0)) == 70.0
    again = waiter("e")
    again.saved_s = 30.0
    assert made.remaining_s(again) == 20.0
    again.saved_s = 400.0  # longer than any of its like ran: as long again, and not a second
    assert made.remaining_s(again) == 400.0


@given(
    st.lists(st.integers(0, 1000), min_size=8, max_size=8),
    st.lists(st.tuples(st.sets(st.integers(0, 7), min_size=1, max_size=3), st.integers(1, 1000)), max_size=5),
)
def test_holding_takes_what_is_free_of_it_and_gives_it_back(used: list[int], slots: list[tuple[set[int], int]]) -> None:
    state = State(nodes(1))
    for device, milli in enumerate(used):
        if milli:
            state.take(Slot(0, (device,)), Shape(num_devices=1, milli=milli))
    before = state.left.copy()
    held: list[Taken] = []
    for devices, milli in slots:
        shape = Shape(num_devices=len(devices), milli=milli, cpu_milli=30_000)
        now = state.left[0].copy()
        hold(state, [Slot(0, tuple(sorted(devices)))], shape, held)
        for device in range(8):
            taken = int(now[device] - state.left[0, device])
            assert taken == (min(milli, int(now[device])) if device in devices else 0)
    for slot, shape in reversed(held):
        state.give(slot, shape)
    assert (state.left == before).all()
    assert state.cpu_left[0] == state.cpu[0]
