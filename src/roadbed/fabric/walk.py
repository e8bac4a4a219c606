"""Walks connections from switch to switch, one hop of all of them at a time.

At each switch a connection takes, of the equal-cost links towards its destination, the one its hash names. Connections
at the same switch with the same destination share one list of candidates, so the work is that of distinct lists plus a
gather per connection and hop.
"""

import numpy as np
import numpy.typing as npt

from roadbed.fabric.base import NOWHERE, Ints, Kind
from roadbed.fabric.hashing import HashModel, Words
from roadbed.fabric.routes import Routes

MAX_HOPS = 7
"""Card → ToR → Agg → Core → Agg → ToR → card is six links; a tier more would be seven."""
_CHUNK = 50_000
"""Connections walked at a time: their candidate lists stay within a few million entries."""


def walk(routes: Routes, model: HashModel, first: Ints, dst_nic: Ints, crc: Words) -> Ints:
    """[F, H] The links of connections that leave by ACCESS link `first`, ending at their destination; NOWHERE pads.
    All NOWHERE where the switches lose it: call it for reachable pairs (`Routes.slots`)."""
    parts = [
        _walk(routes, model, first[at : at + _CHUNK], dst_nic[at : at + _CHUNK], crc[at : at + _CHUNK])
        for at in range(0, len(first), _CHUNK)
    ]
    width = max((part.shape[1] for part in parts), default=1)
    out = np.full((len(first), width), NOWHERE, np.int32)
    for at, part in enumerate(parts):
        out[at * _CHUNK : at * _CHUNK + len(part), : part.shape[1]] = part
    return out


def _walk(routes: Routes, model: HashModel, first: Ints, dst_nic: Ints, crc: Words) -> Ints:
    fabric = routes.fabric
    group = routes.group(dst_nic)
    links = np.full((len(first), MAX_HOPS), NOWHERE, np.int32)
    links[:, 0] = first
    here = fabric.dst[first]
    moving = np.arange(len(first))
    for hop in range(1, MAX_HOPS):
        word = model.spread(crc[moving], here[moving], fabric.kind[here[moving]])
        arrived = routes.down[here[moving] - routes.first_switch, group[moving]] == 1
        last = moving[arrived]
        links[last, hop] = routes.last_links(here[last], dst_nic[last], word[arrived])
        moving, word = moving[~arrived], word[~arrived]
        if len(moving) == 0:
            return links[:, : hop + 1]
        taken = _next(routes, here[moving], group[moving], word)
        if fabric.traits.core_by_port:
            at_core = np.flatnonzero(fabric.kind[here[moving]] == Kind.CORE)
            some = moving[at_core]
            fixed = routes.fixed_egress(links[some, hop - 1], dst_nic[some], group[some])
            taken[at_core] = np.where(fixed != NOWHERE, fixed, taken[at_core])
        links[moving, hop] = taken
        stuck = taken == NOWHERE
        links[moving[stuck]] = NOWHERE
        moving, taken = moving[~stuck], taken[~stuck]
        here[moving] = fabric.dst[taken]
    links[moving] = NOWHERE
    return links


def _next(routes: Routes, switch: Ints, group: Ints, word: Words) -> Ints:
    """[F] The equal-cost next link each hash word names; NOWHERE where there is none."""
    num_groups = routes.down.shape[1]
    key = switch.astype(np.int64) * num_groups + group
    pairs, which = np.unique(key, return_inverse=True)
    start, link = routes.candidates((pairs // num_groups).astype(np.int32), (pairs % num_groups).astype(np.int32))
    num = np.diff(start)[which]
    at = start[which] + (word % np.maximum(num, 1).astype(np.uint32)).astype(np.int64)
    padded: npt.NDArray[np.int32] = np.append(link, np.int32(NOWHERE))
    return np.where(num > 0, padded[np.minimum(at, len(link))], NOWHERE).astype(np.int32)
