"""From cables to coordinates: what a network that is given link by link looks like from above.

Hand-written networks and SimAI's files say which switch is cabled to which, not which are a segment, a pod or a plane;
routing, drawing and checking want to know. A segment is what hangs together below the Aggs, a pod below the Cores; a
ToR's plane is which port of its cards it is, a switch above is of a plane (or rail) if most below it are. Traits are
strict: one cable across planes and the network is no longer one of planes, though `check` can say which cable that is.
"""

from typing import Any

import msgspec
import numpy as np

from roadbed.fabric.base import NOWHERE, Bools, Builder, Bytes8, Fabric, Floats, Ints, Kind, LinkKind, Traits
from roadbed.fabric.graph import components, numbered

MOSTLY = 0.75
"""Of a switch's cables must agree on a coordinate for the switch to have it: the others are miswired, then."""


class Parts(msgspec.Struct, frozen=True, kw_only=True):
    """A network link by link. Nodes are numbered GPUs, scale-up switches, cards, ToRs, Aggs, Cores."""

    name: str
    parameters: dict[str, Any]
    chip: str
    gpus_per_server: int
    gpu_server: Ints
    """[GPUs]"""
    hub_server: Ints
    """[scale-up switches]"""
    card_server: Ints
    """[cards]"""
    gpu_card: Ints
    """[GPUs] Number of its card among cards."""
    num_tors: int
    num_aggs: int
    num_cores: int
    a: Ints
    """[cables] The lower end, by tier."""
    b: Ints
    kind: Bytes8
    """[cables] LinkKind."""
    capacity: Floats
    latency_s: Floats
    both_ways: Bools

    def first(self, kind: Kind) -> int:
        """Number of the first node of a kind."""
        return int(sum(self.counts[:kind]))

    @property
    def counts(self) -> tuple[int, ...]:
        """How many nodes of each Kind."""
        return (
            len(self.gpu_server),
            len(self.hub_server),
            len(self.card_server),
            self.num_tors,
            self.num_aggs,
            self.num_cores,
        )


def assemble(parts: Parts) -> Fabric:
    """The fabric, with coordinates read off the cables."""
    seen = _Survey(parts)
    builder = Builder()
    for kind, num in zip(Kind, parts.counts, strict=True):
        span = slice(parts.first(kind), parts.first(kind) + num)
        builder.add_nodes(kind, num, **{name: values[span] for name, values in seen.where.items()})
    ports = np.lexsort((np.arange(len(parts.a)), parts.kind))
    for both in (True, False):
        some = ports[parts.both_ways[ports] == both]
        for kind_of in LinkKind:
            mine = some[parts.kind[some] == kind_of]
            if len(mine):
                builder.join(
                    parts.a[mine], parts.b[mine], kind_of, parts.capacity[mine], parts.latency_s[mine], both_ways=both
                )
    gpu_scale_up = np.full(len(parts.gpu_server), NOWHERE, np.int32)
    up = parts.kind == LinkKind.SCALE_UP
    gpu_scale_up[parts.a[up]] = parts.b[up]
    return builder.freeze(
        name=parts.name,
        parameters=parts.parameters,
        traits=seen.traits(bool(up.any())),
        chip=parts.chip,
        gpus_per_server=parts.gpus_per_server,
        gpu_nic=(parts.first(Kind.NIC) + parts.gpu_card).astype(np.int32),
        gpu_scale_up=gpu_scale_up,
    )


