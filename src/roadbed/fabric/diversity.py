"""How many ways there are from one card to another: what a sender has to choose from, and switches have to hash over.

Once a card's port is chosen, the traffic enters one ToR; counted are the shortest paths from there to the other card.
For HPN 7.0 within a pod that is 60, the number of the ToR's uplinks, because an Agg of a plane has one cable to the
ToR that has the other card. For three-tier networks it is a product over tiers (HPN, table 1).
"""

import msgspec
import numpy as np

from roadbed.fabric.base import Fabric, Floats, Ints, Kind, LinkKind

MAX_HOPS = 8


class Diversity(msgspec.Struct, frozen=True, kw_only=True):
    """Shortest paths beyond the first ToR, between two cards of one rail; 0 where there is no such pair."""

    same_segment: int
    cross_segment: int
    cross_pod: int


def diversity(fabric: Fabric) -> Diversity:
    """Of cards of the first server's first rail and the nearest of each kind of neighbour."""
    nics = fabric.nodes(Kind.NIC)
    first = nics[0]
    alike = nics[(fabric.rail[nics] == fabric.rail[first]) & (fabric.server[nics] != fabric.server[first])]
    segment, pod = fabric.segment[alike] == fabric.segment[first], fabric.pod[alike] == fabric.pod[first]
    found = [
        num_paths(fabric, int(first), int(alike[some][0])) if some.any() else 0
        for some in (segment, pod & ~segment, ~pod)
    ]
    return Diversity(same_segment=found[0], cross_segment=found[1], cross_pod=found[2])


def num_paths(fabric: Fabric, a: int, b: int) -> int:
    """Shortest paths from a ToR of card a (the one with most) to card b; 0 if switches do not lead there."""
    kind = fabric.link_kind
    usable = np.flatnonzero((kind >= LinkKind.FABRIC) | ((kind == LinkKind.ACCESS) & (fabric.dst == b)))
    src, dst = fabric.src[usable], fabric.dst[usable]
    leaving = fabric.leaving(a)
    tors = fabric.dst[leaving[kind[leaving] == LinkKind.ACCESS]]
    return max((_from(fabric.num_nodes, src, dst, int(tor), b) for tor in np.unique(tors)), default=0)


def _from(num: int, src: Ints, dst: Ints, tor: int, b: int) -> int:
    ways: Floats = np.zeros(num)
    seen = np.zeros(num, bool)
    ways[tor], seen[tor] = 1, True
    for _ in range(MAX_HOPS):
        ways = np.bincount(dst, weights=ways[src], minlength=num).astype(np.float64)
        ways[seen] = 0
        if ways[b] or not ways.any():
            return int(ways[b])
        seen |= ways > 0
    return 0
