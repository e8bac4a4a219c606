"""The search space of path selection: HPN's table 1, counted on networks of those counts."""

import numpy as np
import pytest

from roadbed.fabric.base import Fabric, Kind
from roadbed.fabric.diversity import diversity, num_paths
from roadbed.fabric.registry import build
from roadbed.fabric.topology import clos
from tests.fabric.topology.ports import switches


def _shape(**counts: object) -> clos.Shape:
    usual: dict[str, object] = {
        "name": "test", "parameters": {}, "chip": "H100", "gpus_per_server": 8, "nics_per_server": 8, "tors_per_group": 1,
        "nic_ports": 1, "port_gbps": 400.0, "reach": "pod", "agg_cables": 1, "uplink_gbps": 400.0,
    }  # fmt: skip
    return clos.Shape(**(usual | counts))  # type: ignore[arg-type]


def superpod() -> Fabric:
    """64 units of 32 servers, rails, three tiers at 1:1 of 64-port switches: 32 up at the ToR, 32 up at the Agg; four
    units a pod, so a Core has 4 of its 64 ports in each of 16 pods."""
    servers = 64 * 32
    return clos.build(
        _shape(
            num_servers=servers,
            nic_segment=np.repeat(np.arange(servers, dtype=np.int32) // 32, 8),
            num_segments=64,
            segments_per_pod=4,
            rails=8,
            aggs_per_group=32,
            agg_uplinks=32,
            cores_per_group=256,
            rail_optimised=True,
        )
    )


def jupiter() -> Fabric:
    """ToRs with 8 uplinks, aggregation blocks with 256: two ToRs in two pods stand for the 26,000 GPUs."""
    return clos.build(
        _shape(
            num_servers=2,
            nic_segment=np.repeat(np.arange(2, dtype=np.int32), 8),
            num_segments=2,
            segments_per_pod=1,
            rails=1,
            aggs_per_group=8,
            agg_uplinks=256,
            cores_per_group=8 * 256,
            rail_optimised=False,
        )
    )


def test_table_1_hpn_pod() -> None:
    pod = build("hpn7")
    assert pod.num_gpus == 15_360
    assert diversity(pod).cross_segment == 60 == pod.parameters["aggs_per_plane"]


def test_table_1_superpod() -> None:
    fabric = superpod()
    assert fabric.num_gpus == 16_384
    assert switches(fabric) == [512, 512, 256]
    assert diversity(fabric).cross_pod == 32 * 32 * 4 == 4_096


def test_table_1_jupiter() -> None:
    assert diversity(jupiter()).cross_pod == 8 * 256 == 2_048


def test_table_1_fat_tree() -> None:
    """The paper counts all k ports at both tiers; only half of them go up."""
    k = 48
    fabric = build("fat_tree", k=k, gpus=k**3 // 4)
    assert fabric.num_gpus == 27_648
    assert 4 * diversity(fabric).cross_pod == k * k == 2_304


def test_one_plane_doubles_the_space_and_three_tiers_multiply_it() -> None:
    assert diversity(build("hpn7", planes=1, gpus=2_048)).cross_segment == 2 * 60
    found = diversity(build("dcn_plus", gpus=1_024))
    assert (found.same_segment, found.cross_segment) == (1, 64 * 2 * 8)
    assert found.cross_pod == 64 * 64 * 4 * 2 * 8


@pytest.mark.parametrize("gpus", [2_048, 16_384])
def test_no_way_between_rails(gpus: int) -> None:
    fabric = build("rail_only", gpus=gpus)
    nics = fabric.nodes(Kind.NIC)
    assert num_paths(fabric, int(nics[0]), int(nics[8])) == 1
    assert num_paths(fabric, int(nics[0]), int(nics[9])) == 0
    assert num_paths(fabric, int(nics[0]), int(nics[1_024])) == 60


def _walk(fabric: Fabric, node: int, goal: int, left: int) -> int:
    """Paths of exactly so many hops through switches, one at a time."""
    if left == 0:
        return int(node == goal)
    found = 0
    for link in fabric.leaving(node).tolist():
        end = int(fabric.dst[link])
        if end == goal or fabric.kind[end] >= Kind.TOR:
            found += _walk(fabric, end, goal, left - 1)
    return found


@pytest.mark.parametrize(
    ("name", "counts"),
    [
        (
            "hpn7",
            {
                "segments": 2,
                "pods": 2,
                "active_servers": 2,
                "aggs_per_plane": 2,
                "agg_uplinks": 2,
                "cores_per_plane": 2,
            },
        ),
        ("hpn7", {"segments": 2, "pods": 1, "active_servers": 2, "aggs_per_plane": 3, "planes": 1}),
        (
            "dcn_plus",
            {
                "segments": 2,
                "pods": 2,
                "servers_per_segment": 2,
                "aggs": 2,
                "agg_cables": 2,
                "agg_uplinks": 2,
                "cores": 3,
            },
        ),
        ("rail_only", {"segments": 2, "active_servers": 2, "aggs_per_plane": 3}),
        ("fat_tree", {"k": 4}),
        ("spectrum_x", {"segments": 2, "servers_per_segment": 2, "spines": 3}),
    ],
)
def test_as_one_counts_them_by_walking(name: str, counts: dict[str, int]) -> None:
    fabric = build(name, **counts)
    nics = fabric.nodes(Kind.NIC)
    a = int(nics[0])
    access = [link for link in fabric.leaving(a).tolist() if fabric.kind[fabric.dst[link]] == Kind.TOR]
    for b in nics[1::7].tolist():
        per_tor = []
        for link in access:
            ways = (_walk(fabric, int(fabric.dst[link]), b, hops) for hops in range(1, 6))
            per_tor.append(next((num for num in ways if num), 0))
        assert num_paths(fabric, a, b) == max(per_tor)
