"""Is the network wired as drawn? Every cable that is not where it belongs is named, with what to do about it.

A family's network has a blueprint: the same counts, built again. The two are compared cable by cable, so two swapped
fibres come out as two miswired ports, not as two missing links and two that should not be. What needs no blueprint is
checked for any network: one-way links, cards without a ToR, switches with more bandwidth than their chip, islands.

Switches are known by what hangs on them (`align`), so a discovered network may number them as it likes; servers and
cards are compared by number.
"""

from collections import defaultdict
from collections.abc import Iterator
from typing import Literal

import msgspec
import numpy as np

from roadbed.fabric import registry
from roadbed.fabric.align import align
from roadbed.fabric.base import GBIT, NOWHERE, Fabric, Ints, Kind, LinkKind
from roadbed.fabric.graph import components

CHIP_GBPS = 51_200
"""What one switch chip forwards; HPN 7.0 uses single-chip switches only, for they fail least."""
TOLERANCE = 0.01
"""A tier's oversubscription may be this share worse than drawn before it is a fault of its own, beside its cables."""

Code = Literal[
    "counts", "missing", "extra", "duplicate", "wrong-plane", "wrong-rail", "wrong-segment", "wrong-pod",
    "wrong-switch", "wrong-speed", "ports", "oversubscribed", "one-way", "uneven", "overloaded",
    "unconnected", "island",
]  # fmt: skip

_Ends = tuple[int, int]


class Fault(msgspec.Struct, frozen=True):
    """One thing that is not as it should be."""

    code: Code
    what: str
    where: str
    """Name of the node or link."""
    fix: str


def check(fabric: Fabric, blueprint: Fabric | None = None, *, chip_gbps: float = CHIP_GBPS) -> list[Fault]:
    """All faults, none if the network is sound. blueprint: what it should be; default: its family's, if it has one."""
    if blueprint is None and fabric.name in registry.FAMILIES:
        blueprint = registry.build(fabric.name, **fabric.parameters)
    found = [*_directions(fabric), *_overloaded(fabric, chip_gbps), *_unconnected(fabric), *_islands(fabric)]
    found += _coordinates(fabric) if blueprint is None else _against(fabric, blueprint)
    return found


def oversubscription(fabric: Fabric, kind: Kind) -> float:
    """Bandwidth of all switches of a tier towards the servers ÷ towards the tier above; 0.0 where nothing goes up."""
    mine = fabric.kind[fabric.src] == kind
    up = mine & (fabric.kind[fabric.dst] > kind)
    above = float(fabric.capacity[up].sum())
    return float(fabric.capacity[mine & ~up].sum()) / above if above else 0.0


def _directions(fabric: Fabric) -> Iterator[Fault]:
    for link in np.flatnonzero(fabric.reverse == NOWHERE).tolist():
        name = fabric.link_name(link)
        yield Fault("one-way", "carries traffic in one direction only", name, "clean or replace the transceiver")
    paired = np.flatnonzero(np.arange(fabric.num_links) < fabric.reverse)
    back = fabric.reverse[paired]
    for link in paired[fabric.capacity[paired] != fabric.capacity[back]].tolist():
        there, here = fabric.capacity[link] / GBIT, fabric.capacity[fabric.reverse[link]] / GBIT
        what = f"{there:g} Gb/s one way and {here:g} Gb/s the other"
        yield Fault("uneven", what, fabric.link_name(link), "retrain the link")


def _overloaded(fabric: Fabric, chip_gbps: float) -> Iterator[Fault]:
    total = np.bincount(fabric.src, weights=fabric.capacity, minlength=fabric.num_nodes) / GBIT
    for node in np.flatnonzero((fabric.kind >= Kind.TOR) & (total > chip_gbps * (1 + 1e-9))).tolist():
        what = f"ports of {total[node]:,.0f} Gb/s on a chip of {chip_gbps:,.0f}"
        yield Fault("overloaded", what, fabric.node_name(node), "take cables off, or split it over two switches")


