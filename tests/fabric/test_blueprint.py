"""Good networks are sound; every mistake made on one is found and named."""

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from roadbed.fabric import registry, simai
from roadbed.fabric.base import GBIT, Fabric, LinkKind
from roadbed.fabric.blueprint import Fault, check
from roadbed.fabric.registry import build
from roadbed.fabric.topology import custom
from roadbed.spec.document import read_documents
from tests.fabric.rewire import Wires

GOOD = {
    "hpn7": build("hpn7", gpus=1_088, active_servers=17, aggs_per_plane=4, pods=2, segments=4),
    "dcn_plus": build("dcn_plus", gpus=640),
    "rail_only": build("rail_only", gpus=256, active_servers=16, aggs_per_plane=3),
    "single_tor": build("single_tor", gpus=640),
    "server16": build("server16", gpus=64, aggs_per_plane=4),
}


@pytest.mark.parametrize("name", registry.FAMILIES)
def test_every_family_is_sound_at_its_full_size(name: str) -> None:
    assert check(build(name)) == []


@pytest.mark.parametrize("fabric", GOOD.values(), ids=GOOD)
def test_small_ones_are_sound(fabric: Fabric) -> None:
    assert check(fabric) == []


def _about(faults: list[Fault], *codes: str) -> set[str]:
    return {fault.where for fault in faults if not codes or fault.code in codes}


NETWORK = (LinkKind.ACCESS, LinkKind.FABRIC, LinkKind.CORE)
WRONG = ("wrong-plane", "wrong-rail", "wrong-segment", "wrong-pod", "wrong-switch")


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_any_one_mistake_is_found_and_named(data: st.DataObject) -> None:
    good = GOOD[data.draw(st.sampled_from(sorted(GOOD)))]
    wires = Wires(good)
    kinds = [kind for kind in NETWORK if wires.of(kind)]
    some = wires.of(data.draw(st.sampled_from(kinds)))
    one, other = (some[data.draw(st.integers(0, len(some) - 1))] for _ in range(2))
    mistake = data.draw(st.sampled_from(["swap", "drop", "duplicate"]))
    if mistake == "swap":
        moved = wires.a[one] != wires.a[other] and wires.b[one] != wires.b[other]
        wires.swap(one, other)
        faults = check(wires.fabric())
        names = {wires.name(one), wires.name(other)}
        if moved:
            assert names <= _about(faults, *WRONG, "duplicate")
        else:
            assert faults == []  # the same two cables, or parallel ones: nothing has changed
        return
    name = wires.name(one)
    if mistake == "drop":
        wires.drop(one)
        assert name in _about(check(wires.fabric()), "missing")
    else:
        wires.duplicate(one)
        assert name in _about(check(wires.fabric()), "duplicate")


def test_a_swap_between_planes_is_called_that() -> None:
    wires = Wires(GOOD["hpn7"])
    up = wires.of(LinkKind.FABRIC)
    wires.swap(up[0], up[4])  # tor-0 is plane 0, tor-1 plane 1
    faults = [fault for fault in check(wires.fabric()) if fault.code in WRONG]
    assert {fault.code for fault in faults} == {"wrong-plane"}
    assert {fault.where for fault in faults} == {"tor-0:agg-4", "tor-1:agg-0"}
    assert faults[0].fix == "move it from agg-4 to agg-0"
    assert "pod 0, plane 1" in faults[0].what


@pytest.mark.parametrize(("step", "code"), [(2, "wrong-rail"), (16 * 17, "wrong-segment")])
def test_a_swap_of_cards_is_called_by_the_first_border_it_crosses(step: int, code: str) -> None:
    wires = Wires(GOOD["hpn7"])
    access = wires.of(LinkKind.ACCESS)
    wires.swap(access[0], access[step])
    assert {fault.code for fault in check(wires.fabric()) if fault.code in WRONG} == {code}


def test_dropped_uplinks_are_counted_per_switch() -> None:
    wires = Wires(GOOD["dcn_plus"])
    wires.drop(wires.of(LinkKind.FABRIC)[0])
    ports = {fault.where: fault.what for fault in check(wires.fabric()) if fault.code == "ports"}
    assert ports == {
        "tor-0": "63 fabric ports in use; the blueprint has 64",
        "agg-0": "63 fabric ports in use; the blueprint has 64",
    }


def test_a_tier_that_lacks_uplinks_says_so_once() -> None:
    wires = Wires(GOOD["dcn_plus"])
    for _ in range(32):
        wires.drop(wires.of(LinkKind.FABRIC)[0])
    faults = [fault for fault in check(wires.fabric()) if fault.code == "oversubscribed"]
    assert [(fault.where, fault.what) for fault in faults] == [("tor", "1.05 : 1 down to up; the blueprint says 1 : 1")]
    wires = Wires(GOOD["dcn_plus"])
    wires.drop(wires.of(LinkKind.FABRIC)[0])
    assert not _about(check(wires.fabric()), "oversubscribed")


def test_a_slow_cable_and_an_uneven_one() -> None:
    fabric = GOOD["dcn_plus"]
    slow, uneven = fabric.find_link("tor-0:agg-1"), fabric.find_link("tor-0:agg-2#3")
    capacity = fabric.capacity.copy()
    capacity[[slow, fabric.reverse[slow]]] = 100 * GBIT
    capacity[uneven] = 200 * GBIT
    faults = check(msgspec.structs.replace(fabric, capacity=capacity))
    assert "tor-0:agg-1" in _about(faults, "wrong-speed")
    assert _about(faults, "uneven") == {"tor-0:agg-2#3"}


def test_a_card_without_cables() -> None:
    wires = Wires(GOOD["single_tor"])
    wires.drop(wires.of(LinkKind.ACCESS)[5])
    faults = check(wires.fabric())
    assert _about(faults, "unconnected") == {"nic-5"}
    assert _about(faults, "missing") == {"nic-5:tor-0"}


