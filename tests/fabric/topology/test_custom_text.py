"""A network written as rules is the same network."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from roadbed.errors import UsageError
from roadbed.fabric import simai
from roadbed.fabric.base import Fabric, Kind
from roadbed.fabric.registry import build
from roadbed.fabric.topology import custom, custom_text
from roadbed.spec.document import read_documents


def _again(fabric: Fabric) -> Fabric:
    return custom.read(read_documents(custom_text.write(fabric))[0], "net.yaml")


def _cables(fabric: Fabric) -> list[tuple[float, ...]]:
    columns = (fabric.src, fabric.dst, fabric.capacity.round(3), (fabric.latency_s * 1e12).round())
    return sorted(zip(*(column.tolist() for column in columns), strict=True))


@pytest.mark.parametrize(
    ("name", "gpus"),
    [
        ("hpn7", 2_048),
        ("dcn_plus", 1_024),
        ("single_tor", 640),
        ("rail_only", 2_048),
        ("server16", 64),
        ("fat_tree", 64),
    ],
)
def test_there_and_back(name: str, gpus: int) -> None:
    first = build(name, gpus=gpus)
    again = _again(first)
    assert _cables(again) == _cables(first)
    for where in ("kind", "server", "rail", "plane"):
        assert (getattr(again, where) == getattr(first, where)).all()


def test_regular_networks_are_short() -> None:
    pod = custom_text.write(build("hpn7"))
    assert len(pod.splitlines()) < 150
    assert '{from: "nic-[0-1016/8]", to: "tor-[0,1]", gbps: 200' in pod


def test_one_way_cables_stay_so() -> None:
    text = (
        "fabric: custom\nservers: {count: 1, gpus: 1, nics: 1}\nswitches: {tor: 2}\nlinks:\n"
        "  - {from: nic-0, to: tor-0, gbps: 1, one_way: true}\n  - {from: nic-0, to: tor-1, gbps: 1}\n"
    )
    again = _again(custom.read(read_documents(text)[0], "n"))
    assert [again.link_name(link) for link in np.flatnonzero(again.reverse < 0)] == ["nic-0:tor-0"]


def test_a_network_without_links() -> None:
    fabric = simai.read("3 2 1 0 2 H800\n2\n0 2 100Gbps 1ns 0\n1 2 100Gbps 1ns 0\n", "x")
    again = _again(fabric)
    assert len(again.nodes(Kind.SCALE_UP)) == 1
    assert set(again.capacity[:2].tolist()) == {12.5e9}


def test_servers_that_differ_are_refused() -> None:
    fabric = simai.read("3 2 1 0 2 H800\n2\n0 2 100Gbps 1ns 0\n1 2 50Gbps 1ns 0\n", "x")
    with pytest.raises(UsageError, match="scale-up links differ"):
        custom_text.write(fabric)


@given(st.sets(st.integers(0, 200), min_size=1, max_size=40))
def test_spans_are_the_numbers(numbers: set[int]) -> None:
    found: list[int] = []
    for part in custom_text.spans(numbers):
        ends, _, step = part.partition("/")
        low, _, high = ends.partition("-")
        found.extend(range(int(low), int(high or low) + 1, int(step or 1)))
    assert found == sorted(numbers)
