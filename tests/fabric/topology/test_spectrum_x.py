"""Spectrum-X: 64 ToRs, 64 spines, 1:1."""

from roadbed.fabric.base import Kind, LinkKind
from roadbed.fabric.registry import build
from tests.fabric.topology.ports import ports, switches


def test_counts() -> None:
    fabric = build("spectrum_x")
    assert fabric.num_gpus == 4_096
    assert switches(fabric) == [64, 64, 0]
    assert ports(fabric, Kind.TOR, LinkKind.ACCESS) == ports(fabric, Kind.TOR, LinkKind.FABRIC) == {64}
    assert ports(fabric, Kind.AGG, LinkKind.FABRIC) == {64}
    assert fabric.traits.rail_optimised
    assert not fabric.traits.dual_tor


def test_rails_of_a_segment_have_a_tor_each() -> None:
    fabric = build("spectrum_x", gpus=512)
    assert fabric.rail[fabric.nodes(Kind.TOR)].tolist() == list(range(8))
