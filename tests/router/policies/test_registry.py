from typing import get_args

import pytest

from roadbed.errors import UsageError
from roadbed.router.policies import POLICIES, create
from roadbed.spec.service import PolicyName


def test_the_registry_has_exactly_what_specs_may_name() -> None:
    assert set(POLICIES) == set(get_args(PolicyName))
    assert all(create(name).name == name for name in POLICIES)


def test_each_service_has_an_instance_of_its_own() -> None:
    assert create("round_robin") is not create("round_robin")


def test_unknown_names_list_the_known() -> None:
    with pytest.raises(UsageError, match="prefix_affinity"):
        create("magic")
