"""The best of several algorithms, and why."""

import numpy as np
import pytest

from roadbed.errors import UsageError
from roadbed.fabric.collective.base import ranks_of
from roadbed.fabric.collective.chooser import algorithms, by_topology, price_all, traffic_of
from roadbed.fabric.collective.run import PathOptions
from tests.fabric.collective.net import family, flat

DISJOINT = PathOptions(policy="disjoint")


def test_the_choice_is_the_quickest_and_says_why():
    fabric = family("hpn7", 448)
    ways = price_all(fabric, "allreduce", [np.arange(448)], DISJOINT, menu="all")
    for size in (2**20, 2**26, 2**32):
        choice = ways.best(float(size))
        assert choice.seconds == min(choice.others.values())
        assert set(choice.others) == {"nvls", "ring", "tree", "hierarchical"}
        assert "holds it" in choice.why
        assert "would take" in choice.why


def test_trees_win_small_messages_and_lose_nothing_by_being_asked():
    fabric = flat(32, 1)
    ways = price_all(fabric, "allreduce", [np.arange(32)], DISJOINT)
    assert ways.best(2.0**12).algorithm == "tree"
    assert ways.best(2.0**33).algorithm == "ring"


def test_the_slowest_of_the_groups_counts():
    fabric = family("dcn_plus", 192)
    groups = [np.arange(rail, 192, 8) for rail in range(8)]
    options = PathOptions(policy="ecmp", seed=1)
    ways = price_all(fabric, "allreduce", groups, options, algorithm="ring")
    assert len(ways.ranks) == 8
    slowest = max(one.net_s_per_byte for one in ways.ways["ring"].jobs)
    assert ways.best(1e9).seconds >= slowest * 1e9 * (1 - 1e-9)


@pytest.mark.parametrize(("op", "expected"), [
    ("alltoall", ["pxn", "direct"]), ("sendrecv", ["sendrecv"]), ("broadcast", ["ring", "tree"]),
    ("allgather", ["ring"]), ("allreduce", ["nvls", "ring", "tree"]),
])  # fmt: skip
def test_the_menu_by_operation(op, expected):
    fabric = family("hpn7", 64)
    assert algorithms(fabric, op, ranks_of(fabric, range(64))) == expected


def test_rails_alone_can_only_exchange_along_them():
    fabric = family("rail_only", 64)
    assert algorithms(fabric, "alltoall", ranks_of(fabric, range(64))) == ["pxn"]


def test_what_does_not_fit_is_refused_with_what_would():
    fabric = flat(2, 2)
    ranks = ranks_of(fabric, range(4))
    with pytest.raises(UsageError, match="ring"):
        traffic_of(fabric, "allgather", ranks, "tree")
    with pytest.raises(UsageError, match="no collective"):
        algorithms(fabric, "allsum", ranks)  # type: ignore[arg-type]


def test_rank_order_keeps_neighbours_near():
    fabric = family("dcn_plus", 256)
    shuffled = np.random.default_rng(0).permutation(256)
    planned = by_topology(fabric, shuffled)
    assert (np.diff(fabric.segment[planned]) >= 0).all()
    assert (np.diff(fabric.server[planned]) >= 0).all()
    assert sorted(planned.tolist()) == list(range(256))
