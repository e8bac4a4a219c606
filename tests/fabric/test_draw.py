"""The right picture for a size, in time, and sound whatever the network."""

import time
import xml.etree.ElementTree as ET

import pytest

from roadbed.fabric import simai
from roadbed.fabric.draw import svg
from roadbed.fabric.registry import FAMILIES, build


@pytest.mark.parametrize("name", FAMILIES)
@pytest.mark.parametrize("gpus", [8, 512, 4_096])
def test_every_family_at_every_size_is_a_sound_picture(name: str, gpus: int) -> None:
    drawn = svg(build(name, gpus=gpus))
    root = ET.fromstring(drawn)
    width, height = float(root.attrib["width"]), float(root.attrib["height"])
    for box in root.iter("{http://www.w3.org/2000/svg}rect"):
        if box.attrib["width"] != "100%":
            assert float(box.attrib["x"]) >= -1
            assert float(box.attrib["x"]) + float(box.attrib["width"]) <= width + 1
            assert float(box.attrib["y"]) + float(box.attrib["height"]) <= height + 200
    assert len(drawn) < 700_000


def test_small_ones_show_every_card_and_large_ones_do_not() -> None:
    assert "nic-15" in svg(build("hpn7", gpus=16))
    assert "nic-15" not in svg(build("hpn7", gpus=512))


def test_the_largest_takes_a_moment() -> None:
    fabric = build("hpn7", gpus=122_880)
    start = time.process_time()
    svg(fabric)
    assert time.process_time() - start < 10


def test_a_network_without_switches() -> None:
    fabric = simai.read("3 2 1 0 2 H800\n2\n0 2 100Gbps 1ns 0\n1 2 100Gbps 1ns 0\n", "x")
    assert "scale-up, 12.5 GB/s" in svg(fabric)
