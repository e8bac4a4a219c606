"""The scheduler's closed form against the path-by-path solution."""

import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from roadbed.errors import UsageError
from roadbed.fabric.collective.chooser import by_topology, price_all
from roadbed.fabric.collective.table import default_paths
from roadbed.fabric.placement import Pattern, PlacementCost, expected_fullest
from tests.fabric.collective.net import family

SIZE = 1e9


def solved(fabric, servers, op):
    gpus = by_topology(fabric, (np.asarray(servers)[:, None] * 8 + np.arange(8)).ravel())
    algorithm = "pxn" if op == "alltoall" else None
    return price_all(fabric, op, [gpus], default_paths(fabric), algorithm=algorithm).best(SIZE).seconds


@pytest.mark.parametrize(("name", "gpus"), [("hpn7", 4096), ("dcn_plus", 512), ("rail_only", 1024), ("hpn7", 32768)])
@pytest.mark.parametrize("op", ["allreduce", "alltoall"])
def test_it_agrees_with_the_solution_within_a_quarter(name, gpus, op):
    fabric = family(name, gpus)
    cost = PlacementCost(fabric, default_paths(fabric))
    rng = np.random.default_rng(7)
    for num in (2, 4, 8, 16, 32):
        for servers in (np.arange(num), rng.permutation(fabric.num_servers)[:num]):
            estimate = cost.estimate(servers, Pattern(**{f"{op}_bytes": SIZE}))
            assert estimate.seconds == pytest.approx(solved(fabric, servers, op), rel=0.25), (num, servers)


def test_an_exchange_between_pods_feels_the_core():
    """15:1 above the Aggs: half of what 9,600 GPUs exchange is more than the Cores carry; a small gang's is not."""
    fabric = family("hpn7", 32768)
    cost = PlacementCost(fabric, default_paths(fabric))
    exchange = Pattern(alltoall_bytes=SIZE)

    def over(*segments):
        found = np.isin(fabric.segment[: fabric.num_gpus : 8], segments)
        return cost.estimate(np.flatnonzero(found), exchange)

    near, apart = over(*range(10)), over(*range(5), *range(15, 20))
    assert (near.segments, near.pods) == (10, 1)
    assert (apart.segments, apart.pods) == (10, 2)
    assert apart.seconds > 1.5 * near.seconds
    assert over(0, 15).seconds == pytest.approx(over(0, 1).seconds, rel=0.01)


@given(st.permutations(range(24)).flatmap(lambda order: st.integers(1, 24).map(lambda num: order[:num])))
def test_the_order_of_servers_does_not_matter_and_comes_back_by_topology(servers):
    fabric = family("dcn_plus", 192)
    cost = PlacementCost(fabric, default_paths(fabric))
    pattern = Pattern(allreduce_bytes=SIZE, alltoall_bytes=SIZE)
    estimate = cost.estimate(servers, pattern)
    assert estimate.seconds == cost.estimate(sorted(servers), pattern).seconds
    assert estimate.order.tolist() == sorted(servers)
    assert estimate.seconds > 0


@pytest.mark.parametrize("servers", [[], [-1], [24]])
def test_servers_there_are_not(servers):
    fabric = family("dcn_plus", 192)
    with pytest.raises(UsageError, match="0 … 23"):
        PlacementCost(fabric, default_paths(fabric)).estimate(servers, Pattern(allreduce_bytes=1.0))


@pytest.mark.parametrize(("balls", "bins"), [(8, 64), (128, 64), (1000, 64), (3, 2), (60, 4)])
def test_the_fullest_bin_is_what_a_draw_says(balls, bins):
    rng = np.random.default_rng(0)
    drawn = np.mean([np.bincount(rng.integers(0, bins, balls), minlength=bins).max() for _ in range(2000)])
    assert expected_fullest(balls, bins) == pytest.approx(drawn, rel=0.12)


def test_a_thousand_questions_take_less_than_a_second():
    fabric = family("hpn7", 4096)
    cost = PlacementCost(fabric, default_paths(fabric))
    rng = np.random.default_rng(0)
    asked = [rng.permutation(512)[:64] for _ in range(1000)]
    begun = time.process_time()
    for servers in asked:
        cost.estimate(servers, Pattern(allreduce_bytes=SIZE))
    assert time.process_time() - begun < 1.0