class _Survey:
    """Coordinates of every node, tier by tier from below."""

    def __init__(self, parts: Parts) -> None:
        self.parts = parts
        self.num = sum(parts.counts)
        self.kinds = np.repeat(np.arange(len(Kind)), parts.counts)
        self.where = {
            name: np.full(self.num, NOWHERE, np.int32) for name in ("server", "rail", "segment", "pod", "plane")
        }
        self.rail_optimised = False
        self._hosts()
        self._tors()
        self._areas()
        self.planes = self._inherit("plane")
        self.rails = self._inherit("rail")

    def traits(self, scale_up: bool) -> Traits:
        return Traits(
            dual_tor=self.dual_tor,
            dual_plane=self.dual_tor and self.planes,
            rail_optimised=self.rail_optimised,
            rail_only=self.rail_optimised and (self.rails or not self.parts.num_aggs),
            scale_up_routes=scale_up,
        )

    def _hosts(self) -> None:
        parts, server, rail = self.parts, self.where["server"], self.where["rail"]
        for kind, of in (
            (Kind.GPU, parts.gpu_server),
            (Kind.SCALE_UP, parts.hub_server),
            (Kind.NIC, parts.card_server),
        ):
            server[parts.first(kind) : parts.first(kind) + len(of)] = of
        card_rail = place_within(parts.card_server)
        at = parts.first(Kind.NIC)
        rail[at : at + len(card_rail)] = card_rail
        rail[: len(parts.gpu_card)] = card_rail[parts.gpu_card]

    def _tors(self) -> None:
        """Plane: which of its cards' ToRs it is. Rail: its cards', where they agree."""
        parts = self.parts
        access = parts.kind == LinkKind.ACCESS
        pairs = np.unique(np.stack([parts.a[access], parts.b[access]], axis=1), axis=0, return_index=True)
        card, tor = pairs[0].T if len(pairs[0]) else (np.zeros(0, np.int32),) * 2
        order = np.lexsort((pairs[1], card))  # as cabled, not by number
        card, tor = card[order], tor[order]
        port = place_within(card)
        self.dual_tor = bool(port.max(initial=0) > 0)
        if self.dual_tor:
            first = np.full(self.num, np.iinfo(np.int32).max, np.int32)
            np.minimum.at(first, tor, port)
            plane = _mostly(self.num, tor, port)
            self.where["plane"][tor] = np.where(plane != NOWHERE, plane, first)[tor]
        rail = self.where["rail"]
        if rail.max(initial=0) > 0:
            used = np.unique(tor)
            self.rail_optimised = bool((_agreed(self.num, tor, rail[card])[used] != NOWHERE).all()) and len(used) > 0
            rail[used] = _mostly(self.num, tor, rail[card])[used]

    def _areas(self) -> None:
        """Segments and pods: what hangs together below the Aggs, below the Cores."""
        parts = self.parts
        server = self.where["server"]
        housed = np.flatnonzero(server != NOWHERE)
        house = np.full(self.num, NOWHERE, np.int32)
        np.maximum.at(house, server[housed], housed)  # one node stands for its server
        same_a, same_b = housed, house[server[housed]]
        low = parts.kind <= LinkKind.ACCESS
        for name, cables, top in (("segment", low, Kind.TOR), ("pod", parts.kind <= LinkKind.FABRIC, Kind.AGG)):
            label = components(
                self.num, np.concatenate([same_a, parts.a[cables]]), np.concatenate([same_b, parts.b[cables]])
            )
            inside = self.kinds <= top
            self.where[name][inside] = numbered(label[inside])

    def _inherit(self, name: str) -> bool:
        """Aggs and Cores take the plane (rail) of most below them; True if every Agg has it of all."""
        values = self.where[name]
        parts = self.parts
        whole = False
        for kind, tier in ((LinkKind.FABRIC, Kind.AGG), (LinkKind.CORE, Kind.CORE)):
            cables = (parts.kind == kind) & (values[parts.a] != NOWHERE)  # an idle ToR says nothing
            mine = np.unique(parts.b[cables])
            values[mine] = _mostly(self.num, parts.b[cables], values[parts.a[cables]])[mine]
            if tier == Kind.AGG:
                agreed = _agreed(self.num, parts.b[cables], values[parts.a[cables]])
                whole = len(mine) > 0 and not bool((agreed[mine] == NOWHERE).any())
        return whole


def place_within(group: Ints) -> Ints:
    """[n] How many earlier entries are of the same group."""
    order = np.argsort(group, kind="stable")
    ordered = group[order]
    starts = np.flatnonzero(np.r_[True, ordered[1:] != ordered[:-1]]) if len(group) else np.zeros(0, np.int64)
    place = np.empty(len(group), np.int32)
    sizes = np.diff(np.r_[starts, len(group)])
    place[order] = np.arange(len(group)) - np.repeat(starts, sizes)
    return place


def _mostly(num: int, at: Ints, value: Ints) -> Ints:
    """[num] The value that most entries at a node have (MOSTLY of them); NOWHERE where none has."""
    found = np.full(num, NOWHERE, np.int32)
    if not len(at):
        return found
    pairs, counts = np.unique(np.stack([at, value]), axis=1, return_counts=True)
    total = np.bincount(at, minlength=num)
    enough = counts >= MOSTLY * total[pairs[0]]
    found[pairs[0][enough]] = pairs[1][enough]
    return found


def _agreed(num: int, at: Ints, value: Ints) -> Ints:
    """[num] The value all entries at a node share; NOWHERE where they differ or there is none."""
    low = np.full(num, np.iinfo(np.int32).max, np.int32)
    high = np.full(num, NOWHERE, np.int32)
    np.minimum.at(low, at, value)
    np.maximum.at(high, at, value)
    return np.where(low == high, high, NOWHERE).astype(np.int32)
