"""The cache against one that keeps every block as an object."""

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from roadbed.twin.serve_cache import KvCache

CAPACITY = 6


class Against(RuleBasedStateMachine):
    """Users take chains of blocks; the model is a list in order of last release."""

    def __init__(self) -> None:
        super().__init__()
        self.cache = KvCache(CAPACITY, tells=True)
        self.users: list[list[int]] = []
        self.idle: list[int] = []

    def held(self) -> set[int]:
        return {block for user in self.users for block in user}

    @rule(chain=st.integers(0, 3), num=st.integers(1, 4))
    def use(self, chain: int, num: int) -> None:
        blocks = [chain * 10 + at for at in range(num)]
        there = 0
        while there < num and (blocks[there] in self.held() or blocks[there] in self.idle):
            there += 1
        assert self.cache.match(blocks) == there
        wanted = num - there
        room = CAPACITY - len(self.held()) - self.cache.num_private
        taken_idle = len({*blocks[:there]} & {*self.idle})
        assert self.cache.num_available == room
        assert self.cache.num_idle_of(blocks, there) == taken_idle
        if wanted > room - taken_idle:
            return
        self.cache.take(blocks, there)
        for block in blocks[:there]:
            if block in self.idle:
                self.idle.remove(block)
        free = room - len(self.idle) - taken_idle
        gone = self.idle[: max(0, wanted - free)]
        self.idle = self.idle[len(gone) :]
        self.cache.evicted.clear()
        assert self.cache.reserve(wanted)
        assert self.cache.evicted == gone
        for block in blocks[there:]:
            fresh = block not in self.held() and block not in self.idle
            assert self.cache.add(block) is fresh
            if not fresh:
                self.cache.release(blocks[:there])
                self.idle += [b for b in reversed(blocks[:there]) if b not in self.held()]
                return
            there += 1
        self.users.append(blocks)

    @precondition(lambda self: self.users)
    @rule(at=st.integers(0, 9))
    def leave(self, at: int) -> None:
        blocks = self.users.pop(at % len(self.users))
        self.cache.release(blocks)
        self.idle += [block for block in reversed(blocks) if block not in self.held()]

    @rule(num=st.integers(0, 7))
    def ask_for_room(self, num: int) -> None:
        room = CAPACITY - len(self.held()) - self.cache.num_private
        assert self.cache.reserve(num) is (num <= room)
        if num <= room:
            gone = max(0, num - (room - len(self.idle)))
            self.idle = self.idle[gone:]

    @invariant()
    def nothing_is_lost(self) -> None:
        assert set(self.cache.shared) == self.held()
        assert list(self.cache.idle) == self.idle
        assert self.cache.num_private + len(self.cache.shared) + len(self.cache.idle) <= CAPACITY


TestAgainst = Against.TestCase


def test_a_cache_of_nothing() -> None:
    with pytest.raises(ValueError, match="0 blocks"):
        KvCache(0)


def test_usage_counts_what_is_in_use() -> None:
    cache = KvCache(10)
    cache.reserve(3)
    cache.add(1)
    cache.num_private = 2
    assert cache.usage == 0.3
    cache.release([1])
    assert cache.usage == 0.2