def _unconnected(fabric: Fabric) -> Iterator[Fault]:
    access = fabric.src[fabric.link_kind == LinkKind.ACCESS]
    ports = np.bincount(access, minlength=fabric.num_nodes)
    if not fabric.nodes(Kind.TOR).size:
        return  # scale-up only
    for node in np.flatnonzero((fabric.kind == Kind.NIC) & (ports == 0)).tolist():
        what = f"card of server {fabric.server[node]} is on no ToR"
        yield Fault("unconnected", what, fabric.node_name(node), "cable its ports")


def _islands(fabric: Fabric) -> Iterator[Fault]:
    whole = fabric.reverse != NOWHERE
    label = components(fabric.num_nodes, fabric.src[whole], fabric.dst[whole])
    roots, sizes = np.unique(label[: fabric.num_gpus], return_counts=True)
    for root, size in sorted(zip(roots.tolist(), sizes.tolist(), strict=True), key=lambda one: -one[1])[1:]:
        what = f"{size:,} GPUs from here on can't reach the other {fabric.num_gpus - size:,}"
        yield Fault("island", what, fabric.node_name(root), "join its segment to the Aggs")


def _coordinates(fabric: Fabric) -> Iterator[Fault]:
    """Links between planes, rails, segments or pods that should not meet, where nobody says what should be."""
    once = (np.arange(fabric.num_links) < fabric.reverse) | (fabric.reverse == NOWHERE)
    links = np.flatnonzero(once & (fabric.link_kind >= LinkKind.ACCESS))
    for code, where in _PLACES:
        values: Ints = getattr(fabric, where)
        left, right = values[fabric.src[links]], values[fabric.dst[links]]
        bad = (left != right) & (left != NOWHERE) & (right != NOWHERE)
        for link in links[bad].tolist():
            what = f"joins {where} {values[fabric.src[link]]} and {where} {values[fabric.dst[link]]}"
            yield Fault(code, what, fabric.link_name(link), f"move one end to its own {where}")
        links = links[~bad]  # a link has one fault: the widest


_PLACES: tuple[tuple[Code, str], ...] = (
    ("wrong-pod", "pod"),
    ("wrong-segment", "segment"),
    ("wrong-plane", "plane"),
    ("wrong-rail", "rail"),
)


def _against(fabric: Fabric, drawn: Fabric) -> Iterator[Fault]:
    if fabric.num_nodes != drawn.num_nodes or (fabric.kind != drawn.kind).any():
        for kind in Kind:
            num, wanted = len(fabric.nodes(kind)), len(drawn.nodes(kind))
            if num != wanted:
                what = f"{num:,} of {wanted:,}"
                yield Fault("counts", what, kind.name.lower(), "compare with a blueprint of the same counts")
        return
    drawn = align(drawn, fabric)
    have, should = _Cables(fabric), _Cables(drawn)
    surplus, lacking = have.less(should), should.less(have)
    for end in (0, 1):
        moved, surplus, lacking = _moved(drawn, end, surplus, lacking)
        yield from moved
    yield from _left_over(drawn, should, surplus, lacking)
    yield from _speeds(fabric, have, should)
    yield from _ports(fabric, drawn)
    for kind in (Kind.TOR, Kind.AGG):
        is_, was = oversubscription(fabric, kind), oversubscription(drawn, kind)
        if is_ > was * (1 + TOLERANCE):
            what = f"{is_:.3g} : 1 down to up; the blueprint says {was:.3g} : 1"
            yield Fault("oversubscribed", what, kind.name.lower(), "cable the missing uplinks")


