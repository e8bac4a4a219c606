"""The general Clos: whatever the counts, the arrays agree with each other."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from roadbed.errors import UsageError
from roadbed.fabric.base import NOWHERE, Kind, LinkKind
from roadbed.fabric.topology.clos import Reach, Shape, build


def _shape(**change: object) -> Shape:
    usual: dict[str, object] = {
        "name": "test", "parameters": {}, "chip": "H100", "num_servers": 4, "gpus_per_server": 4, "nics_per_server": 2,
        "nic_segment": np.repeat(np.arange(4, dtype=np.int32) // 2, 2), "num_segments": 2, "segments_per_pod": 1, "rails": 2,
        "tors_per_group": 2, "nic_ports": 2, "port_gbps": 200.0, "reach": "plane", "aggs_per_group": 3, "agg_cables": 1,
        "uplink_gbps": 400.0, "agg_uplinks": 2, "cores_per_group": 4, "rail_optimised": True,
    }  # fmt: skip
    return Shape(**(usual | change))  # type: ignore[arg-type]


@given(
    reach=st.sampled_from(["pod", "plane", "rail"]),
    rails=st.sampled_from([1, 2]),
    copies=st.integers(1, 2),
    ports=st.integers(1, 2),
    aggs=st.integers(1, 4),
    cables=st.integers(1, 3),
    up=st.integers(0, 3),
    per_pod=st.integers(1, 2),
)
def test_arrays_agree(
    reach: Reach, rails: int, copies: int, ports: int, aggs: int, cables: int, up: int, per_pod: int
) -> None:
    shape = _shape(
        reach=reach, rails=rails, tors_per_group=copies, nic_ports=ports, aggs_per_group=aggs, agg_cables=cables,
        agg_uplinks=up, segments_per_pod=per_pod,
    )  # fmt: skip
    fabric = build(shape)
    assert (fabric.src[fabric.reverse] == fabric.dst).all()
    assert (fabric.reverse[fabric.reverse] == np.arange(fabric.num_links)).all()
    assert (np.diff(fabric.kind) >= 0).all()
    for node in range(fabric.num_nodes):
        assert (fabric.src[fabric.leaving(node)] == node).all()
    num = {kind: len(fabric.nodes(kind)) for kind in Kind}
    assert num[Kind.TOR] == 2 * rails * copies
    assert num[Kind.AGG] == shape.num_pods * shape.num_groups * aggs
    assert num[Kind.CORE] == (shape.num_groups * 4 if up else 0)
    assert int((fabric.link_kind == LinkKind.FABRIC).sum()) == 2 * num[Kind.TOR] * aggs * cables
    fabric_up = (fabric.link_kind == LinkKind.FABRIC) & (fabric.kind[fabric.src] == Kind.TOR)
    assert (fabric.pod[fabric.src[fabric_up]] == fabric.pod[fabric.dst[fabric_up]]).all()


def test_gpus_share_cards_in_order() -> None:
    fabric = build(_shape())
    assert [fabric.node_name(node) for node in fabric.gpu_nic[:6]] == [
        "nic-0",
        "nic-0",
        "nic-1",
        "nic-1",
        "nic-2",
        "nic-2",
    ]
    assert fabric.rail[:6].tolist() == [0, 0, 1, 1, 0, 0]


def test_a_lone_gpu_has_no_scale_up() -> None:
    fabric = build(_shape(gpus_per_server=1, nics_per_server=1, nic_segment=np.zeros(4, np.int32), rails=1))
    assert set(fabric.gpu_scale_up) == {NOWHERE}
    assert not len(fabric.nodes(Kind.SCALE_UP))


def test_rail_groups_never_mix() -> None:
    fabric = build(_shape(reach="rail"))
    up = fabric.link_kind >= LinkKind.FABRIC
    assert (fabric.rail[fabric.src[up]] == fabric.rail[fabric.dst[up]]).all()
    assert (fabric.plane[fabric.src[up]] == fabric.plane[fabric.dst[up]]).all()


def test_cables_are_bounded() -> None:
    with pytest.raises(UsageError, match="cables between switches"):
        build(_shape(aggs_per_group=1 << 20))
