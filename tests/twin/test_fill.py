"""The fill-up protocol: what arrives, how it is counted, and that incremental equals recomputed."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from roadbed.errors import UsageError
from roadbed.scheduler.base import Gang, Shape
from roadbed.scheduler.fragment import Fragments
from roadbed.scheduler.policies.registry import POLICY_NAMES, make_planner
from roadbed.scheduler.state import State
from roadbed.scheduler.target import target_of
from roadbed.spec.inventory import NodeInfo
from roadbed.twin.fill import Curve, arrivals, fill
from roadbed.twin.openb import read_nodes, read_pods

DATA = Path(__file__).parents[1] / "data"
ONE = Shape(num_devices=1, cpu_milli=100)
HALF = Shape(num_devices=1, milli=500, cpu_milli=100)
CPU = Shape(cpu_milli=100)


def node(name: str = "n", devices: int = 4) -> NodeInfo:
    return NodeInfo(name=name, cpu_milli=10_000, memory_mib=1000, chip="T4", num_devices=devices)


@given(st.lists(st.sampled_from([ONE, HALF, CPU]), max_size=40), st.integers(0, 99), st.floats(0.1, 3))
def test_arrivals_reach_the_demand_and_no_more(shapes: list[Shape], seed: int, inflate: float) -> None:
    order = arrivals(shapes, seed, 8000, inflate)
    demand = sum(shape.total_milli for shape in order)
    assert demand <= inflate * 8000
    if any(shape.total_milli for shape in shapes):
        assert demand > inflate * 8000 - 1000
    assert set(order) <= set(shapes)
    assert order == arrivals(shapes, seed, 8000, inflate)


def test_every_pod_comes_before_any_is_resampled() -> None:
    shapes = [Shape(num_devices=1, milli=milli) for milli in range(100, 110)]
    order = arrivals(shapes, 3, 10_000, 1.0)
    assert sorted(order[:10], key=lambda shape: shape.milli) == shapes
    assert order[:10] != shapes
    assert len(order) > 90


def test_as_upstream_the_check_counts_one_device_of_a_pod() -> None:
    eight = Shape(num_devices=8)
    assert len(arrivals([eight], 1, 20_000, 1.0)) == 3


@pytest.mark.parametrize("inflate", [1.0, float("nan"), float("inf")])
def test_a_demand_of_endless_pods_is_refused(inflate: float) -> None:
    with pytest.raises(UsageError, match="more than 20,000,000 of these pods"):
        arrivals([Shape(num_devices=1, milli=1)], 1, 100_000_000, inflate)


def test_curve_is_the_mean_of_what_rounds_there() -> None:
    curve = Curve()
    assert curve.at(50) == 0
    for percent, value in ((1, 10.0), (3, 20.0), (3, 40.0)):
        curve.add(percent, value)
    assert [curve.at(at) for at in (0, 1, 2, 3, 99)] == [0, 10, 10, 30, 30]


def test_a_cluster_that_fits_exactly() -> None:
    row = fill([node("a"), node("b")], [ONE] * 8, "bestfit", 1, workload="w", inflate=1.3)
    assert (row.policy, row.workload, row.seed) == ("bestfit", "w", 1)
    assert row.alloc["100"] == row.alloc["130"] == 100.0
    assert row.alloc["50"] == 50.0
    assert list(row.alloc) == [*map(str, range(0, 100, 10)), "95", *map(str, range(100, 131, 10))]
    assert list(row.frag) == list(row.alloc)
    assert row.decisions_per_s > 0


def test_what_does_not_fit_is_dropped_and_counted_as_arrived() -> None:
    row = fill([node("a", 1)], [HALF, Shape(num_devices=1, milli=600)], "fgd", 5, inflate=1.1)
    assert row.alloc["110"] in (50.0, 60.0)


@pytest.mark.parametrize("policy", POLICY_NAMES)
def test_same_seed_same_numbers(policy: str) -> None:
    nodes, shapes = (
        read_nodes(DATA / "openb_nodes.csv"),
        [pod.shape for pod in read_pods(DATA / "openb_pod_list_slice.csv")],
    )
    first, second = (fill(nodes, shapes, policy, 42) for _ in range(2))
    assert (first.alloc, first.frag) == (second.alloc, second.frag)
    assert 60 < first.alloc["100"] <= 100
    other = fill(nodes, shapes, policy, 43)
    assert other.alloc != first.alloc


def test_good_policies_beat_chance_on_a_real_slice() -> None:
    nodes, shapes = (
        read_nodes(DATA / "openb_nodes.csv"),
        [pod.shape for pod in read_pods(DATA / "openb_pod_list_slice.csv")],
    )
    mean = {
        policy: np.mean([fill(nodes, shapes, policy, seed).alloc["130"] for seed in range(3)])
        for policy in ("random", "fgd", "roadbed")
    }
    assert min(mean["fgd"], mean["roadbed"]) > mean["random"] + 2


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 1000), st.sampled_from(["fgd", "packing", "random"]))
def test_fragments_followed_node_by_node_are_those_of_the_whole(seed: int, policy: str) -> None:
    nodes = [node(f"n{at}", 1 + at % 4) for at in range(5)]
    shapes = [HALF, ONE, CPU, Shape(num_devices=2, cpu_milli=300), Shape(num_devices=1, milli=300)]
    row = fill(nodes, shapes, policy, seed, inflate=1.0)
    rng = np.random.default_rng(seed)
    state = State([nodes[at] for at in rng.permutation(len(nodes))])
    target = target_of(shapes)
    planner = make_planner(policy, state, target, rng)
    curve, arrived = Curve(), 0
    for shape in arrivals(shapes, seed, state.total_milli, 1.0):
        arrived += shape.total_milli
        placement = planner.plan(Gang(shape=shape))
        if placement:
            state.take_all(placement, shape)
        whole = Fragments(state, target).of(state, np.arange(len(nodes))).sum()
        curve.add(round(100 * arrived / state.total_milli), 100 * float(whole) / state.total_milli)
    assert row.frag == {key: pytest.approx(curve.at(int(key)), abs=1e-3) for key in row.frag}


def test_ticks_and_unknown_policies() -> None:
    shares: list[float] = []
    fill([node()], [Shape(num_devices=1, milli=1)], "bestfit", 1, inflate=0.5, tick=shares.append)
    assert shares == sorted(shares)
    assert shares[0] == 0
    assert len(shares) > 3
    with pytest.raises(UsageError, match="did you mean 'fgd'"):
        fill([node()], [ONE], "fdg", 1)
