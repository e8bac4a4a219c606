"""Which replica probably holds which prompt prefix: one dict of bitmasks and one LRU per replica.

A block hash maps to an int whose bits are the replicas believed to hold it, so the longest match of *every* replica is
found in one walk down the chain. Each replica's LRU is as large as its engine's KV cache; a request's blocks are
touched last to first, so the head of a prefix outlives its tail, as in the engines. The trade-off: what an engine
generated is not in the index (we hash prompts only), and a belief is only corrected when the engine reports fewer
cached tokens than we predicted.
"""

import math
from collections import OrderedDict
from collections.abc import Iterable, Sequence

_REPUBLISH_S = 30.0
"""A block touched again after this long is news again, so that other workers' LRUs keep it too."""
_TOUCH_S = 0.01
"""A block touched this recently stays where it is: the order within an instant is worth no work."""
_UNCONFIRMED_S = 2.0
"""A block this young may still be in prefill: missing it proves nothing."""


class PrefixIndex:
    """Bounded by the sum of the capacities. Bits are handed out by `add_replica` and recycled by `remove_replica`."""

    def __init__(self) -> None:
        self._table: dict[int, int] = {}
        self.lrus: list[OrderedDict[int, float]] = []
        """Per bit: block → time of its last touch, oldest first. Read-only for callers."""
        self.capacities: list[int] = []
        """Per bit: most blocks kept."""
        self._free_bits: list[int] = []
        self._all = 0
        self._reuse_age_s = 60.0
        self._hit_rate = 0.5

    def __len__(self) -> int:
        return len(self._table)

    def add_replica(self, capacity_blocks: int) -> int:
        """A bit for a new replica that keeps at most `capacity_blocks` (at least 1)."""
        capacity = max(1, capacity_blocks)
        if self._free_bits:
            bit = self._free_bits.pop()
            self.capacities[bit] = capacity
        else:
            bit = len(self.lrus)
            self.lrus.append(OrderedDict())
            self.capacities.append(capacity)
        self._all |= 1 << bit
        return bit

    def remove_replica(self, bit: int) -> None:
        """Forgets everything the replica held and recycles its bit. O(its blocks)."""
        self.clear(bit)
        self._all &= ~(1 << bit)
        self._free_bits.append(bit)

    def clear(self, bit: int) -> None:
        """Forgets what one replica held (it restarted with an empty cache)."""
        self.removed(bit, list(self.lrus[bit]))

    def set_capacity(self, bit: int, capacity_blocks: int) -> None:
        """Changes how many blocks a replica keeps, evicting its oldest when it shrinks."""
        self.capacities[bit] = max(1, capacity_blocks)
        self._evict(bit)

    def match(self, blocks: Sequence[int]) -> list[int]:
        """Per bit, how many leading blocks that replica holds. O(blocks + replicas)."""
        lengths = [0] * len(self.lrus)
        table, mask = self._table, self._all
        for depth, block in enumerate(blocks):
            left = mask & table.get(block, 0)
            if left != mask:
                _settle(lengths, mask & ~left, depth)
                mask = left
                if not mask:
                    return lengths
        _settle(lengths, mask, len(blocks))
        return lengths

    def longest(self, blocks: Sequence[int], mask: int) -> float:
        """The largest share of `blocks` that a single replica of `mask` holds from the first on; 0 of no blocks."""
        depth = 0
        for block in blocks:
            mask &= self._table.get(block, 0)
            if not mask:
                break
            depth += 1
        return depth / len(blocks) if blocks else 0.0

    def insert(self, bit: int, blocks: Sequence[int], now: float) -> list[int]:
        """Believes `blocks` to be held from now on; returns those that are news to the other workers."""
        lru, table, flag = self.lrus[bit], self._table, 1 << bit
        stale, fresh = now - _REPUBLISH_S, now - _TOUCH_S
        news: list[int] = []
        held_at, masks = lru.get, table.get
        index = len(blocks)
        while index:
            index -= 1
            block = blocks[index]
            touched = held_at(block)
            if touched is None:
                table[block] = masks(block, 0) | flag
                lru[block] = now
                news.append(block)
            elif touched < fresh:
                lru[block] = now
                lru.move_to_end(block)
                if touched < stale:
                    news.append(block)
        if len(lru) > self.capacities[bit]:
            self._evict(bit)
        news.reverse()
        return news

    def stored(self, bit: int, blocks: Sequence[int], now: float) -> None:
        """Someone else says these blocks are held now (another worker, an engine's cache events)."""
        self.insert(bit, blocks, now)

    def removed(self, bit: int, blocks: Iterable[int]) -> None:
        """These blocks are gone from the replica; unknown ones are fine."""
        lru, table, keep = self.lrus[bit], self._table, ~(1 << bit)
        for block in blocks:
            if block in lru:
                del lru[block]
                left = table[block] & keep
                if left:
                    table[block] = left
                else:
                    del table[block]

    def touched_at(self, bit: int, blocks: Sequence[int], num_held: int) -> list[float]:
        """Last touches of the first `num_held` blocks, to be taken before `insert`, for `missed` later."""
        lru = self.lrus[bit]
        return [lru[blocks[index]] for index in range(num_held)]

    @staticmethod
    def confirmed(touched: float, now: float) -> bool:
        """Whether a block touched then must have been computed by now."""
        return now - touched >= _UNCONFIRMED_S

    def missed(self, bit: int, touched: Sequence[float], num_cached: int, now: float) -> int:
        """The engine held only `num_cached` of the blocks it was predicted to; `touched` are their earlier touches.

        Engines evict the least recently used first, so whatever was last used before the first
        missed block is gone too.
        Returns how many beliefs were dropped; 0 when the misses are too young to prove anything (their prefill may
        have been running).
        """
        if num_cached >= len(touched):
            return 0
        horizon = touched[num_cached]
        if not self.confirmed(horizon, now):
            return 0
        gone: list[int] = []
        for block, at in self.lrus[bit].items():
            if at > horizon:
                break
            gone.append(block)
        self.removed(bit, gone)
        return len(gone)

    def observe_reuse(self, num_hit: int, num_blocks: int, age_s: float) -> None:
        """One request reused `num_hit` of its `num_blocks` blocks, last touched `age_s` ago."""
        if num_blocks:
            self._hit_rate += 0.02 * (num_hit / num_blocks - self._hit_rate)
        if num_hit:
            self._reuse_age_s += 0.05 * (max(age_s, 0.1) - self._reuse_age_s)

    def eviction_loss_blocks(self, bit: int, num_new: int, now: float) -> float:
        """Blocks expected to be wanted again among those that `num_new` more would push out of the replica."""
        lru = self.lrus[bit]
        overflow = len(lru) + num_new - self.capacities[bit]
        if overflow <= 0 or not lru:
            return 0.0
        age_s = now - next(iter(lru.values()))
        return min(overflow, len(lru)) * self._hit_rate * math.exp(-max(age_s, 0.0) / self._reuse_age_s)

    def check(self) -> None:
        """Raises AssertionError unless table and LRUs tell the same story. For tests; O(everything)."""
        expected: dict[int, int] = {}
        for bit, lru in enumerate(self.lrus):
            assert len(lru) <= self.capacities[bit], f"replica bit {bit} is over its capacity"
            for block in lru:
                expected[block] = expected.get(block, 0) | 1 << bit
        assert expected == self._table, "bitmasks and LRUs disagree"

    def _evict(self, bit: int) -> None:
        lru, table, keep, capacity = self.lrus[bit], self._table, ~(1 << bit), self.capacities[bit]
        while len(lru) > capacity:
            block, _ = lru.popitem(last=False)
            left = table.pop(block) & keep
            if left:
                table[block] = left


def _settle(lengths: list[int], mask: int, depth: int) -> None:
    """Every replica in `mask` matches exactly `depth` blocks."""
    if not depth:
        return
    while mask:
        low = mask & -mask
        lengths[low.bit_length() - 1] = depth
        mask ^= low
