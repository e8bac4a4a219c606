"""The planner: it balances, it repeats itself, and it never does worse than what it started from."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from roadbed.fabric.base import NOWHERE, Fabric, Floats, LinkKind
from roadbed.fabric.hashing import FIRST_PORT, HashModel, address
from roadbed.fabric.maxmin import sums
from roadbed.fabric.paths_plan import Demand, plan, rank_within
from roadbed.fabric.routes import Routes
from roadbed.fabric.walk import walk
from tests.fabric.networks import single_tor, small_dcn, small_hpn

FABRICS = {
    "hpn7": small_hpn(),
    "one plane": small_hpn(planes=1, agg_down_ports=64),
    "dcn_plus": small_dcn(),
    "single": single_tor(16, 4),
}


def demand_of(routes: Routes, num: int, seed: int, weight: Floats | None = None) -> Demand:
    fabric, model, rng = routes.fabric, HashModel(), np.random.default_rng(seed)
    src, dst = rng.choice(fabric.gpu_nic, num), rng.choice(fabric.gpu_nic, num)
    return Demand(
        src=src, dst=dst, weight=rng.integers(1, 9, num).astype(float) if weight is None else weight,
        crc=model.of_tuple(address(fabric, src), address(fabric, dst), np.zeros(num, np.uint32)),
        usable=routes.slots(src, dst) & (src != dst)[:, None],
        start=(FIRST_PORT + rng.integers(0, 16_384, num)).astype(np.uint32),
    )  # fmt: skip


def strain(fabric: Fabric, links: np.ndarray, weight: Floats) -> Floats:
    """[L] Load over capacity."""
    there = links != NOWHERE
    return sums(links[there], np.repeat(weight, there.sum(axis=1)), fabric.num_links) / fabric.capacity


@pytest.mark.parametrize("name", FABRICS)
@given(seed=st.integers(0, 50), num=st.integers(0, 150))
@settings(max_examples=10, deadline=None)
def test_plans_are_ways_that_exist(name: str, seed: int, num: int) -> None:
    routes = Routes(FABRICS[name])
    demand = demand_of(routes, num, seed)
    for everywhere in (False, True):
        made = plan(routes, HashModel(), demand, everywhere=everywhere)
        for row, src, dst, usable in zip(made.links, demand.src, demand.dst, demand.usable, strict=True):
            links = row[row != NOWHERE]
            if not usable.any():
                assert len(links) == 0
                continue
            ends = routes.fabric
            assert (ends.src[links[0]], ends.dst[links[-1]]) == (src, dst)
            assert np.array_equal(ends.dst[links[:-1]], ends.src[links[1:]])
        again = plan(routes, HashModel(), demand, everywhere=everywhere)
        assert np.array_equal(made.links, again.links)
        assert np.array_equal(made.src_port, again.src_port)


@pytest.mark.parametrize("name", FABRICS)
def test_planning_beats_placing_beats_hashing(name: str) -> None:
    """Worst link of many random demands, summed: hashed and placed by the links between switches, for a card's own
    may be the worst whatever one does; planned, which weighs all links, by all."""
    fabric = FABRICS[name]
    routes, inner = Routes(fabric), fabric.link_kind > LinkKind.ACCESS
    hashed, placed, placed_all, planned = 0.0, 0.0, 0.0, 0.0
    for seed in range(6):
        demand = demand_of(routes, 200, seed)
        one, two = (plan(routes, HashModel(), demand, everywhere=everywhere) for everywhere in (False, True))
        hashed += strain(fabric, _hashed(routes, demand, one.links), demand.weight)[inner].max()
        placed += strain(fabric, one.links, demand.weight)[inner].max()
        placed_all += strain(fabric, one.links, demand.weight).max()
        planned += strain(fabric, two.links, demand.weight).max()
    assert placed < 0.9 * hashed
    assert planned <= placed_all * (1 + 1e-9)


def _hashed(routes: Routes, demand: Demand, planned: np.ndarray) -> np.ndarray:
    out = np.full_like(planned, NOWHERE)
    go = np.flatnonzero(planned[:, 0] != NOWHERE)
    crc = demand.crc[go] ^ HashModel().port_terms()[demand.start[go]]
    links = walk(routes, HashModel(), planned[go, 0], demand.dst[go], crc)
    out[go[:, None], np.arange(links.shape[1])[None, : out.shape[1]]] = links[:, : out.shape[1]]
    return out


def test_a_dead_uplink_is_planned_around() -> None:
    fabric = small_hpn()
    routes = Routes(fabric)
    dead = fabric.find_link("tor-0:agg-1")
    routes.health.link_up[dead] = False
    routes.update([dead])
    made = plan(routes, HashModel(), demand_of(routes, 300, 1), everywhere=True)
    assert not np.isin(made.links, [dead, fabric.reverse[dead]]).any()


def test_a_degraded_uplink_gets_less() -> None:
    fabric = small_hpn()
    routes = Routes(fabric)
    slow = fabric.find_link("tor-0:agg-1")
    routes.health.capacity[slow] /= 4
    demand = demand_of(routes, 600, 2, np.ones(600))
    load = sums(*_flat(plan(routes, HashModel(), demand, everywhere=True).links), fabric.num_links)
    others = [fabric.find_link(f"tor-0:agg-{at}") for at in (0, 2, 3)]
    assert load[slow] < 0.5 * load[others].min()


def _flat(links: np.ndarray) -> tuple[np.ndarray, Floats]:
    there = links[links != NOWHERE]
    return there, np.ones(len(there))


@given(st.lists(st.integers(-3, 3)))
def test_ranks_count_those_before(values: list[int]) -> None:
    assert rank_within(np.array(values, np.int32)).tolist() == [values[:at].count(one) for at, one in enumerate(values)]
