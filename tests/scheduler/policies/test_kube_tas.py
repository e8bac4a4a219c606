"""The node with the fewest places that still has one."""

from roadbed.scheduler.base import Shape
from roadbed.scheduler.policies.base import Ask
from roadbed.scheduler.policies.kube_tas import KubeTas
from roadbed.scheduler.state import State
from tests.scheduler.policies.score import machine, scores, used


def test_fewest_places_first_and_cpu_counts() -> None:
    state = State([machine("wide"), machine("tight"), machine("poor", cpu=12_000)])
    used(state, 1, 1000)
    wide, tight, poor = scores(KubeTas(), state, Shape(num_devices=1, cpu_milli=6000))
    assert poor > tight > wide  # 2, 7 and 8 places
    assert wide - tight == -1


def test_fractions_share_a_device() -> None:
    state = State([machine("a", 1), machine("b", 2)])
    a, b = scores(KubeTas(), state, Shape(num_devices=1, milli=250))
    assert a - b == 4
    assert KubeTas().devices(state, Ask(state, Shape(num_devices=1, milli=250)), 1) == (0,)
