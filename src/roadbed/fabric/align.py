"""Which switch of a discovered network is which of its blueprint's, whatever either numbers them by.

Servers keep their numbers; a ToR is known by the company it keeps: the segment, rail and port of most of its cards. An
Agg is known by the pod, plane and rail of most of its ToRs, a Core by those of most of its Aggs. A few miswired cables
change no majority, so they come out as miswired and not as other switches. Equals are matched in order of number.
"""

from collections import defaultdict

import msgspec
import numpy as np

from roadbed.fabric.base import NOWHERE, Fabric, Ints, Kind, LinkKind
from roadbed.fabric.topology.assemble import place_within

_Keys = np.ndarray[tuple[int, ...], np.dtype[np.int64]]


def align(drawn: Fabric, found: Fabric) -> Fabric:
    """The blueprint with its switches numbered as in `found`, for comparing; both have equally many of each kind.

    Only nodes, ends of links and coordinates are valid in what is returned: its CSR is still the blueprint's.
    """
    same = np.arange(drawn.num_nodes, dtype=np.int32)
    name = same.copy()
    """[nodes of drawn] Its number in found."""
    for kind, link in ((Kind.TOR, LinkKind.ACCESS), (Kind.AGG, LinkKind.FABRIC), (Kind.CORE, LinkKind.CORE)):
        nodes = drawn.nodes(kind)
        if len(nodes):
            here = _signatures(drawn, drawn, same, kind, link, None)
            back = np.empty_like(name)
            back[name] = same
            there = _signatures(found, drawn, back, kind, link, here)
            name[nodes] = _matched(nodes, here[nodes], there[nodes])
    places = {}
    for where in ("server", "rail", "segment", "pod", "plane"):
        values: Ints = getattr(drawn, where)
        places[where] = np.empty_like(values)
        places[where][name] = values
    return msgspec.structs.replace(drawn, src=name[drawn.src], dst=name[drawn.dst], index=found.index, **places)


def _signatures(fabric: Fabric, drawn: Fabric, back: Ints, kind: Kind, link: LinkKind, usual: _Keys | None) -> _Keys:
    """[N] What most of the nodes below a switch have in common, as one number; -1 where nothing is below.

    back: blueprint's number of each node below. usual: what a node of that number should have; it wins a tie.
    """
    links = np.flatnonzero((fabric.link_kind == link) & (fabric.kind[fabric.src] < fabric.kind[fabric.dst]))
    links = links[np.argsort(fabric.src[links], kind="stable")]
    below, above = back[fabric.src[links]], fabric.dst[links]
    parts = [drawn.pod[below], _if(drawn, kind, "rail", below), _if(drawn, kind, "segment", below)]
    if kind == Kind.TOR:
        parts.append(
            place_within(fabric.src[links]) if (drawn.plane[drawn.nodes(kind)] != NOWHERE).any() else below * 0
        )
    else:
        parts.append(_if(drawn, kind, "plane", below))
    if kind == Kind.CORE:
        parts[0] = below * 0
    key = np.zeros(len(links), np.int64)
    for part in parts:
        key = key * (1 << 15) + (part.astype(np.int64) + 1)
    pairs, num = np.unique(np.stack([above.astype(np.int64), key]), axis=1, return_counts=True)
    weight = num.astype(np.float64)
    if usual is not None:
        weight += 0.5 * (usual[pairs[0]] == pairs[1])
    order = np.lexsort((weight, pairs[0]))  # the heaviest of a node comes last, and stays
    found = np.full(fabric.num_nodes, -1, np.int64)
    found[pairs[0][order]] = pairs[1][order]
    return found


def _if(drawn: Fabric, kind: Kind, where: str, below: Ints) -> Ints:
    """The coordinate of nodes below, where switches of this kind have it; else nothing to tell them apart by."""
    values: Ints = getattr(drawn, where)
    return values[below] if (values[drawn.nodes(kind)] != NOWHERE).any() else below * 0


def _matched(nodes: Ints, here: _Keys, there: _Keys) -> Ints:
    """For each switch of the blueprint the one found with its signature; those left over in order of number."""
    waiting: dict[int, list[int]] = defaultdict(list)
    for node, key in zip(nodes.tolist(), there.tolist(), strict=True):
        waiting[key].append(node)
    for same in waiting.values():
        same.reverse()
    found = [waiting[key].pop() if waiting[key] else NOWHERE for key in here.tolist()]
    rest = iter(sorted(node for same in waiting.values() for node in same))
    return np.array([next(rest) if node == NOWHERE else node for node in found], np.int32)
