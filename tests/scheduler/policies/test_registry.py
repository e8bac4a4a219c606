"""Names lead to the policy of that name, with the gang rule of the system it stands for."""

import numpy as np
import pytest

from roadbed.errors import UsageError
from roadbed.scheduler.base import Gang, Shape
from roadbed.scheduler.policies.registry import POLICY_NAMES, check_policy, make_planner, make_policy
from roadbed.scheduler.state import State
from roadbed.scheduler.target import target_of
from roadbed.spec.inventory import NodeInfo

SHAPE = Shape(num_devices=2, cpu_milli=1000)


def state() -> State:
    return State(
        [NodeInfo(name=f"n{at}", cpu_milli=8000, memory_mib=1000, chip="T4", num_devices=4) for at in range(3)]
    )


@pytest.mark.parametrize("name", POLICY_NAMES)
def test_every_name_makes_a_policy_that_places(name: str) -> None:
    on = state()
    target = target_of([SHAPE])
    assert make_policy(name, on, target, np.random.default_rng(0)).name == name
    planner = make_planner(name, on, target, np.random.default_rng(0))
    placement = planner.plan(Gang(shape=SHAPE, num=3))
    assert placement is not None
    on.take_all(placement, SHAPE)
    assert on.used_milli == 6000


def test_each_system_keeps_its_own_rule() -> None:
    rules = {
        name: make_planner(name, state(), target_of([SHAPE]), np.random.default_rng(0)).rule for name in POLICY_NAMES
    }
    assert rules.pop("roadbed") == "value"
    assert rules.pop("kube_tas") == "tas"
    assert set(rules.values()) == {"each"}


@pytest.mark.parametrize(("name", "words"), [("bestfitt", "did you mean 'bestfit'?"), ("x" * 40, "there is roadbed")])
def test_unknown_names_are_usage_errors(name: str, words: str) -> None:
    with pytest.raises(UsageError, match="there is no policy") as raised:
        check_policy(name)
    assert words in raised.value.message
    with pytest.raises(UsageError):
        make_planner(name, state(), target_of([SHAPE]), np.random.default_rng(0))