class _Cables:
    """Cables counted by their two ends."""

    def __init__(self, fabric: Fabric) -> None:
        low, high = np.minimum(fabric.src, fabric.dst), np.maximum(fabric.src, fabric.dst)
        once = (np.arange(fabric.num_links) < fabric.reverse) | (fabric.reverse == NOWHERE)
        key = low[once].astype(np.int64) * fabric.num_nodes + high[once]
        self.keys, first, self.num = np.unique(key, return_index=True, return_counts=True)
        self.capacity = fabric.capacity[once][first]
        self._nodes = fabric.num_nodes

    def less(self, other: "_Cables") -> list[_Ends]:
        """The ends of cables that are here and not there, as often as they are too many."""
        at = np.searchsorted(other.keys, self.keys)
        known = np.isin(self.keys, other.keys)
        there = np.zeros(len(self.keys), np.int64)
        there[known] = other.num[at[known]]
        more = np.repeat(self.keys, np.maximum(self.num - there, 0))
        return [(key // self._nodes, key % self._nodes) for key in more.tolist()]

    def has(self, ends: _Ends) -> bool:
        key = ends[0] * self._nodes + ends[1]
        at = int(np.searchsorted(self.keys, key))
        return at < len(self.keys) and int(self.keys[at]) == key


def _moved(
    drawn: Fabric, end: int, surplus: list[_Ends], lacking: list[_Ends]
) -> tuple[list[Fault], list[_Ends], list[_Ends]]:
    """Pairs a surplus cable with a missing one of the same lower (0) or upper (1) end; and what is left of both."""
    missing: dict[int, list[_Ends]] = defaultdict(list)
    for ends in lacking:
        missing[ends[end]].append(ends)
    faults, rest = [], []
    for ends in surplus:
        if not missing[ends[end]]:
            rest.append(ends)
            continue
        fixed, wrong, wanted = ends[end], ends[1 - end], missing[ends[end]].pop()[1 - end]
        name = f"{drawn.node_name(ends[0])}:{drawn.node_name(ends[1])}"
        what = f"{drawn.node_name(fixed)}'s cable ends at {_place(drawn, wrong)}, not at {_place(drawn, wanted)}"
        fix = f"move it from {drawn.node_name(wrong)} to {drawn.node_name(wanted)}"
        faults.append(Fault(_code(drawn, wrong, wanted), what, name, fix))
    return faults, rest, [ends for left in missing.values() for ends in left]


def _left_over(drawn: Fabric, should: _Cables, surplus: list[_Ends], lacking: list[_Ends]) -> Iterator[Fault]:
    for a, b in surplus:
        name = f"{drawn.node_name(a)}:{drawn.node_name(b)}"
        if should.has((a, b)):
            yield Fault("duplicate", "one cable more than the blueprint has between the two", name, "remove one")
        else:
            yield Fault("extra", "a cable the blueprint does not have", name, "remove it")
    for a, b in lacking:
        name = f"{drawn.node_name(a)}:{drawn.node_name(b)}"
        yield Fault("missing", "a cable of the blueprint is not there", name, "cable it")


def _speeds(fabric: Fabric, have: _Cables, should: _Cables) -> Iterator[Fault]:
    """Cables only: what joins the devices of a server is no matter of cabling."""
    both, mine, theirs = np.intersect1d(have.keys, should.keys, return_indices=True)
    network = fabric.kind[both % fabric.num_nodes] >= Kind.TOR
    for at in np.flatnonzero(network & (have.capacity[mine] != should.capacity[theirs])).tolist():
        a, b = divmod(int(both[at]), fabric.num_nodes)
        is_, was = have.capacity[mine][at] / GBIT, should.capacity[theirs][at] / GBIT
        name = f"{fabric.node_name(a)}:{fabric.node_name(b)}"
        yield Fault("wrong-speed", f"{is_:g} Gb/s; the blueprint says {was:g}", name, "retrain or replace it")


def _ports(fabric: Fabric, drawn: Fabric) -> Iterator[Fault]:
    """Switches whose number of ports in use is not the blueprint's."""
    for kind in LinkKind:
        have = np.bincount(fabric.src[fabric.link_kind == kind], minlength=fabric.num_nodes)
        should = np.bincount(drawn.src[drawn.link_kind == kind], minlength=fabric.num_nodes)
        for node in np.flatnonzero((fabric.kind >= Kind.TOR) & (have != should)).tolist():
            what = f"{have[node]} {kind.name.lower()} ports in use; the blueprint has {should[node]}"
            yield Fault("ports", what, fabric.node_name(node), "see the cables named with it")


def _code(drawn: Fabric, wrong: int, wanted: int) -> Code:
    for code, where in _PLACES:
        values: Ints = getattr(drawn, where)
        if values[wrong] != values[wanted]:
            return code
    return "wrong-switch"


def _place(fabric: Fabric, node: int) -> str:
    words = [f"{where} {value}" for _, where in _PLACES if (value := int(getattr(fabric, where)[node])) != NOWHERE]
    return f"{fabric.node_name(node)} ({', '.join(words)})" if words else fabric.node_name(node)
