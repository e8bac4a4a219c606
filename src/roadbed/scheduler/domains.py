"""What free capacity of a domain is worth to the gangs that are expected: fragmentation, extended up the tree.

A gang of S devices that must lie in one domain uses a domain's A free devices in whole multiples of S, so A mod S of
them are a fragment to it. With shares p_g of the gangs that need this tier (too large for one domain of the tier
below), f_t(A) = Σ_g p_g (A mod S_g). Placing d devices somewhere costs Σ_tiers f_t(A − d) − f_t(A) over the domain
and all that hold it. Small jobs are thereby drawn to segments nothing large fits in any more, and whole segments stay
whole. The device-level counterpart is fragment.py.
"""

from collections.abc import Sequence

import numpy as np

from roadbed.scheduler.state import Ints, State
from roadbed.scheduler.tree import CLUSTER, SERVER, Tree


class DomainValue:
    """gangs: (devices, share) of the expected gangs; none: powers of two, each half as often as the one before."""

    def __init__(self, tree: Tree, gangs: Sequence[tuple[int, float]], num_devices: Ints | None = None) -> None:
        self.tree = tree
        self._position = -1
        devices = np.ones(len(tree.of[SERVER]), np.int64) if num_devices is None else num_devices
        self.free: list[Ints] = []
        self._tables = self._make_tables(devices, gangs)

    def order(self, state: State, tier: int, domains: Ints, amount: Ints, need: int) -> Ints:
        """Indices into `domains`, least value lost first; then the fullest domain, in the fullest parent."""
        self._follow(state)
        parents = domains if tier == CLUSTER else self.tree.parent[tier][domains]
        around = self.free[min(tier + 1, CLUSTER)][parents]
        return np.lexsort((around, amount, np.round(self._loss(tier, domains, need), 6)))

    def cheapest(self, state: State, nodes: Ints, need: int) -> int:
        """The node whose taking loses least up the tree; the first of equals in the fullest segment."""
        self._follow(state)
        loss = np.round(self._loss(SERVER, nodes, need), 6)
        around = self.free[SERVER + 2][self.tree.of[SERVER + 2][nodes]]
        best = np.flatnonzero(loss == loss.min())
        return int(nodes[best[np.argmin(around[best])]])

    def _loss(self, tier: int, domains: Ints, need: int) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
        loss = np.zeros(len(domains))
        at = domains
        for level in range(tier, CLUSTER + 1):
            table, free = self._tables[level], self.free[level][at]
            loss += table[np.maximum(free - need, 0)] - table[free]
            if level < CLUSTER:
                at = self.tree.parent[level][at]
        return loss

    def _make_tables(
        self, devices: Ints, gangs: Sequence[tuple[int, float]]
    ) -> list[np.ndarray[tuple[int], np.dtype[np.float64]]]:
        sums = [devices]
        for tier in range(CLUSTER):
            sums.append(self.tree.up(tier, sums[tier]))
        largest = [int(each.max(initial=0)) for each in sums]
        expected = list(gangs) or [(1 << power, 0.5**power) for power in range(max(1, largest[CLUSTER]).bit_length())]
        tables = []
        for tier in range(CLUSTER + 1):
            below = largest[tier - 1] if tier else 0
            here = [(size, share) for size, share in expected if below < size <= largest[tier]]
            total = sum(share for _, share in here) or 1.0
            free = np.arange(largest[tier] + 1)
            table = np.zeros(len(free))
            for size, share in here:
                table += share / total * (free % size)
            tables.append(table)
        return tables

    def _follow(self, state: State) -> None:
        """Brings the free whole devices of every domain up to date; O(nodes changed)."""
        changed, self._position = state.changed_since(self._position)
        if changed is None or not self.free:
            self.free = [state.whole.copy()]
            for tier in range(CLUSTER):
                self.free.append(self.tree.up(tier, self.free[tier]))
            return
        if not len(changed):
            return
        delta = state.whole[changed] - self.free[SERVER][changed]
        for tier in range(CLUSTER + 1):
            np.add.at(self.free[tier], self.tree.of[tier][changed], delta)
