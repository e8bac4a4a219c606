"""Gangs on the tree: whole or not at all, where they asked to be, in rank order, and never where they do not fit."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from roadbed.scheduler.base import Gang, Placement, Shape, Slot, Topology
from roadbed.scheduler.planner import Rule, TreePlanner, round_robin, share_out, units
from roadbed.scheduler.policies.bestfit import BestFit
from roadbed.scheduler.policies.kube_tas import KubeTas
from roadbed.scheduler.state import State
from roadbed.scheduler.tree import POD, SEGMENT, Tree
from roadbed.spec.inventory import NodeInfo
from tests.scheduler.cluster import nodes

EIGHT = Shape(num_devices=8, cpu_milli=1000)
RULES: tuple[Rule, ...] = ("value", "tas", "each")


def planner(state: State, rule: Rule = "value") -> TreePlanner:
    return TreePlanner(state, KubeTas() if rule == "tas" else BestFit(), rule)


def where(placement: Placement | None) -> list[int]:
    assert placement is not None
    return [slot.node for slot in placement.slots]


def busy(state: State, *which: int) -> None:
    for node in which:
        state.take(Slot(node, (0,)), Shape(num_devices=1))


@pytest.mark.parametrize("rule", RULES)
def test_a_required_level_holds_the_whole_gang_or_it_waits(rule: Rule) -> None:
    state = State(nodes(8))
    plan = planner(state, rule)
    gang = Gang(shape=EIGHT, num=2, topology=Topology(required="segment"))
    busy(state, 0, 3)
    placed = where(plan.plan(gang))
    assert len({node // 2 for node in placed}) == 1
    busy(state, 5, 6)
    assert plan.plan(gang) is None
    assert plan.plan(Gang(shape=EIGHT, num=2, topology=Topology(required="pod"))) is not None


def test_preferred_is_tried_first_and_given_up() -> None:
    state = State(nodes(8))
    plan = planner(state)
    gang = Gang(shape=EIGHT, num=2, topology=Topology(preferred="segment"))
    busy(state, 0, 2, 4)
    assert where(plan.plan(gang)) == [6, 7]
    busy(state, 6)
    assert len(where(plan.plan(gang))) == 2


def test_ranks_of_a_slice_are_neighbours() -> None:
    """Each 8 devices in a server, each 16 in a segment, 32 in all."""
    topology = Topology(slices=((8, "server"), (16, "segment")))
    gang = Gang(shape=Shape(num_devices=4, cpu_milli=1000), num=8, topology=topology)
    state = State(nodes(8))
    busy(state, 0, 3)
    placed = where(planner(state).plan(gang))
    for at in range(0, 8, 2):
        assert placed[at] == placed[at + 1]
    for at in range(0, 8, 4):
        assert len({node // 2 for node in placed[at : at + 4]}) == 1
    assert planner(state).plan(gang, 6) is None  # not whole slices
    with pytest.raises(ValueError, match="not a whole number of processes"):
        units(Gang(shape=EIGHT, topology=Topology(slices=((12, "server"),))))


def test_small_gangs_leave_whole_segments_whole() -> None:
    state = State(nodes(8))
    busy(state, 4)
    assert where(planner(state).plan(Gang(shape=EIGHT))) == [5]
    assert where(planner(state, "tas").plan(Gang(shape=EIGHT))) == [0]


def test_the_fewest_domains_when_one_is_not_enough() -> None:
    state = State(nodes(16, per_segment=4))
    busy(state, 0, 1, 2)
    placed = where(planner(state).plan(Gang(shape=EIGHT, num=8)))
    assert len({node // 4 for node in placed}) == 2
    assert placed == sorted(placed)


def test_spread_uses_as_many_servers_as_there_are() -> None:
    shape = Shape(num_devices=1, cpu_milli=1000)
    state = State(nodes(4))
    placed = where(planner(state).plan(Gang(shape=shape, num=6, mode="spread")))
    assert sorted(placed.count(node) for node in range(4)) == [1, 1, 2, 2]
    two = where(planner(state).plan(Gang(shape=shape, num=2, mode="spread")))
    assert len({node // 2 for node in two}) == 2  # two segments


def test_islands_inside_a_server() -> None:
    halves = (0,) * 8 + (1,) * 8
    machines = [
        NodeInfo(name=f"n{at}", cpu_milli=64_000, memory_mib=1000, chip="910B", num_devices=16, device_islands=halves)
        for at in range(2)
    ]
    state = State(machines)
    plan = planner(state)
    shape = Shape(num_devices=4)
    state.take(Slot(0, (0, 8)), Shape(num_devices=2))
    pair = Gang(shape=shape, num=2, topology=Topology(required="island"))
    placed = plan.plan(pair)
    assert placed is not None
    assert [slot.node for slot in placed.slots] == [1, 1]
    assert {device // 8 for slot in placed.slots for device in slot.devices} in ({0}, {1})
    four = Gang(shape=shape, num=4, topology=Topology(required="island"))
    assert plan.plan(four) is None
    assert not plan.possible(four)
    sixteen = plan.plan(Gang(shape=Shape(num_devices=16)))
    assert sixteen is not None
    assert len(sixteen.slots[0].devices) == 16


def test_islands_across_servers() -> None:
    """Ragged scale-up domains: 3 trays, 2 trays."""
    machines = [
        NodeInfo(
            name=f"t{at}", cpu_milli=9000, memory_mib=1, chip="GB200", num_devices=4, island="a" if at < 3 else "b"
        )
        for at in range(5)
    ]
    plan = planner(State(machines))
    tray = Shape(num_devices=4)
    assert where(plan.plan(Gang(shape=tray, num=2, topology=Topology(required="island")))) == [3, 4]
    assert where(plan.plan(Gang(shape=tray, num=3, topology=Topology(required="island")))) == [0, 1, 2]
    assert plan.plan(Gang(shape=tray, num=4, topology=Topology(required="island"))) is None


def test_what_could_fit_an_empty_cluster() -> None:
    state = State(nodes(4))
    plan = planner(state)
    busy(state, 0, 1, 2, 3)
    assert plan.possible(Gang(shape=EIGHT, num=4))
    assert not plan.possible(Gang(shape=EIGHT, num=5))
    assert not plan.possible(Gang(shape=EIGHT, num=3, topology=Topology(required="segment")))
    state.set_schedulable(0, False)
    assert not plan.possible(Gang(shape=EIGHT, num=4))


def test_shares_use_the_fewest_children_and_fit_the_rest_best() -> None:
    assert list(share_out(np.array([4, 8, 2, 8]), 18)) == [(1, 8), (2, 2), (3, 8)]
    assert list(share_out(np.array([4, 8, 2, 8]), 3)) == [(0, 3)]
    assert list(share_out(np.array([1, 1]), 2)) == [(0, 1), (1, 1)]


def test_turns_over_segments() -> None:
    tree = Tree(nodes(4))
    assert round_robin(tree, np.arange(4), np.array([2, 2, 2, 2]), 2) == [(0, 1), (2, 1)]
    assert round_robin(tree, np.arange(4), np.array([9, 0, 0, 0]), 3) == [(0, 3)]


GANGS = st.builds(
    lambda num, devices, milli, required, preferred, mode, slices: Gang(
        shape=Shape(num_devices=devices, milli=milli if devices == 1 else 1000, cpu_milli=1000),
        num=num,
        mode=mode,
        topology=Topology(
            required=required,
            preferred=preferred,
            slices=((devices * 2, "server"),) if slices and devices and num % 2 == 0 else (),
        ),
    ),
    st.integers(1, 12), st.sampled_from([0, 1, 2, 4, 8]), st.sampled_from([250, 500, 1000]),
    st.sampled_from([None, "server", "island", "segment", "pod"]), st.sampled_from([None, "server", "segment"]),
    st.sampled_from(["pack", "spread"]), st.booleans(),
)  # fmt: skip


@settings(max_examples=150, deadline=None)
@given(st.sampled_from(RULES), st.lists(st.tuples(GANGS, st.booleans(), st.integers(0, 99)), max_size=12))
def test_every_plan_can_be_taken_and_keeps_its_promises(rule: Rule, steps: list[tuple[Gang, bool, int]]) -> None:
    state = State([*nodes(6, devices=8), *nodes(2, devices=4, chip="T4", first=6)])
    plan = planner(state, rule)
    tree = Tree(state.nodes)
    held: list[tuple[Placement, Shape]] = []
    for gang, leave, number in steps:
        if leave and held:
            state.give_all(*held.pop(number % len(held)))
        before = state.left.copy()
        placement = plan.plan(gang)
        assert (state.left == before).all()
        if placement is None:
            assert plan.funnel(gang).steps
            continue
        assert len(placement.slots) == gang.num
        assert plan.possible(gang)
        state.take_all(placement, gang.shape)
        held.append((placement, gang.shape))
        on = [slot.node for slot in placement.slots]
        required = gang.topology.required
        if required in ("server", "island"):
            assert len(set(on)) == 1
        elif required is not None:
            tier = SEGMENT if required == "segment" else POD
            assert len(set(tree.of[tier][on].tolist())) == 1
        if gang.topology.slices and gang.mode == "pack" and rule != "each":
            assert all(on[at] == on[at + 1] for at in range(0, len(on), 2))
    for placement, shape in held:
        state.give_all(placement, shape)
    assert state.used_milli == 0
