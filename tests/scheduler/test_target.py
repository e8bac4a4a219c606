"""The expected workload: the commonest shapes, their shares, and what is wanted however rarely."""

import pytest

from roadbed.scheduler.base import Shape
from roadbed.scheduler.target import Target, target_of


def test_the_commonest_up_to_the_popularity_and_renormalised() -> None:
    shapes = [Shape(num_devices=1, cpu_milli=4000)] * 90 + [Shape(num_devices=1, milli=500)] * 8 + [Shape()] * 2
    target = target_of(shapes)
    assert [shape.milli for shape in target.shapes] == [1000, 500]
    assert target.shares == pytest.approx((90 / 98, 8 / 98))


def test_memory_is_no_part_of_a_shape() -> None:
    target = target_of([Shape(num_devices=1, memory_mib=mib) for mib in (1, 2, 3)])
    assert target.shapes == (Shape(num_devices=1),)


def test_rare_kinds_are_still_wanted() -> None:
    shapes = [Shape(num_devices=1)] * 99 + [Shape(num_devices=1, milli=500, chips=("T4",), cpu_milli=100_000)]
    target = target_of(shapes)
    assert len(target.shapes) == 1
    assert {kind.chips: amount for kind, amount in target.kinds} == pytest.approx({(): 990.0, ("T4",): 5.0})
    assert target.cpu_per_milli == pytest.approx(100_000 / 99_500)


def test_nothing_is_known_of_nothing() -> None:
    assert target_of([]) == Target()
    assert target_of([Shape(cpu_milli=5)]).cpu_per_milli == 0.0


def test_the_order_in_which_they_came_does_not_matter() -> None:
    shapes = [Shape(num_devices=1, milli=milli, chips=chips) for milli in (100, 200, 300) for chips in ((), ("T4",))]
    assert target_of(shapes) == target_of(shapes[::-1])
