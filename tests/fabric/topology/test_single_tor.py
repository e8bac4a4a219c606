"""DCN+ with one ToR: 1:1 at every tier, one cable a card."""

from roadbed.fabric.base import GBIT, Kind, LinkKind
from roadbed.fabric.registry import build
from tests.fabric.topology.ports import ports, switches


def test_counts() -> None:
    fabric = build("single_tor")
    assert fabric.num_gpus == 16_384
    assert switches(fabric) == [256, 256, 128]
    assert ports(fabric, Kind.TOR, LinkKind.ACCESS) == ports(fabric, Kind.TOR, LinkKind.FABRIC) == {64}
    assert ports(fabric, Kind.AGG, LinkKind.FABRIC) == ports(fabric, Kind.AGG, LinkKind.CORE) == {64}
    assert ports(fabric, Kind.CORE, LinkKind.CORE) == {128}


def test_a_card_hangs_on_one_tor_at_full_speed() -> None:
    fabric = build("single_tor", gpus=448)
    assert ports(fabric, Kind.NIC, LinkKind.ACCESS) == {1}
    assert set(fabric.capacity[fabric.link_kind == LinkKind.ACCESS]) == {400 * GBIT}
    assert not fabric.traits.dual_tor
