"""A network by hand: what it becomes, and every mistake on its line."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from roadbed.errors import SpecError
from roadbed.fabric.base import GBIT, NOWHERE, Fabric, Kind, LinkKind
from roadbed.fabric.topology import custom
from roadbed.spec.document import read_documents

TEXT = """\
fabric: custom
name: two-rails
chip: H100
servers: {count: 4, gpus: 4, nics: 2}
switches: {tor: 4, agg: 2, core: 1}
links:
  - {from: "nic-[0-7/2]", to: "tor-[0,1]", gbps: 200}
  - {from: "nic-[1-7/2]", to: "tor-[2-3]", gbps: 200}
  - {from: "tor-[0,2]", to: agg-0, gbps: 400, cables: 2, latency_us: 0.7}
  - {from: "tor-[1,3]", to: agg-1, gbps: 400, cables: 2}
  - {from: "agg-[0-1]", to: core-0, gbps: 400}
"""


def _read(text: str) -> Fabric:
    return custom.read(read_documents(text)[0], "net.yaml")


def test_coordinates_are_read_off_the_cables() -> None:
    fabric = _read(TEXT)
    assert (fabric.name, fabric.num_gpus, fabric.num_servers) == ("two-rails", 16, 4)
    assert fabric.traits.dual_tor
    assert fabric.traits.dual_plane
    assert fabric.traits.rail_optimised
    tors, aggs = fabric.nodes(Kind.TOR), fabric.nodes(Kind.AGG)
    assert fabric.rail[tors].tolist() == [0, 0, 1, 1]
    assert fabric.plane[tors].tolist() == [0, 1, 0, 1]
    assert fabric.plane[aggs].tolist() == [0, 1]
    assert fabric.plane[fabric.nodes(Kind.CORE)].tolist() == [NOWHERE]
    assert fabric.rail[:4].tolist() == [0, 0, 1, 1]
    assert set(fabric.pod[:16].tolist()) == {0}


def test_cables_and_latency() -> None:
    fabric = _read(TEXT)
    link = fabric.find_link("tor-0:agg-0#1")
    assert fabric.capacity[link] == 400 * GBIT
    assert fabric.latency_s[link] == pytest.approx(0.7e-6)
    assert fabric.latency_s[fabric.find_link("tor-1:agg-1")] == pytest.approx(0.5e-6)


def test_each_pairs_in_order_and_one_way_is_one_link() -> None:
    fabric = _read(
        "fabric: custom\nservers: {count: 2, gpus: 1, nics: 1}\nswitches: {tor: 2, agg: 2}\nlinks:\n"
        '  - {from: "nic-[0-1]", to: "tor-[0-1]", gbps: 1, pairing: each}\n'
        '  - {from: "tor-[0-1]", to: agg-0, gbps: 1}\n  - {from: tor-0, to: agg-1, gbps: 1, one_way: true}\n'
    )
    assert int((fabric.link_kind == LinkKind.ACCESS).sum()) == 4
    one_way = fabric.find_link("tor-0:agg-1")
    assert fabric.reverse[one_way] == NOWHERE
    assert not len(fabric.nodes(Kind.SCALE_UP))
    assert fabric.segment[:2].tolist() == [0, 1]


def test_scale_up_may_be_said_or_left_out() -> None:
    base = "fabric: custom\nservers: {count: 1, gpus: 4, nics: 2, scale_up_gbps: SPEED}\n"
    assert set(_read(base.replace("SPEED", "80")).capacity[:8].tolist()) == {80 * GBIT}
    assert not len(_read(base.replace("SPEED", "0")).nodes(Kind.SCALE_UP))


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("chip: H100", "chip: H1000", "net.yaml:3: chip: there is no chip 'H1000'"),
        ("count: 4", "count: 0", "net.yaml:4: servers.count"),
        ("count: 4", "count: 131072", "net.yaml:4: servers.count: 524,288 GPUs"),
        ("nics: 2", "nics: 3", "net.yaml:4: servers.nics: 4 GPUs can't share 3 cards evenly"),
        ("core: 1", "cores: 1", "net.yaml:5: switches.cores"),
        ("nic-[0-7/2]", "nic-[0-8/2]", "net.yaml:7: links.0.from: 'nic-[0-8/2]': there are 8"),
        ("nic-[0-7/2]", "nic-9", "net.yaml:7: links.0.from: 'nic-9': there are 8 of kind nic"),
        ("nic-[0-7/2]", "gpu-0", "net.yaml:7: links.0.from: 'gpu-0' names no nodes"),
        ("nic-[0-7/2]", "nic-[7-0]", "net.yaml:7: links.0.from: 'nic-[7-0]': '7-0' is an empty range"),
        ("nic-[0-7/2]", "nic-[0--1]", "net.yaml:7: links.0.from: 'nic-[0--1]': '0--1' is neither"),
        ("nic-[0-7/2]", "nic-[0-7/0]", "net.yaml:7: links.0.from"),
        ("to: agg-0", "to: core-0", "net.yaml:9: links.2.to: tor to core is no link"),
        ("cables: 2, latency_us", "cables: 0, latency_us", "net.yaml:9: links.2.cables"),
        ("to: core-0, gbps: 400", "to: core-0, gbps: -1", "net.yaml:11: links.4.gbps"),
        ("to: core-0, gbps: 400", "to: core-0", "net.yaml:11: links.4.gbps"),
        ("latency_us: 0.7", "pairing: each", "net.yaml:9: links.2.pairing: 2 left ends"),
    ],
)
def test_every_mistake_has_its_line_and_field(old: str, new: str, said: str) -> None:
    assert old in TEXT
    with pytest.raises(SpecError) as caught:
        _read(TEXT.replace(old, new, 1))
    assert str(caught.value).startswith(said)


def test_several_mistakes_at_once() -> None:
    with pytest.raises(SpecError) as caught:
        _read(TEXT.replace("tor-[2-3]", "tor-9").replace("to: core-0", "to: core-1"))
    assert [line.split(" ")[0] for line in str(caught.value).splitlines()] == ["net.yaml:8:", "net.yaml:11:"]


def test_cables_are_bounded() -> None:
    with pytest.raises(SpecError, match=r"links\.1\.cables: more than"):
        _read(
            "fabric: custom\nservers: {count: 1}\nswitches: {tor: 131072, agg: 131072}\nlinks:\n"
            '  - {from: nic-0, to: tor-0, gbps: 1}\n  - {from: "tor-[0-131071]", to: "agg-[0-131071]", gbps: 1, cables: 1024}\n'
        )


@settings(max_examples=100, deadline=None)
@given(st.text(alphabet="nictoragge-[]0123456789,/", max_size=20))
def test_any_ends_are_nodes_or_an_error(text: str) -> None:
    try:
        _read(TEXT.replace("nic-[0-7/2]", text))
    except SpecError as error:
        assert str(error).startswith("net.yaml:7:")
