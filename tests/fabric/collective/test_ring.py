"""Rings: every server is entered and left once per channel, by the same rail."""

import numpy as np
import pytest

from roadbed.fabric import constants
from roadbed.fabric.collective.base import ranks_of
from roadbed.fabric.collective.ring import flat_ring, ring
from roadbed.fabric.collective.run import Job, PathOptions, price
from tests.fabric.collective.net import family, flat


@pytest.mark.parametrize("servers", [2, 3, 7])
def test_each_channel_is_one_cycle_over_all_servers(servers):
    fabric = flat(servers, 4)
    one = ring(fabric, "allgather", ranks_of(fabric, np.random.default_rng(1).permutation(servers * 4)))
    assert one.num_sessions == 4 * constants.CHANNELS_PER_NIC
    for session in range(one.num_sessions):
        mine = one.session == session
        ahead = dict(zip(fabric.server[one.src[mine]].tolist(), fabric.server[one.dst[mine]].tolist(), strict=True))
        at, seen = 0, []
        for _ in range(servers):
            seen.append(at)
            at = ahead[at]
        assert at == 0
        assert sorted(seen) == list(range(servers))
        assert len(set(fabric.rail[one.src[mine]].tolist()) | set(fabric.rail[one.dst[mine]].tolist())) == 1


def test_one_server_needs_no_network():
    fabric = flat(1, 8)
    one = ring(fabric, "allreduce", ranks_of(fabric, range(8)))
    assert len(one.src) == 0
    assert one.num_net_steps == 0
    assert one.latency_s == pytest.approx(14 * constants.RING_SCALE_UP_STEP_S)


def test_a_flat_ring_of_shuffled_ranks_crosses_servers_nearly_always_and_is_ten_times_slower():
    """What a plan is worth: rails and rank order against one ring through ranks as numbered, on the same network."""
    fabric = family("hpn7", 256)
    shuffled = np.random.default_rng(0).permutation(256)
    blind = flat_ring(fabric, "allreduce", ranks_of(fabric, shuffled))
    assert len(blind.src) > 230
    planned = ring(fabric, "allreduce", ranks_of(fabric, range(256)))
    slow = price(fabric, [Job("allreduce", ranks_of(fabric, shuffled), blind)], PathOptions(policy="ecmp")).jobs[0]
    fast = price(
        fabric, [Job("allreduce", ranks_of(fabric, range(256)), planned)], PathOptions(policy="disjoint")
    ).jobs[0]
    assert slow.net_s_per_byte > 8 * fast.net_s_per_byte
