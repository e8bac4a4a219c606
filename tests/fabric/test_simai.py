"""SimAI's topology file: there and back, as its generator writes it, and broken in every place."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from roadbed.errors import SpecError, UsageError
from roadbed.fabric import simai
from roadbed.fabric.base import GBIT, Builder, Fabric, Kind, LinkKind, Traits
from roadbed.fabric.blueprint import check
from roadbed.fabric.registry import build
from tests.fabric.generated import generate
from tests.fabric.topology.ports import switches

GENERATED = """\
12 2 2 6 20 A100
4 5 6 7 8 9 10 11
0 4 2880Gbps 0.000025ms 0
0 6 200Gbps 0.0005ms 0
0 8 200Gbps 0.0005ms 0
1 4 2880Gbps 0.000025ms 0
1 7 200Gbps 0.0005ms 0
1 9 200Gbps 0.0005ms 0
2 5 2880Gbps 0.000025ms 0
2 6 200Gbps 0.0005ms 0
2 8 200Gbps 0.0005ms 0
3 5 2880Gbps 0.000025ms 0
3 7 200Gbps 0.0005ms 0
3 9 200Gbps 0.0005ms 0
6 10 400Gbps 0.0005ms 0
6 10 400Gbps 0.0005ms 0
7 10 400Gbps 0.0005ms 0
7 10 400Gbps 0.0005ms 0
8 11 400Gbps 0.0005ms 0
8 11 400Gbps 0.0005ms 0
9 11 400Gbps 0.0005ms 0
9 11 400Gbps 0.0005ms 0
"""  # two servers, two rails, dual ToR, dual plane, as gen_Topo_Template.py lays them out
COORDINATES = ("kind", "server", "rail", "segment", "pod", "plane", "index")


def test_a_file_as_generated() -> None:
    fabric = simai.read(GENERATED, "topo")
    assert (fabric.num_gpus, fabric.num_servers, switches(fabric)) == (4, 2, [4, 2, 0])
    assert fabric.traits == Traits(dual_tor=True, dual_plane=True, rail_optimised=True)
    assert fabric.chip == "A100-80GB"
    assert fabric.plane[fabric.nodes(Kind.TOR)].tolist() == [0, 0, 1, 1]
    assert fabric.rail[fabric.nodes(Kind.TOR)].tolist() == [0, 1, 0, 1]
    assert set(fabric.segment[: fabric.num_gpus].tolist()) == {0}
    assert set(fabric.latency_s[fabric.link_kind == LinkKind.FABRIC].tolist()) == {0.0005 * 1e-3}
    assert set(fabric.capacity[fabric.link_kind == LinkKind.SCALE_UP].tolist()) == {2880 * GBIT}


TEMPLATES = {
    "AlibabaHPN": (True, True, False), "AlibabaHPN --dp": (True, True, True), "Spectrum-X": (True, False, False),
    "DCN+": (False, False, False), "DCN+ --dt": (False, True, False),
}  # fmt: skip


@pytest.mark.parametrize("template", TEMPLATES)
@pytest.mark.parametrize("gpus", [128, 256, 320])
def test_every_template_is_understood(template: str, gpus: int) -> None:
    rails, dual_tor, dual_plane = TEMPLATES[template]
    fabric = simai.read(generate(gpus, rails=rails, dual_tor=dual_tor, dual_plane=dual_plane), template)
    assert fabric.num_gpus == gpus
    assert fabric.traits == Traits(dual_tor=dual_tor, dual_plane=dual_plane, rail_optimised=rails)
    per_segment = 128 if rails else 16
    assert fabric.segment[:gpus].tolist() == [gpu // per_segment for gpu in range(gpus)]
    assert check(fabric) == []
    tors = fabric.nodes(Kind.TOR)
    assert set(fabric.rail[tors].tolist()) == (set(range(8)) if rails else {-1})
    assert set(fabric.plane[tors].tolist()) == ({0, 1} if dual_tor else {-1})


@pytest.mark.parametrize(
    ("template", "family", "counts"),
    [
        ("AlibabaHPN --dp", "hpn7", {"active_servers": 16, "aggs_per_plane": 2}),
        ("AlibabaHPN", "hpn7", {"active_servers": 16, "aggs_per_plane": 4, "planes": 1}),
        ("Spectrum-X", "spectrum_x", {"servers_per_segment": 16, "spines": 4}),
        ("DCN+ --dt", "dcn_plus", {"servers_per_segment": 2, "aggs": 4, "agg_cables": 1, "segments": 20}),
        ("DCN+", "single_tor", {"servers_per_segment": 2, "aggs": 4, "agg_cables": 1, "segments": 20}),
    ],
)
def test_a_template_follows_the_blueprint_of_its_family(template: str, family: str, counts: dict[str, int]) -> None:
    rails, dual_tor, dual_plane = TEMPLATES[template]
    found = simai.read(generate(320, rails=rails, dual_tor=dual_tor, dual_plane=dual_plane), template)
    assert check(found, build(family, gpus=320, chip="H100", **counts)) == []


families = st.sampled_from(["hpn7", "dcn_plus", "single_tor", "rail_only", "spectrum_x"])


@settings(max_examples=25, deadline=None)
@given(name=families, servers=st.integers(1, 40), chip=st.sampled_from(["H100", "H800"]))
def test_there_and_back(name: str, servers: int, chip: str) -> None:
    first = build(name, gpus=8 * servers, chip=chip)
    text = simai.write(first)
    again = simai.read(text, "x")
    assert simai.write(again) == text
    assert all((getattr(first, where) == getattr(again, where)).all() for where in COORDINATES)
    assert _cables(first) == pytest.approx(_cables(again), rel=1e-12)
    assert again.chip == chip


def _cables(fabric: Fabric) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
    """One row a link, in an order that does not depend on how cables are numbered."""
    order = np.lexsort((fabric.dst, fabric.src))
    return np.stack([fabric.src, fabric.dst, fabric.capacity, fabric.latency_s], axis=1)[order]


def test_tors_without_gpus_stay_tors() -> None:
    first = build("hpn7", gpus=448, segments=3, pods=2)
    again = simai.read(simai.write(first), "x")
    assert switches(again) == switches(first) == [96, 240, 64]
    assert again.traits.dual_plane
    aggs = again.nodes(Kind.AGG)[:120]
    assert (again.plane[aggs] == first.plane[aggs]).all()


def test_cores_are_found() -> None:
    again = simai.read(simai.write(build("dcn_plus", gpus=1_024)), "x")
    assert switches(again) == [16, 16, 128]
    assert set(again.pod[: again.num_gpus].tolist()) == {0, 1}


def test_a_shared_card_is_split() -> None:
    again = simai.read(simai.write(build("server16", gpus=16)), "x")
    assert again.num_gpus == 16
    assert set(again.capacity[again.link_kind == LinkKind.ACCESS].tolist()) == {100 * GBIT}


def test_several_nvswitches_are_one_with_their_sum() -> None:
    text = "5 2 2 1 6 H100\n2 3 4\n0 2 1Gbps 1us 0\n0 3 2Gbps 2us 0\n1 2 1Gbps 1us 0\n1 3 2Gbps 1us 0\n0 4 1Gbps 1us 0\n1 4 1Gbps 1us 0.5\n"
    fabric = simai.read(text, "x")
    assert len(fabric.nodes(Kind.SCALE_UP)) == 1
    up = np.flatnonzero((fabric.link_kind == LinkKind.SCALE_UP) & (fabric.kind[fabric.src] == Kind.GPU))
    assert fabric.capacity[up].tolist() == [3 * GBIT] * 2
    assert fabric.latency_s[up].tolist() == [2e-6, 1e-6]


def test_scale_up_alone_is_a_network() -> None:
    fabric = simai.read("3 2 1 0 2 H800\n2\n0 2 100Gbps 1ns 0\n1 2 100Gbps 1ns 0\n", "x")
    assert switches(fabric) == [0, 0, 0]


def test_one_way_cables_have_no_place_in_it() -> None:
    builder = Builder()
    gpu = builder.add_nodes(Kind.GPU, 1, server=0)
    nic = builder.add_nodes(Kind.NIC, 1, server=0)
    tor = builder.add_nodes(Kind.TOR, 1)
    builder.join(gpu, nic, LinkKind.PCIE, 1.0, 0.0)
    builder.join(nic, tor, LinkKind.ACCESS, 1.0, 0.0, both_ways=False)
    fabric = builder.freeze(
        name="x", parameters={}, traits=Traits(), chip="H100", gpus_per_server=1, gpu_nic=nic, gpu_scale_up=gpu * 0 - 1
    )
    with pytest.raises(UsageError, match="nic-0:tor-0 is one-way"):
        simai.write(fabric)


GOOD = ["4 2 1 1 4 H100", "2 3", "0 2 10Gbps 1us 0", "1 2 10Gbps 1us 0", "0 3 10Gbps 1us 0", "1 3 10Gbps 1us 0"]


@pytest.mark.parametrize(
    ("line", "text", "where"),
    [
        (1, "", "topo:1: header"),
        (1, "4 2 1 1", "topo:1: header"),
        (1, "four 2 1 1 4 H100", "topo:1: nodes"),
        (1, "4 -2 1 1 4 H100", "topo:1: gpus_per_server"),
        (1, "4 3 1 1 4 H100", "topo:1: gpus_per_server"),
        (1, "4 0 1 1 4 H100", "topo:1: gpus_per_server"),
        (1, "2 2 1 1 4 H100", "topo:1: nodes"),
        (1, "99999999999 2 1 1 4 H100", "topo:1: nodes"),
        (1, "9999999 2 1 1 4 H100", "topo:1: nodes"),
        (1, "4 2 1 1 999999999 H100", "topo:1: links"),
        (1, "4 2 1 1 5 H100", "topo:6: links"),
        (1, "4 2 1 1 3 H100", "topo:6: links"),
        (2, "2", "topo:2: switches"),
        (2, "2 2", "topo:2: switches"),
        (2, "2 4", "topo:2: switches"),
        (3, "0 2 10Gbps 1us", "topo:3: link"),
        (3, "0 9 10Gbps 1us 0", "topo:3: dst"),
        (3, "0 0 10Gbps 1us 0", "topo:3: dst"),
        (4, "1 2 10 1us 0", "topo:4: bandwidth"),
        (4, "1 2 0Gbps 1us 0", "topo:4: bandwidth"),
        (4, "1 2 10Gbps soon 0", "topo:4: latency"),
        (4, "1 2 10Gbps 1us 2", "topo:4: error_rate"),
        (4, "1 2 10Gbps 1us nan", "topo:4: error_rate"),
        (5, "0 1 10Gbps 1us 0", "topo:5: dst: 0 and 1 are both GPUs"),
        (5, "3 2 10Gbps 1us 0", "topo:5: dst: nvswitch 2 is linked to switch 3"),
    ],
)
def test_every_mistake_has_its_line_and_field(line: int, text: str, where: str) -> None:
    lines = [*GOOD]
    simai.read("\n".join(lines), "topo")
    lines[line - 1] = text
    with pytest.raises(SpecError) as caught:
        simai.read("\n".join(lines), "topo")
    assert str(caught.value).startswith(where)


def test_a_switch_nobody_reaches() -> None:
    with pytest.raises(SpecError, match="topo:2: switches: 4 is not joined"):
        simai.read("\n".join(["5 2 1 2 4 H100", "2 3 4", *GOOD[2:]]), "topo")


def test_an_nvswitch_of_two_servers() -> None:
    with pytest.raises(SpecError, match="nvswitch 2 is of server 0, GPU 1 of server 1"):
        simai.read("\n".join(["4 1 1 1 4 H100", *GOOD[1:]]), "topo")


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_any_text_is_a_network_or_an_error_with_a_line(data: st.DataObject) -> None:
    words = [word for line in GENERATED.splitlines() for word in (*line.split(), "\n")]
    at = data.draw(st.integers(0, len(words) - 1))
    words[at] = data.draw(
        st.sampled_from(["", "-1", "0", "1", "7", "11", "12", "1e9", "Gbps", "\n", "x", "²", "0.5ms"])
    )
    try:
        simai.read(" ".join(words), "topo")
    except SpecError as error:
        assert str(error).startswith("topo:")
