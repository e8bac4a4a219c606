"""GraphML, read back with an XML parser."""

import xml.etree.ElementTree as ET

import pytest

from roadbed.fabric import graphml
from roadbed.fabric.base import GBIT, Fabric, Kind
from roadbed.fabric.registry import build
from roadbed.fabric.topology import custom
from roadbed.spec.document import read_documents

NAME = "{http://graphml.graphdrawing.org/xmlns}"


def _read(fabric: Fabric) -> tuple[dict[str, dict[str, str]], list[tuple[str, str, dict[str, str], bool]]]:
    graph = ET.fromstring(graphml.write(fabric)).find(f"{NAME}graph")
    assert graph is not None
    nodes = {node.attrib["id"]: _data(node) for node in graph.iter(f"{NAME}node")}
    edges = [
        (edge.attrib["source"], edge.attrib["target"], _data(edge), edge.attrib.get("directed") == "true")
        for edge in graph.iter(f"{NAME}edge")
    ]
    return nodes, edges


def _data(element: ET.Element) -> dict[str, str]:
    return {one.attrib["key"]: str(one.text) for one in element.iter(f"{NAME}data")}


@pytest.mark.parametrize("name", ["hpn7", "dcn_plus", "fat_tree", "server16"])
def test_every_node_and_cable_once(name: str) -> None:
    fabric = build(name, gpus=32)
    nodes, edges = _read(fabric)
    assert list(nodes) == [fabric.node_name(node) for node in range(fabric.num_nodes)]
    assert len(edges) * 2 == fabric.num_links
    for a, b, data, directed in edges[::37]:
        link = fabric.find_link(f"{a}:{b}")
        assert float(data["gbps"]) == pytest.approx(fabric.capacity[link] / GBIT)
        assert float(data["latency_us"]) == pytest.approx(fabric.latency_s[link] * 1e6)
        assert not directed


def test_coordinates_are_there_where_a_node_has_them() -> None:
    fabric = build("hpn7", gpus=16)
    nodes, _ = _read(fabric)
    assert nodes["gpu-9"] == {"kind": "gpu", "server": "1", "rail": "1", "segment": "0", "pod": "0"}
    assert nodes["agg-60"] == {"kind": "agg", "pod": "0", "plane": "1"}
    assert len(nodes) == sum(len(fabric.nodes(kind)) for kind in Kind)


def test_a_one_way_link_is_directed() -> None:
    text = (
        "fabric: custom\nservers: {count: 1, gpus: 1, nics: 1}\nswitches: {tor: 1}\n"
        "links:\n  - {from: nic-0, to: tor-0, gbps: 1, one_way: true}\n"
    )
    _, edges = _read(custom.read(read_documents(text)[0], "n"))
    assert [(a, b) for a, b, _, directed in edges if directed] == [("nic-0", "tor-0")]
