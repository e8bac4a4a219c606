"""The index against a brute-force oracle: one plain list of (block, touch) per replica."""

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, initialize, invariant, rule

from roadbed.router.prefix import PrefixIndex

# prompts are paths in a small tree, so that prefixes are shared and chains stay consistent
_PATHS = st.lists(st.integers(0, 2), min_size=1, max_size=6)


def blocks_of(path: list[int]) -> list[int]:
    return [hash((17, *path[: depth + 1])) & (2**64 - 1) for depth in range(len(path))]


class AgainstOracle(RuleBasedStateMachine):
    bits = Bundle("bits")

    @initialize()
    def start(self) -> None:
        self.index = PrefixIndex()
        self.oracle: dict[int, dict[int, float]] = {}
        self.capacity: dict[int, int] = {}
        self.now = 0.0

    @rule(target=bits, capacity=st.integers(1, 12))
    def add(self, capacity: int) -> int:
        bit = self.index.add_replica(capacity)
        assert bit not in self.oracle
        self.oracle[bit] = {}
        self.capacity[bit] = capacity
        return bit

    @rule(bit=consumes(bits))
    def remove(self, bit: int) -> None:
        self.index.remove_replica(bit)
        del self.oracle[bit], self.capacity[bit]

    @rule(bit=bits, path=_PATHS, step=st.floats(0, 40))
    def insert(self, bit: int, path: list[int], step: float) -> None:
        self.now += step
        blocks = blocks_of(path)
        held = set(self.oracle[bit])
        news = self.index.insert(bit, blocks, self.now)
        assert [block for block in blocks if block not in held] == [block for block in news if block not in held]
        for block in reversed(blocks):
            if self.oracle[bit].get(block, -1.0) < self.now - 0.01:  # what was touched just now stays where it is
                self.oracle[bit].pop(block, None)
                self.oracle[bit][block] = self.now
        self._evict(bit)

    @rule(bit=bits, path=_PATHS)
    def forget(self, bit: int, path: list[int]) -> None:
        blocks = blocks_of(path)
        self.index.removed(bit, blocks)
        self.oracle[bit] = {block: at for block, at in self.oracle[bit].items() if block not in blocks}

    @rule(bit=bits, capacity=st.integers(1, 12))
    def resize(self, bit: int, capacity: int) -> None:
        self.index.set_capacity(bit, capacity)
        self.capacity[bit] = capacity
        self._evict(bit)

    @rule(path=_PATHS)
    def match(self, path: list[int]) -> None:
        blocks = blocks_of(path)
        lengths = self.index.match(blocks)
        for bit, held in self.oracle.items():
            expected = next((i for i, block in enumerate(blocks) if block not in held), len(blocks))
            assert lengths[bit] == expected
        assert all(lengths[bit] == 0 for bit in range(len(lengths)) if bit not in self.oracle)

    @invariant()
    def consistent(self) -> None:
        self.index.check()
        for bit, held in self.oracle.items():
            assert list(self.index.lrus[bit].items()) == list(held.items())
        assert len(self.index) == len({block for held in self.oracle.values() for block in held})

    def _evict(self, bit: int) -> None:
        while len(self.oracle[bit]) > self.capacity[bit]:
            del self.oracle[bit][next(iter(self.oracle[bit]))]


TestAgainstOracle = AgainstOracle.TestCase
TestAgainstOracle.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)


def test_the_head_of_a_prefix_outlives_its_tail() -> None:
    index = PrefixIndex()
    bit = index.add_replica(4)
    index.insert(bit, [1, 2, 3, 4], 0.0)
    index.insert(bit, [9], 1.0)
    assert index.match([1, 2, 3, 4])[bit] == 3


def test_a_miss_drops_whatever_is_older_than_the_missed_block() -> None:
    index = PrefixIndex()
    bit = index.add_replica(100)
    index.insert(bit, [10, 11], 1.0)
    index.insert(bit, [20, 21], 5.0)
    index.insert(bit, [30, 31], 9.0)
    touched = index.touched_at(bit, [20, 21], 2)
    index.insert(bit, [20, 21], 20.0)
    assert index.missed(bit, touched, 0, 20.0) == 2
    assert index.match([10, 11])[bit] == 0
    assert index.match([20, 21])[bit] == 2  # just computed again
    assert index.match([30, 31])[bit] == 2


def test_a_miss_of_a_block_still_in_prefill_proves_nothing() -> None:
    index = PrefixIndex()
    bit = index.add_replica(100)
    index.insert(bit, [10], 0.5)
    index.insert(bit, [20], 1.0)
    touched = index.touched_at(bit, [20], 1)
    assert index.missed(bit, touched, 0, 1.5) == 0
    assert index.match([10])[bit] == 1


def test_news_are_new_blocks_and_those_long_unheard_of() -> None:
    index = PrefixIndex()
    bit = index.add_replica(100)
    assert index.insert(bit, [1, 2], 0.0) == [1, 2]
    assert index.insert(bit, [1, 2, 3], 1.0) == [3]
    assert index.insert(bit, [1, 2, 3], 40.0) == [1, 2, 3]


def test_eviction_costs_nothing_while_there_is_room_and_less_the_older_the_victims() -> None:
    index = PrefixIndex()
    bit = index.add_replica(4)
    index.insert(bit, [1, 2, 3], 0.0)
    assert index.eviction_loss_blocks(bit, 1, 1.0) == 0.0
    soon, late = index.eviction_loss_blocks(bit, 3, 1.0), index.eviction_loss_blocks(bit, 3, 500.0)
    assert 0.0 < late < soon <= 2.0


def test_reuse_teaches_how_long_blocks_stay_useful() -> None:
    short, long = PrefixIndex(), PrefixIndex()
    for index, age_s in ((short, 1.0), (long, 600.0)):
        bit = index.add_replica(1)
        index.insert(bit, [1], 0.0)
        for _ in range(200):
            index.observe_reuse(4, 8, age_s)
        assert bit == 0
    assert short.eviction_loss_blocks(0, 1, 60.0) < 0.01 < long.eviction_loss_blocks(0, 1, 60.0)
