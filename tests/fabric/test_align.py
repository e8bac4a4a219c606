"""Switches are recognised by what hangs on them, not by their number."""

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from roadbed.fabric import simai
from roadbed.fabric.align import align
from roadbed.fabric.base import Fabric, Ints, Kind, LinkKind
from roadbed.fabric.blueprint import check
from roadbed.fabric.registry import build
from tests.fabric.rewire import Wires

GOOD = {
    "hpn7": build("hpn7", gpus=1_088, active_servers=17, aggs_per_plane=4, pods=2, segments=4),
    "dcn_plus": build("dcn_plus", gpus=448),
    "rail_only": build("rail_only", gpus=512, active_servers=16, aggs_per_plane=3),
    "spectrum_x": build("spectrum_x", gpus=1_024, spines=5),
    "fat_tree": build("fat_tree", k=8, gpus_per_server=2, nics_per_server=2),
}


def _renumbered(fabric: Fabric, name: Ints) -> Fabric:
    """The same network, node n called name[n]."""
    wires = Wires(fabric)
    wires.a = name[np.array(wires.a)].tolist()
    wires.b = name[np.array(wires.b)].tolist()
    places = {}
    for where in ("server", "rail", "segment", "pod", "plane"):
        places[where] = np.empty_like(getattr(fabric, where))
        places[where][name] = getattr(fabric, where)
    return msgspec.structs.replace(wires.fabric(), **places)


def _shuffle(fabric: Fabric, seed: int) -> Ints:
    """ToRs in any order; Aggs and Cores keep the order among equals, which only their number tells apart."""
    name = np.arange(fabric.num_nodes, dtype=np.int32)
    order = np.random.default_rng(seed)
    tors = fabric.nodes(Kind.TOR)
    name[tors] = order.permutation(tors)
    aggs = fabric.nodes(Kind.AGG)
    groups = np.stack([fabric.pod[aggs], fabric.plane[aggs], fabric.rail[aggs]])
    drawn = order.permutation(len(np.unique(groups, axis=1).T))
    group = np.unique(groups, axis=1, return_inverse=True)[1].reshape(-1)
    name[aggs[np.lexsort((aggs, drawn[group]))]] = aggs
    return name


@settings(max_examples=30, deadline=None)
@given(which=st.sampled_from(sorted(GOOD)), seed=st.integers(0, 1_000))
def test_any_numbering_of_a_sound_network_is_sound(which: str, seed: int) -> None:
    good = GOOD[which]
    assert check(_renumbered(good, _shuffle(good, seed)), good) == []


@settings(max_examples=30, deadline=None)
@given(st.data())
def test_a_swap_is_named_in_the_numbering_of_what_was_found(data: st.DataObject) -> None:
    good = GOOD[data.draw(st.sampled_from(["hpn7", "dcn_plus"]))]
    found = _renumbered(good, _shuffle(good, data.draw(st.integers(0, 1_000))))
    wires = Wires(found)
    some = wires.of(data.draw(st.sampled_from([LinkKind.ACCESS, LinkKind.FABRIC])))
    one, other = (some[data.draw(st.integers(0, len(some) - 1))] for _ in range(2))
    if wires.a[one] == wires.a[other] or wires.b[one] == wires.b[other]:
        return
    wires.swap(one, other)
    where = {fault.where for fault in check(wires.fabric(), good)}
    assert {wires.name(one), wires.name(other)} <= where


def test_a_generated_file_lists_planes_one_after_the_other() -> None:
    """SimAI numbers all first ToRs, then all second ones; ours come in pairs."""
    good = build("hpn7", gpus=2_048, chip="H100")
    name = np.arange(good.num_nodes, dtype=np.int32)
    tors = good.nodes(Kind.TOR)
    name[tors[np.lexsort((tors, good.plane[tors]))]] = tors
    lines = simai.write(_renumbered(good, name))
    found = simai.read(lines, "AlibabaHPN_2048g")
    assert check(found, good) == []
    assert found.plane[found.nodes(Kind.TOR)].tolist() == [0] * 16 + [1] * 16


def test_coordinates_move_with_the_switch() -> None:
    good = GOOD["hpn7"]
    name = _shuffle(good, 3)
    moved = align(good, _renumbered(good, name))
    tors = good.nodes(Kind.TOR)
    assert (moved.segment[name[tors]] == good.segment[tors]).all()
    assert (moved.rail[name[tors]] == good.rail[tors]).all()


@pytest.mark.parametrize("which", GOOD)
def test_the_same_numbers_stay(which: str) -> None:
    good = GOOD[which]
    moved = align(good, good)
    assert (moved.src == good.src).all()
    assert (moved.plane == good.plane).all()
