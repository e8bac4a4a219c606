"""Ranks, groups by server, and what is refused."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from roadbed.errors import UsageError
from roadbed.fabric.collective.base import BUS_FACTOR, OPS, check_op, ranks_of
from tests.fabric.collective.net import flat

FABRIC = flat(6, 4)


@given(st.permutations(range(24)).flatmap(lambda order: st.integers(2, 24).map(lambda num: order[:num])))
def test_ranks_are_grouped_by_server_in_order_of_first_rank(gpus):
    ranks = ranks_of(FABRIC, gpus)
    assert list(ranks.gpus) == gpus
    assert sorted(ranks.members.tolist()) == sorted(gpus)
    expected: dict[int, list[int]] = {}
    for gpu in gpus:
        expected.setdefault(gpu // 4, []).append(gpu)
    assert ranks.servers.tolist() == list(expected)
    for at, members in enumerate(expected.values()):
        assert ranks.members[ranks.start[at] : ranks.start[at + 1]].tolist() == members
    sizes = {len(members) for members in expected.values()}
    assert ranks.per_server == (sizes.pop() if len(sizes) == 1 else 0)


def test_a_server_with_fewer_ranks_uses_them_again():
    ranks = ranks_of(FABRIC, [0, 1, 2, 4])
    assert ranks.grid().tolist() == [[0, 1, 2], [4, 4, 4]]


@pytest.mark.parametrize(
    ("gpus", "said"), [([0], "at least 2"), ([], "at least 2"), ([0, 24], "no gpu-24"), ([0, -1], "no gpu"), ([3, 3], "gpu-3")]
)  # fmt: skip
def test_wrong_ranks_are_named(gpus, said):
    with pytest.raises(UsageError, match=said):
        ranks_of(FABRIC, gpus)


def test_operations_by_name():
    assert [check_op(op) for op in OPS] == list(OPS)
    with pytest.raises(UsageError, match="allreduce, allgather"):
        check_op("allsum")


def test_bus_factors_are_those_of_nccl_tests():
    assert BUS_FACTOR["allreduce"](8) == pytest.approx(1.75)
    assert BUS_FACTOR["alltoall"](8) == pytest.approx(0.875)
    assert np.isclose(BUS_FACTOR["broadcast"](8), 1.0)
