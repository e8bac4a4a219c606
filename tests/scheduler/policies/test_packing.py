"""Packing and clustering rules, case by case."""

from roadbed.scheduler.base import Shape, Slot
from roadbed.scheduler.policies.packing import Clustering, Packing
from roadbed.scheduler.state import State
from tests.scheduler.policies.score import machine, scores, used

HALF = Shape(num_devices=1, milli=400)


def test_shared_devices_first_then_used_nodes_then_idle_ones() -> None:
    state = State([machine("idle", 8), machine("shared", 8), machine("used", 8), machine("small", 2)])
    used(state, 1, 500)
    used(state, 2, 1000)
    # idle: max(33 − 8, 1). shared: max(100 − 500/100, 50). used: max(50 − 1, 33).
    assert scores(Packing(), state, HALF) == [25, 95, 49, 31]
    assert scores(Packing(), state, Shape(cpu_milli=1)) == [0, 0, 0, 0]


def test_processes_of_one_class_gather() -> None:
    state = State([machine("idle"), machine("same"), machine("mixed"), machine("other")])
    used(state, 1, 500)
    used(state, 2, 500)
    state.take(Slot(2, (1, 2)), Shape(num_devices=2))
    state.take(Slot(3, (0, 1)), Shape(num_devices=2))
    assert scores(Clustering(), state, HALF) == [25, 75 + 25 * 500 // 8000, 50 + 25 * 2500 // 8000, 25 * 2000 // 8000]
    assert scores(Clustering(), state, Shape(cpu_milli=1)) == [0, 0, 0, 0]
