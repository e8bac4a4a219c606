"""Why something waits, constraint by constraint."""

import numpy as np
import pytest

from roadbed.scheduler.base import Funnel, Gang, Shape, Slot, Topology
from roadbed.scheduler.funnel import CORDONED, NO_CHIP, NO_DEVICE, NO_DOMAIN, NO_HOST, NO_LABEL, TOO_FEW
from roadbed.scheduler.planner import TreePlanner
from roadbed.scheduler.policies.bestfit import BestFit
from roadbed.scheduler.state import State
from tests.scheduler.cluster import nodes


def funnel(state: State, gang: Gang) -> Funnel:
    planner = TreePlanner(state, BestFit(), "value")
    assert planner.plan(gang) is None
    return planner.funnel(gang)


def gang(num: int = 1, required: str | None = None, **fields: object) -> Gang:
    return Gang(shape=Shape(**fields), num=num, topology=Topology(required=required))  # type: ignore[arg-type]


def test_each_constraint_has_its_code_and_its_numbers() -> None:
    state = State([*nodes(4), *nodes(2, chip="T4", first=4)])
    assert funnel(state, gang(num_devices=1, chips=("V100",))).reason == NO_CHIP
    assert str(funnel(state, gang(num_devices=1, chips=("V100",)))) == "6 nodes → 0 with V100"
    assert funnel(state, gang(num_devices=1, labels=(("zone", "x"),))).reason == NO_LABEL
    assert funnel(state, gang(num_devices=1, cpu_milli=65_000)).reason == NO_HOST
    assert funnel(state, gang(9, num_devices=8, chips=("H100",))).reason == TOO_FEW
    assert funnel(state, gang(3, "segment", num_devices=8)).reason == NO_DOMAIN
    told = str(funnel(state, gang(3, "segment", num_devices=8)))
    assert told.endswith("0 segments with room for all 3 processes (the best has 2)")
    for node in range(6):
        state.take(Slot(node, (0,)), Shape(num_devices=1))
    assert funnel(state, gang(num_devices=8)).reason == NO_DEVICE
    for node in range(6):
        state.set_schedulable(node, False)
    assert funnel(state, gang(num_devices=1)).reason == CORDONED


def test_a_host_that_is_nearly_large_enough_is_told_by_how_much() -> None:
    state = State(nodes(1))
    state.take(Slot(0, ()), Shape(cpu_milli=60_000))
    told = str(funnel(state, gang(cpu_milli=5000, memory_mib=2048)))
    assert told == "1 node → 0 with 5 cores and 2.0 GiB free (of one, at most 4 cores and 500.0 GiB are)"


@pytest.mark.parametrize("size", [0, 1, 3])
def test_counts_only_fall(size: int) -> None:
    state = State(nodes(6))
    for node in range(size):
        state.take(Slot(node, tuple(range(8))), Shape(num_devices=8))
    left = [step.left for step in funnel(state, gang(7, num_devices=8, chips=("H100",))).steps]
    assert left == sorted(left, reverse=True)
    assert left[0] == 6
    assert left[-1] == 0
    assert np.isfinite(left).all()
