"""The small picture: every cable is a line that names itself."""

import xml.etree.ElementTree as ET

import numpy as np

from roadbed.fabric.base import Fabric, LinkKind
from roadbed.fabric.draw_every import draw_every
from roadbed.fabric.draw_ink import FAILED, Colouring
from roadbed.fabric.registry import build

SVG = "{http://www.w3.org/2000/svg}"


def _titles(drawn: str, mark: str) -> list[str]:
    found = [one.find(f"{SVG}title") for one in ET.fromstring(drawn).iter(f"{SVG}{mark}")]
    return [str(title.text) for title in found if title is not None]


def _names(fabric: Fabric) -> set[str]:
    up = np.flatnonzero((fabric.link_kind >= LinkKind.ACCESS) & (np.arange(fabric.num_links) < fabric.reverse))
    return {fabric.link_name(link) for link in up.tolist()}


def test_every_cable_is_a_line_with_its_name_and_speed() -> None:
    fabric = build("dcn_plus", gpus=16)
    titles = _titles(draw_every(fabric, Colouring()), "path")
    assert {title.partition(",")[0] for title in titles if ":" in title} == _names(fabric)
    assert "nic-0:tor-0, 200 Gb/s" in titles
    assert "tor-1:agg-7#7, 400 Gb/s" in titles


def test_every_node_is_a_box_with_its_place() -> None:
    fabric = build("hpn7", gpus=16, with_core=True)
    titles = _titles(draw_every(fabric, Colouring()), "rect")
    assert "agg-61: 16 ports; pod 0, plane 1" in titles
    assert "tor-3: 62 ports; pod 0, segment 0, plane 1, rail 1" in titles
    assert sum(title.startswith("gpu-") for title in titles) == 16
    assert sum(title.startswith("core-") for title in titles) == 64


def test_one_failed_cable_is_red_and_says_so() -> None:
    fabric = build("hpn7", gpus=16)
    failed = np.zeros(fabric.num_links, bool)
    link = fabric.find_link("nic-3:tor-6")
    failed[[link, fabric.reverse[link]]] = True
    root = ET.fromstring(draw_every(fabric, Colouring(failed=failed)))
    red = [
        path
        for path in root.iter(f"{SVG}path")
        if path.attrib["stroke"] == FAILED and path.find(f"{SVG}title") is not None
    ]
    assert [str(path.find(f"{SVG}title").text) for path in red] == ["nic-3:tor-6, 200 Gb/s; 2 of 2 directions failed"]
