"""Which links lead towards a card: up–down routing as BGP computes it, for whole populations of connections at once.

Cards that hang on the same working ToRs are one destination (a group); there are as many as ToR pairs, not as many as
cards. For every switch and group two numbers suffice: hops going only down, and hops going up first. A next link is
equal-cost where its far end is one hop nearer; nothing ever goes up after it went down, so there are no loops.

A cable carries traffic only where both its directions work: a switch whose light comes back dark withdraws the route
(BFD does, LACP does). One-way links are kept aside by name instead of silently half used; `one_way=True` routes over
them all the same, to see what a network without such detection would lose.

A failure recomputes what it can touch: a card's link its own group, a ToR–Agg link that ToR's groups and row; only a
Core link recomputes all. The price is two tables of a byte per switch and group.
"""

from collections.abc import Iterable
from functools import cached_property

import numpy as np
import numpy.typing as npt

from roadbed.fabric.base import NOWHERE, Bools, Bytes8, Fabric, Health, Ints, Kind, LinkKind

FAR = 100
"""Hops to where no way leads."""
_CHUNK = 256
"""Groups whose distances are computed at a time: bounds the memory of a large fabric."""
_SWITCHES = (Kind.TOR, Kind.AGG, Kind.CORE)

Wide = npt.NDArray[np.int64]


class Links:
    """Links by node: a CSR of usable ones, and of their far ends."""

    def __init__(self, fabric: Fabric, links: Ints, num_nodes: int) -> None:
        order = np.argsort(_port_rank(fabric)[links])
        self.link = links[order].astype(np.int32)
        self.src = fabric.src[self.link]
        self.dst = fabric.dst[self.link]
        self.start = np.zeros(num_nodes + 1, np.int32)
        np.cumsum(np.bincount(self.src, minlength=num_nodes), out=self.start[1:])


