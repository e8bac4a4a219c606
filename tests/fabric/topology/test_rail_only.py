"""Rail-only: eight times the GPUs of a pod under the same Aggs, rails apart."""

import pytest

from roadbed.errors import UsageError
from roadbed.fabric.base import Kind, LinkKind
from roadbed.fabric.graph import components
from roadbed.fabric.registry import build
from tests.fabric.topology.ports import ports, switches


def test_counts_of_table_4() -> None:
    fabric = build("rail_only")
    assert fabric.num_gpus == 122_880
    assert switches(fabric) == [1_920, 960, 0]
    assert ports(fabric, Kind.AGG, LinkKind.FABRIC) == {120}
    aggs = fabric.nodes(Kind.AGG)
    assert len({(int(fabric.rail[agg]), int(fabric.plane[agg])) for agg in aggs}) == 16


def test_sixteen_planes_are_islands_above_the_cards() -> None:
    fabric = build("rail_only", gpus=2_048)
    above = fabric.link_kind == LinkKind.FABRIC
    label = components(fabric.num_nodes, fabric.src[above], fabric.dst[above])
    assert len(set(label[fabric.nodes(Kind.AGG)].tolist())) == 16


def test_more_than_the_aggs_have_ports_for() -> None:
    with pytest.raises(UsageError, match="do not fit"):
        build("rail_only", gpus=4_096, segments=2)
