"""The topology as nested partitions of the nodes: server ⊂ scale-up island ⊂ segment ⊂ pod ⊂ cluster.

Sums per domain are one `bincount`, so the room of every domain of a hundred thousand accelerators is known in a
millisecond. Scale-up islands *inside* a server (a 16-device server of 2 × 8) are a matter of its devices, see room.py.
"""

from collections.abc import Sequence

import numpy as np

from roadbed.scheduler.base import Level
from roadbed.scheduler.state import Ints
from roadbed.spec.inventory import NodeInfo

SERVER, ISLAND, SEGMENT, POD, CLUSTER = range(5)
TIERS: dict[Level, int] = {"server": SERVER, "island": ISLAND, "segment": SEGMENT, "pod": POD}
TIER_NAMES = ("server", "island", "segment", "pod", "cluster")


class Tree:
    """Domain ids per tier. `of[t][n]`: the domain of node n in tier t. A node without a wider island is its own."""

    def __init__(self, nodes: Sequence[NodeInfo]) -> None:
        islands = [("island", node.pod, node.segment, node.island) if node.island else node.name for node in nodes]
        segments = [(node.pod, node.segment) for node in nodes]
        keys: list[Sequence[object]] = [range(len(nodes)), islands, segments, [node.pod for node in nodes]]
        self.of: list[Ints] = [_ids(column) for column in keys] + [np.zeros(len(nodes), np.int64)]
        self.num: list[int] = [int(ids.max()) + 1 if len(ids) else 0 for ids in self.of]
        self.members: list[list[Ints]] = [_groups(ids, num) for ids, num in zip(self.of, self.num, strict=True)]
        # parent[t][d]: the domain of tier t+1 that holds domain d of tier t; children[t+1][d]: the other way round.
        self.parent: list[Ints] = [
            np.array([self.of[tier + 1][group[0]] for group in self.members[tier]], np.int64) for tier in range(CLUSTER)
        ]
        self.children: list[list[Ints]] = [[]] + [
            _groups(self.parent[tier], self.num[tier + 1]) for tier in range(CLUSTER)
        ]
        self.flat = self.num[SEGMENT] <= 1 and self.num[ISLAND] == len(nodes)

    def up(self, tier: int, amounts: Ints) -> Ints:
        """Sums of a tier's domains in the tier above. int64[num[tier + 1]]."""
        sums: Ints = np.bincount(self.parent[tier], weights=amounts, minlength=self.num[tier + 1]).astype(np.int64)
        return sums


def _ids(keys: Sequence[object]) -> Ints:
    code: dict[object, int] = {}
    return np.array([code.setdefault(key, len(code)) for key in keys], np.int64)


def _groups(ids: Ints, num: int) -> list[Ints]:
    order = np.argsort(ids, kind="stable")
    bounds = np.searchsorted(ids[order], np.arange(1, num))
    return np.split(order, bounds) if num else []
