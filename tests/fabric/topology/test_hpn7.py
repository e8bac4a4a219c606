"""HPN 7.0 as built against HPN 7.0 as published."""

import time

import numpy as np
import pytest

from roadbed.errors import UsageError
from roadbed.fabric.base import GBIT, NOWHERE, Fabric, Kind, LinkKind
from roadbed.fabric.registry import build


def _degree(fabric: Fabric, kind: Kind, link: LinkKind) -> set[int]:
    mine = fabric.src[fabric.link_kind == link]
    return set(np.bincount(mine, minlength=fabric.num_nodes)[fabric.nodes(kind)].tolist())


def test_a_full_pod_is_the_papers() -> None:
    pod = build("hpn7", with_core=True)
    assert pod.num_gpus == 15_360
    assert [len(pod.nodes(kind)) for kind in (Kind.TOR, Kind.AGG, Kind.CORE)] == [240, 120, 64]
    assert _degree(pod, Kind.TOR, LinkKind.ACCESS) == {128}
    assert _degree(pod, Kind.TOR, LinkKind.FABRIC) == {60}
    assert _degree(pod, Kind.AGG, LinkKind.FABRIC) == {120}
    assert _degree(pod, Kind.AGG, LinkKind.CORE) == {8}
    assert _degree(pod, Kind.CORE, LinkKind.CORE) == {15}
    assert _degree(pod, Kind.NIC, LinkKind.ACCESS) == {2}


def test_planes_never_meet_above_the_server() -> None:
    pod = build("hpn7", gpus=2_048, with_core=True)
    between = (pod.link_kind == LinkKind.FABRIC) | (pod.link_kind == LinkKind.CORE)
    assert (pod.plane[pod.src[between]] == pod.plane[pod.dst[between]]).all()
    assert (pod.plane[pod.src[between]] != NOWHERE).all()


def test_a_card_is_on_both_tors_of_its_rail_and_segment() -> None:
    fabric = build("hpn7", gpus=2_048)
    access = np.flatnonzero((fabric.link_kind == LinkKind.ACCESS) & (fabric.kind[fabric.src] == Kind.NIC))
    nic, tor = fabric.src[access], fabric.dst[access]
    assert (fabric.rail[nic] == fabric.rail[tor]).all()
    assert (fabric.segment[nic] == fabric.segment[tor]).all()
    planes = fabric.plane[tor].reshape(-1, 2)
    assert (planes == [0, 1]).all()
    assert set(fabric.capacity[access]) == {200 * GBIT}


def test_448_gpus_have_every_switch_of_one_segment() -> None:
    fabric = build("hpn7", gpus=448)
    assert fabric.num_servers == 56
    assert [len(fabric.nodes(kind)) for kind in (Kind.TOR, Kind.AGG, Kind.CORE)] == [16, 120, 0]
    assert _degree(fabric, Kind.TOR, LinkKind.ACCESS) == {56}


def test_scale_up_runs_at_half_of_both_directions() -> None:
    fabric = build("hpn7", gpus=8)
    assert set(fabric.capacity[fabric.link_kind == LinkKind.SCALE_UP]) == {200e9}  # H800: 400 GB/s both ways


def test_one_plane_shares_its_aggs_and_holds_half_the_segments() -> None:
    fabric = build("hpn7", planes=1)
    assert fabric.num_gpus == 7 * 1_024
    assert _degree(fabric, Kind.AGG, LinkKind.FABRIC) == {112}
    assert fabric.traits.dual_tor
    assert not fabric.traits.dual_plane
    assert (fabric.plane[fabric.nodes(Kind.AGG)] == NOWHERE).all()


def test_backup_servers_come_last_and_fill_the_tor() -> None:
    fabric = build("hpn7", segments=2, with_backup=True)
    assert fabric.num_gpus == 2 * (1_024 + 64)
    assert _degree(fabric, Kind.TOR, LinkKind.ACCESS) == {136}
    assert (fabric.segment[:1_024] == 0).all()
    assert (fabric.segment[2_048 : 2_048 + 64] == 0).all()
    assert (fabric.segment[2_048 + 64 : fabric.num_gpus] == 1).all()


def test_eight_pods_in_seconds() -> None:
    start = time.process_time()
    fabric = build("hpn7", gpus=122_880)
    assert time.process_time() - start < 5
    assert [len(fabric.nodes(kind)) for kind in (Kind.TOR, Kind.AGG, Kind.CORE)] == [1_920, 960, 64]
    assert _degree(fabric, Kind.CORE, LinkKind.CORE) == {120}
    assert set(np.bincount(fabric.pod[: fabric.num_gpus]).tolist()) == {15_360}


def test_too_many_gpus_for_the_counts() -> None:
    with pytest.raises(UsageError, match="2,048 GPUs do not fit: 1 segments of 128 servers hold 1,024"):
        build("hpn7", gpus=2_048, segments=1, pods=1)


def test_uneven_cards() -> None:
    with pytest.raises(UsageError, match="can't share 3 cards evenly"):
        build("hpn7", gpus=8, nics_per_server=3)
