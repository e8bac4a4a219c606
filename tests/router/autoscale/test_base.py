import pytest

from roadbed.errors import UsageError
from roadbed.router.autoscale import AUTOSCALERS, Bounds, create
from roadbed.router.autoscale.base import bounded, ceil


@pytest.mark.parametrize(
    "wrong", [{"num_min": 3, "num_max": 2}, {"num_max": 0, "num_min": 0}, {"target": 0.0}, {"cold_start_s": -1.0}]
)
def test_bounds_that_cannot_be(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=r"be$|above 0"):
        Bounds(**wrong)


def test_the_cap_never_goes_below_what_was_asked_for() -> None:
    assert Bounds(num_min=2, num_max=9, cost_per_hour=10.0, cost_cap_per_hour=50.0).num_affordable == 5
    assert Bounds(num_min=2, num_max=9, cost_per_hour=10.0, cost_cap_per_hour=5.0).num_affordable == 2
    assert Bounds(num_min=2, num_max=9, cost_per_hour=10.0).num_affordable == 9


def test_the_reason_names_what_cut() -> None:
    bounds = Bounds(num_min=2, num_max=9)
    assert [bounded(bounds, wanted, "load").reason for wanted in (1, 5, 10)] == ["bounds", "load", "bounds"]


def test_rounding_up_forgives_arithmetic() -> None:
    assert (ceil(0.1 + 0.2 - 0.3), ceil(3 * 1.1 / 1.1), ceil(2.01)) == (0, 3, 3)


def test_names_are_known() -> None:
    assert set(AUTOSCALERS) == {"roadbed", "hpa", "kpa", "apa"}
    with pytest.raises(UsageError, match="hpa"):
        create("keda", Bounds())
