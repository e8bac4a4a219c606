"""Sixteen accelerators: two to a card, one scale-up domain."""

import numpy as np

from roadbed.fabric.base import GBIT, Kind, LinkKind
from roadbed.fabric.registry import build
from roadbed.hardware.chips import CHIPS
from tests.fabric.topology.ports import ports, switches


def test_a_server() -> None:
    fabric = build("server16", gpus=32)
    assert fabric.num_servers == 2
    assert np.bincount(fabric.gpu_nic)[fabric.nodes(Kind.NIC)].tolist() == [2] * 16
    assert fabric.rail[:16].tolist() == [device // 2 for device in range(16)]
    assert len(set(fabric.gpu_scale_up[:16].tolist())) == 1
    assert set(fabric.capacity[fabric.link_kind == LinkKind.SCALE_UP]) == {CHIPS["PPU-96GB"].link_bandwidth_bytes_s / 2}
    assert set(fabric.capacity[fabric.link_kind == LinkKind.ACCESS]) == {200 * GBIT}


def test_above_the_card_it_is_hpn() -> None:
    fabric = build("server16")
    assert fabric.num_gpus == 2 * 15_360
    assert switches(fabric) == [240, 120, 0]
    assert ports(fabric, Kind.TOR, LinkKind.ACCESS) == {128}
    assert fabric.traits.dual_plane
