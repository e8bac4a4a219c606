"""The large picture: counts, capacities and oversubscription are written, what is left out is said."""

import xml.etree.ElementTree as ET

import numpy as np

from roadbed.fabric.base import Fabric
from roadbed.fabric.draw_groups import draw_groups
from roadbed.fabric.draw_ink import FAILED, Colouring, heat
from roadbed.fabric.registry import build

SVG = "{http://www.w3.org/2000/svg}"


def _words(fabric: Fabric) -> list[str]:
    root = ET.fromstring(draw_groups(fabric, Colouring()))
    return [str(one.text) for one in root.iter(f"{SVG}text")]


def _lines(drawn: str) -> dict[str, str]:
    """Title → colour."""
    root = ET.fromstring(drawn)
    return {
        str(title.text): path.attrib["stroke"]
        for path in root.iter(f"{SVG}path")
        if (title := path.find(f"{SVG}title")) is not None
    }


def test_a_pod_says_what_the_paper_says() -> None:
    words = _words(build("hpn7", with_core=True))
    assert {"64 Cores", "120 Aggs", "240 ToRs", "1,920 servers"} <= set(words)
    assert {"down : up = 1.07 : 1", "down : up = 15 : 1"} <= set(words)
    assert {"14,400 × 400G", "5.76 Pb/s", "120×400G down · 8×400G up"} <= set(words)
    assert [word for word in words if word.startswith("segment ")] == [f"segment {at}" for at in range(15)]


def test_what_is_left_out_is_counted() -> None:
    words = _words(build("hpn7", gpus=122_880))
    assert "5 more" in words
    assert words.count("12 more") == 3
    shown = {word for word in words if word.startswith("pod ")}
    assert shown == {"pod 0", "pod 1", "pod 7"}
    assert "segment 119" in words


def test_lines_carry_their_cables() -> None:
    lines = _lines(draw_groups(build("hpn7", gpus=2_048), Colouring()))
    assert "480 cables, 192 Tb/s" in lines
    assert "1,024 cables, 204.8 Tb/s" in lines


def test_planes_are_never_joined() -> None:
    fabric = build("hpn7", gpus=2_048)
    root = ET.fromstring(draw_groups(fabric, Colouring()))
    assert len(list(root.iter(f"{SVG}path"))) == 2 * 2 + 2 * 2  # segment × plane, below and above the ToRs


def test_failure_and_load_colour_the_line_they_are_in() -> None:
    fabric = build("hpn7", gpus=2_048)
    failed = np.zeros(fabric.num_links, bool)
    failed[fabric.find_link("tor-0:agg-3")] = True
    load = np.zeros(fabric.num_links)
    load[fabric.find_link("tor-1:agg-60")] = 1.0
    lines = _lines(draw_groups(fabric, Colouring(load, failed)))
    assert lines["480 cables, 192 Tb/s; 1 of 960 directions failed"] == FAILED
    assert lines["480 cables, 192 Tb/s; busiest 100%, mean 0%"] == heat(1)


def test_failures_in_what_is_left_out_are_counted() -> None:
    fabric = build("hpn7", gpus=122_880)
    failed = np.zeros(fabric.num_links, bool)
    failed[fabric.find_link("tor-80:agg-2")] = True  # segment 5 of pod 0
    drawn = draw_groups(fabric, Colouring(failed=failed))
    assert "1 failed directions are in parts left out" in drawn
    assert "left out" not in draw_groups(fabric, Colouring(failed=~failed & False))