HAND = """\
fabric: custom
servers: {count: 4, gpus: 2, nics: 2}
switches: {tor: 2, agg: 1}
links:
  - {from: "nic-[0-3]", to: tor-0, gbps: 400}
  - {from: "nic-[4-7]", to: tor-1, gbps: 400}
  - {from: "tor-[0-1]", to: agg-0, gbps: 400}
"""


def _hand(text: str) -> list[Fault]:
    return check(custom.read(read_documents(text)[0], "net.yaml"))


def test_a_sound_network_by_hand() -> None:
    assert _hand(HAND) == []


def test_islands_are_named_by_their_first_gpu() -> None:
    faults = _hand(HAND.replace("tor-[0-1]", "tor-0"))
    assert [(fault.code, fault.where) for fault in faults] == [("island", "gpu-4")]
    assert "4 GPUs" in faults[0].what


def test_a_one_way_cable_joins_nothing() -> None:
    faults = _hand(HAND.replace("agg-0, gbps: 400", "agg-0, gbps: 400, one_way: true"))
    assert _about(faults, "one-way") == {"tor-0:agg-0", "tor-1:agg-0"}
    assert _about(faults, "island") == {"gpu-4"}


def test_ports_beyond_the_chip() -> None:
    faults = _hand(HAND.replace("to: agg-0, gbps: 400", "to: agg-0, gbps: 400, cables: 65"))
    assert [(fault.code, fault.where) for fault in faults] == [("overloaded", "agg-0")]
    assert "52,000 Gb/s on a chip of 51,200" in faults[0].what
    assert _about(check(build("fat_tree", k=4), chip_gbps=1_599), "overloaded")


def test_too_many_segments_for_one_plane_overload_the_aggs() -> None:
    faults = check(build("hpn7", planes=1, segments=15))
    assert {fault.code for fault in faults} == {"overloaded"}
    assert len(faults) == 60


def test_a_file_is_held_against_the_blueprint_it_should_follow() -> None:
    good = build("hpn7", gpus=64, aggs_per_plane=4)
    wires = Wires(good)
    up = wires.of(LinkKind.FABRIC)
    wires.swap(up[0], up[5])
    seen = simai.read(simai.write(wires.fabric()), "lldp")
    assert _about(check(seen, good), *WRONG) == {"tor-0:agg-5", "tor-1:agg-0"}
    assert check(simai.read(simai.write(good), "lldp"), good) == []


def test_other_counts_are_said_and_not_compared() -> None:
    faults = check(build("hpn7", gpus=64), build("hpn7", gpus=128))
    assert {fault.code for fault in faults} == {"counts"}
    assert "gpu" in _about(faults)


@pytest.mark.parametrize(
    ("kind", "step", "code"), [(LinkKind.FABRIC, 4, "wrong-plane"), (LinkKind.ACCESS, 2, "wrong-rail")]
)
def test_without_a_blueprint_the_odd_cable_out_is_named(kind: LinkKind, step: int, code: str) -> None:
    wires = Wires(build("hpn7", gpus=64, aggs_per_plane=4))
    some = wires.of(kind)
    wires.swap(some[0], some[step])
    found = simai.read(simai.write(wires.fabric()), "lldp")
    faults = check(found)
    assert {fault.code for fault in faults} == {code}
    assert {fault.where for fault in faults} == {wires.name(some[0]), wires.name(some[step])}
    assert not (found.traits.dual_plane and found.traits.rail_optimised)


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_many_mistakes_at_once_are_all_found(data: st.DataObject) -> None:
    """Swaps of distinct cables between distinct switches: each of them comes out as miswired, whatever else is wrong."""
    good = GOOD["hpn7"]
    wires = Wires(good)
    up = wires.of(LinkKind.FABRIC)
    chosen = data.draw(st.lists(st.sampled_from(up), min_size=2, max_size=8, unique=True))
    dropped = chosen.pop() if len(chosen) % 2 else None
    touched = set()
    for one, other in zip(chosen[::2], chosen[1::2], strict=True):
        wires.swap(one, other)
        touched |= {one, other}
    names = {wires.name(at): at for at in touched}
    before = {(good.src[link], good.dst[link]) for link in range(good.num_links)}
    wrong = {name for name, at in names.items() if (wires.a[at], wires.b[at]) not in before}
    if dropped is not None:
        wires.drop(dropped)
    assert wrong <= _about(check(wires.fabric()), *WRONG, "extra")


@settings(max_examples=30, deadline=None)
@given(tors=st.integers(1, 4), aggs=st.integers(1, 3), cables=st.integers(1, 3), servers=st.integers(1, 5))
def test_hand_written_networks_that_are_whole_are_sound(tors: int, aggs: int, cables: int, servers: int) -> None:
    text = (
        f"fabric: custom\nservers: {{count: {servers * tors}, gpus: 2, nics: 1}}\n"
        f"switches: {{tor: {tors}, agg: {aggs}}}\nlinks:\n"
    )
    for tor in range(tors):
        text += f'  - {{from: "nic-[{tor * servers}-{(tor + 1) * servers - 1}]", to: tor-{tor}, gbps: 400}}\n'
    text += f'  - {{from: "tor-[0-{tors - 1}]", to: "agg-[0-{aggs - 1}]", gbps: 400, cables: {cables}}}\n'
    assert _hand(text) == []
    missing = (
        text.replace('"nic-[0-', '"nic-[1-', 1)
        if servers > 1
        else text.replace('  - {from: "nic-[0-0]", to: tor-0, gbps: 400}\n', "")
    )
    assert "nic-0" in _about(_hand(missing), "unconnected")
