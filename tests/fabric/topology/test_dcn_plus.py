"""DCN+ as built against DCN+ as published."""

import numpy as np

from roadbed.fabric.base import NOWHERE, Kind, LinkKind
from roadbed.fabric.registry import build


def test_the_full_network_is_the_papers() -> None:
    fabric = build("dcn_plus")
    assert fabric.num_gpus == 16_384
    assert [len(fabric.nodes(kind)) for kind in (Kind.TOR, Kind.AGG, Kind.CORE)] == [256, 256, 128]
    ports = {
        (kind, link): set(
            np.bincount(fabric.src[fabric.link_kind == link], minlength=fabric.num_nodes)[fabric.nodes(kind)]
        )
        for kind, link in [
            (Kind.TOR, LinkKind.ACCESS),
            (Kind.TOR, LinkKind.FABRIC),
            (Kind.AGG, LinkKind.FABRIC),
            (Kind.AGG, LinkKind.CORE),
            (Kind.CORE, LinkKind.CORE),
        ]
    }
    assert list(ports.values()) == [{128}, {64}, {64}, {64}, {128}]


def test_parallel_cables_are_links_of_their_own() -> None:
    fabric = build("dcn_plus", gpus=448)
    tor, agg = fabric.find_node("tor-3"), fabric.find_node("agg-5")
    same = [link for link in fabric.leaving(tor) if fabric.dst[link] == agg]
    assert len(same) == 8
    assert fabric.link_name(same[7]) == "tor-3:agg-5#7"


def test_all_cards_of_a_server_share_two_tors() -> None:
    fabric = build("dcn_plus", gpus=448)
    assert len(fabric.nodes(Kind.TOR)) == 8
    access = (fabric.link_kind == LinkKind.ACCESS) & (fabric.kind[fabric.src] == Kind.NIC)
    first = access & (fabric.server[fabric.src] == 0)
    assert {fabric.node_name(tor) for tor in fabric.dst[first]} == {"tor-0", "tor-1"}
    assert (fabric.rail[fabric.nodes(Kind.TOR)] == NOWHERE).all()
    assert not fabric.traits.rail_optimised


def test_only_segments_in_use_are_built_but_all_aggs_and_cores() -> None:
    fabric = build("dcn_plus", gpus=2_304)
    assert [len(fabric.nodes(kind)) for kind in (Kind.TOR, Kind.AGG, Kind.CORE)] == [36, 40, 128]
    assert fabric.pod[fabric.num_gpus - 1] == 4
