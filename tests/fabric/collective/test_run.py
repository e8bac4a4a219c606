"""Prices against theory: on an ideal network every algorithm costs what its closed form says."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from roadbed.errors import UsageError
from roadbed.fabric import constants
from roadbed.fabric.base import GBIT, Health
from roadbed.fabric.collective.base import BUS_FACTOR, OPS, ranks_of
from roadbed.fabric.collective.chooser import algorithms, traffic_of
from roadbed.fabric.collective.run import Job, PathOptions, Priced, busbw, goodput, price, time_s
from tests.fabric.collective.net import family, flat

CARD = 400 * GBIT * constants.NIC_EFFICIENCY


def priced(fabric, op, gpus, algorithm, options=None):
    ranks = ranks_of(fabric, gpus)
    return price(fabric, [Job(op, ranks, traffic_of(fabric, op, ranks, algorithm))], options).jobs[0]


@pytest.mark.parametrize("num", [2, 3, 8, 17, 64])
@pytest.mark.parametrize("op", ["allreduce", "allgather", "reducescatter"])
def test_a_ring_on_an_ideal_network_is_theory(num, op):
    one = priced(flat(num), op, range(num), "ring")
    assert one.net_s_per_byte == pytest.approx(BUS_FACTOR[op](num) / CARD, rel=1e-9)
    assert one.kernel_s_per_byte == 0.0
    steps = (2 if op == "allreduce" else 1) * (num - 1)
    assert one.latency_s == pytest.approx(constants.BASE_S + steps * constants.RING_NET_STEP_S, rel=1e-9)


@pytest.mark.parametrize("num", [2, 4, 16, 64])
def test_all_to_all_on_an_ideal_network_is_theory(num):
    for algorithm in ("pxn", "direct"):
        one = priced(flat(num), "alltoall", range(num), algorithm)
        assert one.net_s_per_byte == pytest.approx((num - 1) / num / CARD, rel=1e-9)


def test_two_trees_on_an_ideal_network_are_theory():
    """The busiest card sends its half up in one tree and its half down twice in the other, and half up again."""
    num = 8
    fabric = flat(num)
    one = priced(fabric, "allreduce", range(num), "tree")
    assert one.net_s_per_byte == pytest.approx(4 * 0.5 / CARD, rel=1e-9)
    depth = 3
    assert one.latency_s == pytest.approx(constants.BASE_S + 2 * depth * constants.TREE_NET_STEP_S, rel=1e-9)


def test_inside_one_server_nothing_crosses_the_network():
    fabric = flat(1, 8)
    one = priced(fabric, "allreduce", range(8), "nvls")
    assert one.net_s_per_byte == 0.0
    assert one.bottleneck == -1
    assert one.kernel_s_per_byte == pytest.approx(1.125 / (200e9 * constants.NVLS_EFFICIENCY), rel=1e-9)
    large = busbw("allreduce", 8, 1e12, time_s(one, 1e12))
    assert large / 1e9 == pytest.approx(215, rel=0.03), "SimAI's figure for 8 × H800"


def test_a_hierarchy_sends_an_eighth_over_each_card():
    fabric = flat(4, 8)
    one = priced(fabric, "allreduce", range(32), "hierarchical")
    assert one.net_s_per_byte == pytest.approx(2 * 3 / 4 / 8 / CARD, rel=1e-9)


def test_jobs_on_other_cards_do_not_touch_each_other_and_on_the_same_share():
    fabric = flat(8)
    left, right = ranks_of(fabric, [0, 1, 2, 3]), ranks_of(fabric, [4, 5, 6, 7])
    alone = price(fabric, [Job("allreduce", left, traffic_of(fabric, "allreduce", left, "ring"))])
    jobs = [Job("allreduce", ranks, traffic_of(fabric, "allreduce", ranks, "ring")) for ranks in (left, right, left)]
    apart = price(fabric, jobs[:2])
    assert [one.net_s_per_byte for one in apart.jobs] == pytest.approx([alone.jobs[0].net_s_per_byte] * 2, rel=1e-9)
    shared = price(fabric, [jobs[0], jobs[2]])
    assert shared.jobs[0].net_s_per_byte == pytest.approx(2 * alone.jobs[0].net_s_per_byte, rel=1e-9)
    assert shared.link_bytes == pytest.approx(2 * alone.link_bytes)


@settings(max_examples=60, deadline=None)
@given(
    op=st.sampled_from(OPS),
    servers=st.integers(1, 12),
    width=st.sampled_from([1, 2, 4, 8]),
    seed=st.integers(0, 1000),
    policy=st.sampled_from(["ecmp", "disjoint", "spray", "planned"]),
)
def test_no_link_carries_more_than_it_can(op, servers, width, seed, policy):
    """While every job moves one byte of its operation in net_s_per_byte, every link stays within its capacity."""
    fabric = family("dcn_plus", 192) if seed % 2 else family("hpn7", 192)
    if servers * width < 2:
        return
    rng = np.random.default_rng(seed)
    chosen = rng.permutation(24)[:servers]
    gpus = np.concatenate([8 * one + np.arange(width) for one in chosen])
    ranks = ranks_of(fabric, gpus)
    for algorithm in algorithms(fabric, op, ranks, "all"):
        solution = price(
            fabric, [Job(op, ranks, traffic_of(fabric, op, ranks, algorithm))], PathOptions(policy=policy, seed=seed)
        )
        one = solution.jobs[0]
        assert one.net_s_per_byte >= 0
        assert math.isfinite(one.net_s_per_byte)
        room = goodput(fabric, Health.of(fabric)) * one.net_s_per_byte
        assert (solution.link_bytes <= room * (1 + 1e-6) + 1e-12).all()


@settings(max_examples=100, deadline=None)
@given(
    latency=st.floats(0, 1e-2),
    kernel=st.floats(0, 1e-9),
    net=st.floats(0, 1e-9),
    form=st.sampled_from(["ring", "tree", "messages"]),
    size=st.floats(1, 1e12),
)
def test_time_grows_with_size_and_never_beats_its_stages(latency, kernel, net, form, size):
    one = Priced(latency, kernel, net, form, -1)
    seconds = time_s(one, size)
    assert seconds >= max(kernel * size, net * size, latency if form != "ring" else 0.0) * (1 - 1e-12)
    assert time_s(one, size * 2) >= seconds


@pytest.mark.parametrize("size", [0, -1, float("nan"), float("inf"), 2.0**60])
def test_absurd_sizes_are_refused(size):
    with pytest.raises(UsageError, match="bytes"):
        time_s(Priced(0.0, 0.0, 0.0, "ring", -1), size)


def test_ranks_that_cannot_reach_each_other_are_named():
    fabric = family("hpn7", 64)
    health = Health.of(fabric)
    for link in fabric.leaving(int(fabric.gpu_nic[9])):
        if fabric.dst[link] >= fabric.num_gpus:
            health.link_up[link] = health.link_up[fabric.reverse[link]] = False
    ranks = ranks_of(fabric, range(64))
    job = Job("allreduce", ranks, traffic_of(fabric, "allreduce", ranks, "ring"))
    with pytest.raises(UsageError, match="can't reach") as caught:
        price(fabric, [job], health=health)
    assert "nic-9" in caught.value.message


def test_a_lost_port_costs_half_a_card_and_not_the_job():
    fabric = family("hpn7", 64)
    ranks = ranks_of(fabric, range(0, 64, 8))
    job = Job("allreduce", ranks, traffic_of(fabric, "allreduce", ranks, "ring"))
    whole = price(fabric, [job], PathOptions(policy="disjoint")).jobs[0]
    health = Health.of(fabric)
    port = next(int(link) for link in fabric.leaving(int(fabric.gpu_nic[8])) if fabric.dst[link] >= fabric.num_gpus)
    health.link_up[port] = health.link_up[fabric.reverse[port]] = False
    hurt = price(fabric, [job], PathOptions(policy="disjoint"), health).jobs[0]
    assert hurt.net_s_per_byte == pytest.approx(2 * whole.net_s_per_byte, rel=1e-6)


def test_the_same_input_gives_the_same_price():
    fabric = family("dcn_plus", 192)
    options = PathOptions(policy="ecmp", seed=3)
    first = priced(fabric, "allreduce", range(192), "nvls", options)
    assert first == priced(fabric, "allreduce", range(192), "nvls", options)
    other = priced(fabric, "allreduce", range(192), "nvls", PathOptions(policy="ecmp", seed=4))
    assert (other.net_s_per_byte, other.bottleneck) != (first.net_s_per_byte, first.bottleneck)


def test_draws_are_averaged():
    fabric = family("dcn_plus", 192)
    each = [priced(fabric, "allgather", range(192), "ring", PathOptions(seed=at)).net_s_per_byte for at in range(3)]
    mean = priced(fabric, "allgather", range(192), "ring", PathOptions(seed=0, draws=3)).net_s_per_byte
    assert mean == pytest.approx(sum(each) / 3)
