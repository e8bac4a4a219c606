"""Scale-up first, then rails."""

import pytest

from roadbed.fabric.collective.base import ranks_of
from roadbed.fabric.collective.hierarchical import can_hierarchical, hierarchical
from roadbed.fabric.collective.ring import ring
from tests.fabric.collective.net import flat


def test_it_needs_equal_servers():
    fabric = flat(4, 4)
    assert can_hierarchical(ranks_of(fabric, range(16)))
    assert not can_hierarchical(ranks_of(fabric, range(15)))
    assert not can_hierarchical(ranks_of(fabric, range(4)))
    assert not can_hierarchical(ranks_of(fabric, range(0, 16, 4)))


def test_its_path_is_shorter_than_the_flat_rings_and_it_moves_less_inside():
    fabric = flat(16, 8)
    ranks = ranks_of(fabric, range(128))
    two, one = hierarchical(fabric, "allreduce", ranks), ring(fabric, "allreduce", ranks)
    assert two.latency_s < one.latency_s / 1.5
    assert two.scale_up_share == pytest.approx(2 * 7 / 8)
    assert two.scale_up_share < one.scale_up_share