class Routes:
    """Routes over what works of a fabric. Holds `health` by reference: after changing it, call `update`."""

    def __init__(self, fabric: Fabric, health: Health | None = None, *, one_way: bool = False) -> None:
        self.fabric = fabric
        self.health = health if health is not None else Health.of(fabric)
        self.route_one_way = one_way
        self.first_switch = int(np.searchsorted(fabric.kind, Kind.TOR))
        self.num_switches = fabric.num_nodes - self.first_switch
        self.first_nic = int(np.searchsorted(fabric.kind, Kind.NIC))
        self.num_nics = self.first_switch - self.first_nic
        self.ports = self._port_table()
        """[NIC, port] The ACCESS link by which a card sends; NOWHERE beyond its last port."""
        self.arrivals = np.where(self.ports == NOWHERE, NOWHERE, fabric.reverse[np.maximum(self.ports, 0)]).astype(
            np.int32
        )
        """[NIC, port] The one by which it receives there; NOWHERE where the cable goes one way."""
        self.usable = self._usable(np.arange(fabric.num_links))
        self._numbers: dict[tuple[int, ...], int] = {}
        self.nic_group = np.full(self.num_nics, NOWHERE, np.int32)
        self._members: list[tuple[int, ...]] = []
        self.down = np.zeros((self.num_switches, 0), np.int8)
        """[switch, group] Hops to a card of the group, going only down; FAR where that can't be."""
        self.up = np.zeros((self.num_switches, 0), np.int8)
        """[switch, group] The same, going up first where need be."""
        self._index_links()
        self._regroup(np.arange(self.num_nics))

    # what there is

    def _port_table(self) -> Ints:
        fabric = self.fabric
        mine = (fabric.link_kind == LinkKind.ACCESS) & (fabric.kind[fabric.src] == Kind.NIC)
        leaving = Links(fabric, np.flatnonzero(mine).astype(np.int32), fabric.num_nodes)
        counts = np.diff(leaving.start)[self.first_nic : self.first_switch]
        table = np.full((self.num_nics, max(1, int(counts.max(initial=0)))), NOWHERE, np.int32)
        slot = np.arange(len(leaving.link)) - leaving.start[leaving.src]
        table[leaving.src - self.first_nic, slot] = leaving.link
        return table

    def _usable(self, links: npt.NDArray[np.integer]) -> Bools:
        back = self.fabric.reverse[links]
        works = self._works(links)
        if self.route_one_way:
            return works
        both: Bools = works & (back != NOWHERE) & self._works(np.maximum(back, 0))
        return both

    def _works(self, links: npt.NDArray[np.integer]) -> Bools:
        works: Bools = self.health.link_up[links] & (self.health.capacity[links] > 0)
        return works

    def one_way(self) -> Ints:
        """Network links that work although their other direction does not (or is not there)."""
        fabric = self.fabric
        links = np.flatnonzero(fabric.link_kind >= LinkKind.ACCESS)
        back = fabric.reverse[links]
        lonely = self._works(links) & ((back == NOWHERE) | ~self._works(np.maximum(back, 0)))
        found: Ints = links[lonely].astype(np.int32)
        return found

    def _index_links(self) -> None:
        """The usable links between switches, upward and downward."""
        fabric = self.fabric
        links = np.flatnonzero(self.usable & (fabric.link_kind > LinkKind.ACCESS))
        rising = fabric.kind[fabric.dst[links]] > fabric.kind[fabric.src[links]]
        self.rising = Links(fabric, links[rising].astype(np.int32), fabric.num_nodes)
        self.falling = Links(fabric, links[~rising].astype(np.int32), fabric.num_nodes)

    # groups

    def _regroup(self, nics: npt.NDArray[np.integer]) -> None:
        """Puts these cards into the group of the ToRs they hang on now; computes distances to new groups."""
        table = self.arrivals[nics]
        alive = (table != NOWHERE) & self.usable[np.maximum(table, 0)]
        tors = np.where(alive, self.fabric.src[np.maximum(table, 0)], self.fabric.num_nodes).astype(np.int32)
        tors.sort(axis=1)
        rows, inverse = np.unique(tors, axis=0, return_inverse=True)
        numbers = np.empty(len(rows), np.int32)
        fresh = []
        for at, row in enumerate(rows.tolist()):
            members = tuple(dict.fromkeys(one for one in row if one < self.fabric.num_nodes))
            if not members:
                numbers[at] = NOWHERE
                continue
            if members not in self._numbers:
                self._numbers[members] = len(self._members)
                fresh.append(len(self._members))
                self._members.append(members)
            numbers[at] = self._numbers[members]
        self.nic_group[nics] = numbers[inverse.ravel()]
        if fresh:
            more = np.full((self.num_switches, len(fresh)), FAR, np.int8)
            self.down, self.up = np.hstack([self.down, more]), np.hstack([self.up, more])
            self._measure(np.array(fresh))

    def _measure(self, groups: npt.NDArray[np.integer]) -> None:
        """Distances of every switch to these groups."""
        for at in range(0, len(groups), _CHUNK):
            part = groups[at : at + _CHUNK]
            down = np.full((self.num_switches, len(part)), FAR, np.int8)
            for column, group in enumerate(part.tolist()):
                down[np.array(self._members[group]) - self.first_switch, column] = 1
            for kind in _SWITCHES[1:]:
                self._sink(down, down, self.falling, kind)
            up = down.copy()
            for kind in reversed(_SWITCHES[:-1]):
                self._sink(up, up, self.rising, kind)
            self.down[:, part], self.up[:, part] = down, up

    def _sink(self, table: Bytes8, source: Bytes8, links: Links, kind: Kind) -> None:
        """Lowers the distance of all switches of a kind to one more than that of their nearest neighbour."""
        mine = np.flatnonzero(self.fabric.kind[links.src] == kind)
        if len(mine) == 0:
            return
        src = links.src[mine]
        firsts = _firsts(src)
        near = np.minimum.reduceat(source[links.dst[mine] - self.first_switch], firsts, axis=0)
        rows = src[firsts] - self.first_switch
        table[rows] = np.minimum(table[rows], np.minimum(near + np.int8(1), np.int8(FAR)))

    # change

    def update(self, links: Iterable[int]) -> bool:
        """Takes in that these links (or their other directions) changed in `health`. Whether any route may differ."""
        fabric = self.fabric
        named = np.fromiter(links, np.int64)
        both = np.unique(np.concatenate([named, fabric.reverse[named][fabric.reverse[named] != NOWHERE]]))
        now = self._usable(both)
        changed = both[now != self.usable[both]]
        if len(changed) == 0:
            return False
        self.usable[changed] = self._usable(changed)
        kinds = fabric.link_kind[changed]
        if (kinds > LinkKind.ACCESS).any():
            self._index_links()
        if (kinds == LinkKind.CORE).any():
            self._measure(np.arange(len(self._members)))
        elif (kinds == LinkKind.FABRIC).any():
            self._update_tors(changed[kinds == LinkKind.FABRIC])
        ends = np.concatenate([fabric.src[changed], fabric.dst[changed]])[np.tile(kinds == LinkKind.ACCESS, 2)]
        cards = np.unique(ends[fabric.kind[ends] == Kind.NIC]) - self.first_nic
        if len(cards):
            self._regroup(cards)
        return True

    def _update_tors(self, links: Wide) -> None:
        """ToR–Agg links changed: distances to what hangs on those ToRs, and from those ToRs to everywhere."""
        ends = np.concatenate([self.fabric.src[links], self.fabric.dst[links]])
        tors = set(ends[self.fabric.kind[ends] == Kind.TOR].tolist())
        self._measure(np.array([at for at, one in enumerate(self._members) if tors.intersection(one)], np.int64))
        rows = np.array(sorted(tors)) - self.first_switch
        self.up[rows] = self.down[rows]
        for row in rows.tolist():
            node = row + self.first_switch
            near = self.rising.dst[self.rising.start[node] : self.rising.start[node + 1]] - self.first_switch
            if len(near):
                beyond = np.minimum(self.up[near].min(axis=0) + np.int8(1), np.int8(FAR))
                self.up[row] = np.minimum(self.up[row], beyond)

    # questions

    def group(self, nic: Ints) -> Ints:
        """[F] The destination group of each card (node); NOWHERE where no port of it works."""
        return self.nic_group[nic - self.first_nic]

    def slots(self, src_nic: Ints, dst_nic: Ints) -> Bools:
        """[F, port] By which ports of the source the destination can be reached at all."""
        table = self.ports[src_nic - self.first_nic]
        goal = self.group(dst_nic)
        link = np.maximum(table, 0)
        tor = np.maximum(self.fabric.dst[link] - self.first_switch, 0)
        if self.up.shape[1] == 0:
            return np.zeros(table.shape, bool)
        near = self.up[tor, np.maximum(goal, 0)[:, None]] < FAR
        found: Bools = (table != NOWHERE) & self.usable[link] & near & (goal != NOWHERE)[:, None]
        return found

    def candidates(self, switch: Ints, group: Ints) -> tuple[Ints, Ints]:
        """Equal-cost next links from each switch (node) towards each group, in port order: CSR (start [Q + 1], link).
        Empty where none leads there, and at ToRs the group hangs on."""
        here = switch - self.first_switch
        down = self.down[here, group]
        falls = down < FAR
        owner, link = np.zeros(0, np.int64), np.zeros(0, np.int32)
        falling = (self.falling, self.down, np.flatnonzero(falls))
        rising = (self.rising, self.up, np.flatnonzero(~falls))
        for links, table, rows in (falling, rising):
            first = links.start[switch[rows]]
            sizes = links.start[switch[rows] + 1] - first
            at = np.repeat(first - (np.cumsum(sizes) - sizes), sizes) + np.arange(int(sizes.sum()))
            goal = table[here[rows], group[rows]] - np.int8(1)
            who = np.repeat(rows, sizes)
            near = table[links.dst[at] - self.first_switch, group[who]] == np.repeat(goal, sizes)
            owner = np.concatenate([owner, who[near]])
            link = np.concatenate([link, links.link[at[near]]])
        order = np.argsort(owner, kind="stable")
        start = np.zeros(len(switch) + 1, np.int32)
        np.cumsum(np.bincount(owner, minlength=len(switch)), out=start[1:])
        return start, link[order]

    def last_links(self, tor: Ints, nic: Ints, word: npt.NDArray[np.uint32]) -> Ints:
        """[F] The link from a ToR to a card that hangs on it; of several cables, the one the hash word names."""
        table = self.arrivals[nic - self.first_nic]
        link = np.maximum(table, 0)
        fits = (table != NOWHERE) & self.usable[link] & (self.fabric.src[link] == tor[:, None])
        num = np.maximum(fits.sum(axis=1), 1).astype(np.uint32)
        nth = fits.cumsum(axis=1) == (word % num + 1)[:, None]
        slot = (fits & nth).argmax(axis=1)
        chosen: Ints = table[np.arange(len(nic)), slot]
        return chosen

    def fixed_egress(self, ingress: Ints, nic: Ints, group: Ints) -> Ints:
        """[F] Where a Core that forwards by port sends what came in on a link: the port of the same rank towards the
        card's pod. NOWHERE where that port leads there no more, and the Core must hash."""
        fabric = self.fabric
        links, first, rank = self._core_ports
        back = fabric.reverse[ingress]
        here = fabric.dst[ingress]
        pod = np.maximum(fabric.pod[nic], 0)
        cell = (here - self.first_switch).astype(np.int64) * self._num_pods + pod
        num = first[cell + 1] - first[cell]
        at = first[cell] + rank[np.maximum(back, 0)] % np.maximum(num, 1)
        out = links[np.minimum(at, len(links) - 1)]
        nearer = self.down[fabric.dst[out] - self.first_switch, group] + 1 == self.down[here - self.first_switch, group]
        fits = (num > 0) & (back != NOWHERE) & self.usable[out] & nearer
        return np.where(fits, out, NOWHERE).astype(np.int32)

    @cached_property
    def _num_pods(self) -> int:
        return int(self.fabric.pod.max(initial=0)) + 1

    @cached_property
    def _core_ports(self) -> tuple[Ints, Wide, Ints]:
        """Links leaving Cores by (Core, pod) and port, where each such cell begins, and each link's rank in its cell.
        Of the fabric as built: what is broken does not renumber ports."""
        fabric = self.fabric
        links = np.flatnonzero((fabric.link_kind == LinkKind.CORE) & (fabric.kind[fabric.src] == Kind.CORE))
        cell = (fabric.src[links] - self.first_switch).astype(np.int64) * self._num_pods
        cell += np.maximum(fabric.pod[fabric.dst[links]], 0)
        order = np.lexsort((_port_rank(fabric)[links], cell))
        links, cell = links[order], cell[order]
        first = np.searchsorted(cell, np.arange(self.num_switches * self._num_pods + 1))
        rank = np.zeros(fabric.num_links, np.int32)
        rank[links] = np.arange(len(links)) - first[cell]
        return links.astype(np.int32), first.astype(np.int64), rank


def _port_rank(fabric: Fabric) -> Ints:
    """[L] Where each link stands among those that leave its node."""
    rank = np.empty(fabric.num_links, np.int32)
    rank[fabric.out_links] = np.arange(fabric.num_links, dtype=np.int32)
    return rank


def _firsts(values: Ints) -> Wide:
    """Where runs of equal values begin."""
    return np.flatnonzero(np.diff(values, prepend=-1))
