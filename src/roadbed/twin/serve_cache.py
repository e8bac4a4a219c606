"""The paged KV cache of one modelled engine: blocks counted, prompt blocks found again by their hash, LRU eviction.

A block is *private* (partial, or holding generated tokens), *shared* (a full prompt block some request uses now, by
hash) or *idle* (a full prompt block nobody uses, kept until its room is wanted). Private blocks are a number, not
objects: what they hold is never looked up. Blocks of generated text are therefore never found again, as in replays of
published traces, whose hashes cover prompts alone.
"""

from collections import OrderedDict
from collections.abc import Sequence


class KvCache:
    """capacity blocks. Invariant: private + shared + idle ≤ capacity."""

    __slots__ = ("capacity", "evicted", "idle", "num_private", "shared", "tells")

    def __init__(self, capacity: int, *, tells: bool = False) -> None:
        """tells: hashes that leave are collected in `evicted`, for whoever follows the engine's cache events."""
        if capacity < 1:
            raise ValueError(f"a cache of {capacity} blocks")
        self.capacity = capacity
        self.num_private = 0
        self.shared: dict[int, int] = {}
        self.idle: OrderedDict[int, None] = OrderedDict()
        self.tells = tells
        self.evicted: list[int] = []

    @property
    def num_available(self) -> int:
        """Blocks that can be had, by evicting idle ones where need be."""
        return self.capacity - self.num_private - len(self.shared)

    @property
    def usage(self) -> float:
        """Share of blocks in use by requests."""
        return (self.num_private + len(self.shared)) / self.capacity

    def match(self, blocks: Sequence[int]) -> int:
        """How many leading blocks are there."""
        shared, idle = self.shared, self.idle
        for at, block in enumerate(blocks):
            if block not in shared and block not in idle:
                return at
        return len(blocks)

    def num_idle_of(self, blocks: Sequence[int], num: int) -> int:
        """Of the first `num` blocks, those that are idle: taking them leaves fewer to be had."""
        idle = self.idle
        return sum(1 for at in range(num) if blocks[at] in idle)

    def take(self, blocks: Sequence[int], num: int) -> None:
        """A request uses the first `num` blocks, all of which are there."""
        shared, idle = self.shared, self.idle
        for at in range(num):
            block = blocks[at]
            count = shared.get(block)
            if count is None:
                del idle[block]
                shared[block] = 1
            else:
                shared[block] = count + 1

    def add(self, block: int) -> bool:
        """A request has computed a full prompt block. False when another holds the same one: its copy stays private.

        Room must have been made (`reserve`).
        """
        if block in self.shared or block in self.idle:
            return False
        self.shared[block] = 1
        return True

    def reserve(self, num: int) -> bool:
        """Evicts the longest unused idle blocks until `num` blocks are free. False, and nothing done, if it can't."""
        short = num - (self.capacity - self.num_private - len(self.shared) - len(self.idle))
        if short > len(self.idle):
            return False
        for _ in range(short):
            block, _none = self.idle.popitem(last=False)
            if self.tells:
                self.evicted.append(block)
        return True

    def release(self, blocks: Sequence[int]) -> None:
        """A request is done with these. Its last block becomes the first to be evicted, as nobody can use it without
        those before it."""
        shared, idle = self.shared, self.idle
        for at in range(len(blocks) - 1, -1, -1):
            block = blocks[at]
            count = shared[block] - 1
            if count:
                shared[block] = count
            else:
                del shared[block]
                idle[block] = None
