"""Coordinates read off cables are those the builders give."""

import numpy as np
import pytest

from roadbed.fabric.base import Fabric, Kind
from roadbed.fabric.registry import build
from roadbed.fabric.topology.assemble import Parts, assemble


def parts_of(fabric: Fabric) -> Parts:
    """A fabric as one would have to write it down: cables, and which server a device is in."""
    forward = np.arange(fabric.num_links) < fabric.reverse
    kinds = [fabric.nodes(kind) for kind in Kind]
    return Parts(
        name=fabric.name,
        parameters={},
        chip=fabric.chip,
        gpus_per_server=fabric.gpus_per_server,
        gpu_server=fabric.server[kinds[Kind.GPU]],
        hub_server=fabric.server[kinds[Kind.SCALE_UP]],
        card_server=fabric.server[kinds[Kind.NIC]],
        gpu_card=fabric.gpu_nic - kinds[Kind.NIC][0],
        num_tors=len(kinds[Kind.TOR]),
        num_aggs=len(kinds[Kind.AGG]),
        num_cores=len(kinds[Kind.CORE]),
        a=fabric.src[forward],
        b=fabric.dst[forward],
        kind=fabric.link_kind[forward],
        capacity=fabric.capacity[forward],
        latency_s=fabric.latency_s[forward],
        both_ways=np.ones(int(forward.sum()), bool),
    )


@pytest.mark.parametrize(
    ("name", "gpus"),
    [
        ("hpn7", 2_048), ("hpn7", 16), ("dcn_plus", 1_536), ("single_tor", 1_024), ("rail_only", 2_048),
        ("spectrum_x", 1_024), ("server16", 4_096), ("fat_tree", 1_024),
    ],
)  # fmt: skip
def test_as_built(name: str, gpus: int) -> None:
    first = build(name, gpus=gpus)
    again = assemble(parts_of(first))
    for where in ("kind", "server", "rail", "segment", "pod", "plane", "src", "dst", "reverse", "out_links"):
        assert (getattr(first, where) == getattr(again, where)).all(), where
    assert (again.gpu_nic == first.gpu_nic).all()
    assert (again.gpu_scale_up == first.gpu_scale_up).all()
    for trait in ("dual_tor", "dual_plane", "rail_optimised", "rail_only", "scale_up_routes"):
        assert getattr(again.traits, trait) == getattr(first.traits, trait)
