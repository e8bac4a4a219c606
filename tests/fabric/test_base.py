"""What a network is: names lead to nodes and links and back, the builder numbers what it is given."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from roadbed.errors import NotFoundError, UsageError
from roadbed.fabric.base import NOWHERE, Builder, Fabric, Health, Kind, LinkKind, Traits
from roadbed.fabric.registry import build

FABRIC = build("dcn_plus", gpus=64, with_core=True)


@given(st.integers(0, FABRIC.num_links - 1))
def test_names_of_links_lead_back(link: int) -> None:
    assert FABRIC.find_link(FABRIC.link_name(link)) == link
    a, b = FABRIC.link_name(link).split("#")[0].split(":")
    back = FABRIC.link_name(int(FABRIC.reverse[link]))
    assert back.split("#")[0] == f"{b}:{a}"


@given(st.integers(0, FABRIC.num_nodes - 1))
def test_names_of_nodes_lead_back(node: int) -> None:
    assert FABRIC.find_node(FABRIC.node_name(node)) == node
    assert all(FABRIC.src[link] == node for link in FABRIC.leaving(node))


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("gpu-64", "has 64 of kind gpu"),
        ("switch-1", "names look like"),
        ("tor", "names look like"),
        ("tor--1", "names look like"),
        ("tor-x", "there is no node"),
    ],
)
def test_nodes_that_are_not(name: str, words: str) -> None:
    with pytest.raises(NotFoundError, match=words) as caught:
        FABRIC.find_node(name)
    assert caught.value.field == "node"


def test_links_that_are_not() -> None:
    for name in ("tor-0", "tor-0:agg-0#x", ""):
        with pytest.raises(UsageError, match="is not a link"):
            FABRIC.find_link(name)
    with pytest.raises(NotFoundError, match="joined by 8 cables, not 9"):
        FABRIC.find_link("tor-0:agg-0#8")
    with pytest.raises(NotFoundError, match="joined by 0 cables"):
        FABRIC.find_link("gpu-0:agg-0")


def _one_way() -> Fabric:
    builder = Builder()
    gpu = builder.add_nodes(Kind.GPU, 2, server=[0, 1])
    nic = builder.add_nodes(Kind.NIC, 2, server=[0, 1])
    tor = builder.add_nodes(Kind.TOR, 1)
    builder.join(gpu, nic, LinkKind.PCIE, 8.0, 0.0)
    builder.join(nic[0], tor, LinkKind.ACCESS, 2.0, 0.5, both_ways=False)
    builder.join(nic[1], tor, LinkKind.ACCESS, 3.0, 0.5)
    return builder.freeze(
        name="x", parameters={}, traits=Traits(), chip="H100", gpus_per_server=1, gpu_nic=nic,
        gpu_scale_up=np.full(2, NOWHERE, np.int32),
    )  # fmt: skip


def test_a_one_way_cable_is_one_link_and_pairs_stay_pairs() -> None:
    fabric = _one_way()
    assert fabric.num_links == 2 * 2 + 1 + 2
    lone = fabric.find_link("nic-0:tor-0")
    assert fabric.reverse[lone] == NOWHERE
    others = np.delete(np.arange(fabric.num_links), lone)
    assert (fabric.reverse[fabric.reverse[others]] == others).all()
    assert (fabric.src[fabric.reverse[others]] == fabric.dst[others]).all()
    assert fabric.num_servers == 2


def test_blocks_come_in_order_and_coordinates_are_known() -> None:
    builder = Builder()
    builder.add_nodes(Kind.TOR, 1)
    with pytest.raises(ValueError, match="GPU after TOR"):
        builder.add_nodes(Kind.GPU, 1)
    with pytest.raises(ValueError, match="unknown coordinates"):
        builder.add_nodes(Kind.AGG, 1, floor=3)


def test_an_empty_network_is_one() -> None:
    none = np.zeros(0, np.int32)
    builder = Builder()
    builder.add_nodes(Kind.TOR, 1)
    fabric = builder.freeze(
        name="x", parameters={}, traits=Traits(), chip="H100", gpus_per_server=8, gpu_nic=none, gpu_scale_up=none
    )
    assert (fabric.num_gpus, fabric.num_servers, fabric.num_links) == (0, 0, 0)


def test_health_is_beside_the_fabric() -> None:
    health = Health.of(FABRIC)
    other = health.copy()
    other.link_up[0], other.capacity[0] = False, 0.0
    assert health.link_up.all()
    assert (health.capacity == FABRIC.capacity).all()
