from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from roadbed.gateway import gossip
from roadbed.gateway.gossip import Gossip, News


@pytest.fixture
def pair(tmp_path: Path) -> Iterator[tuple[Gossip, Gossip]]:
    ends = tuple(Gossip(tmp_path / "gossip.bin", num_workers=2, worker=worker) for worker in range(2))
    yield ends[0], ends[1]
    for end in ends:
        end.close()
        end.close()


def test_news_reach_the_others_once_in_order(pair: tuple[Gossip, Gossip]) -> None:
    one, two = pair
    one.publish(5, [1, 2**64 - 1])
    one.publish(6, [3], removed=True)
    assert two.poll() == [News(5, [1, 2**64 - 1]), News(6, [3], removed=True)]
    assert two.poll() == one.poll() == []


def test_who_comes_late_hears_only_what_follows(pair: tuple[Gossip, Gossip], tmp_path: Path) -> None:
    pair[0].publish(1, [1])
    late = Gossip(tmp_path / "gossip.bin", num_workers=2, worker=1)
    pair[0].publish(2, [2])
    assert late.poll() == [News(2, [2])]
    late.close()


def test_who_sleeps_a_whole_round_skips_instead_of_reading_rubble(pair: tuple[Gossip, Gossip]) -> None:
    one, two = pair
    for _ in range(20):
        one.publish(0, list(range(4000)))
    assert two.poll() == []
    assert two.num_skipped == 20 * 4001
    one.publish(3, [4])
    assert two.poll() == [News(3, [4])]


def test_what_is_overwritten_while_being_read_is_dropped(pair: tuple[Gossip, Gossip], monkeypatch) -> None:
    one, two = pair
    one.publish(1, [1, 2, 3])
    copy = Gossip._copy_out

    def slow_copy(self: Gossip, ring: int, at: int, count: int) -> list[int]:
        for _ in range(20):
            one.publish(9, list(range(4000)))
        return copy(self, ring, at, count)

    monkeypatch.setattr(Gossip, "_copy_out", slow_copy)
    assert two.poll() == []
    assert two.num_skipped == 4


def test_long_news_are_cut(pair: tuple[Gossip, Gossip]) -> None:
    one, two = pair
    blocks = list(range(gossip.MAX_BLOCKS + 5))
    one.publish(1, blocks)
    news = two.poll()
    assert [len(part.blocks) for part in news] == [gossip.MAX_BLOCKS, 5]
    assert [block for part in news for block in part.blocks] == blocks


def test_a_writer_that_died_while_writing_is_taken_over(pair: tuple[Gossip, Gossip], tmp_path: Path) -> None:
    one, two = pair
    one._words[one._base(0) + gossip._ANNOUNCED] += 10**6
    reborn = Gossip(tmp_path / "gossip.bin", num_workers=2, worker=0)
    reborn.publish(1, [7])
    assert two.poll() == [News(1, [7])]
    reborn.close()


def test_worker_numbers_are_checked(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="worker 2 of 2"):
        Gossip(tmp_path / "gossip.bin", num_workers=2, worker=2)


@settings(max_examples=30, deadline=None)
@given(
    st.lists(
        st.tuples(st.integers(0, 1023), st.lists(st.integers(0, 2**64 - 1), max_size=50), st.booleans(), st.booleans())
    )
)
def test_whatever_is_published_arrives_whole(tmp_path_factory, messages) -> None:
    path = tmp_path_factory.mktemp("gossip") / "gossip.bin"
    one, two = (Gossip(path, num_workers=2, worker=worker) for worker in range(2))
    heard: list[News] = []
    for slot, blocks, removed, look in messages:
        one.publish(slot, blocks, removed=removed)
        if look:
            heard += two.poll()
    heard += two.poll()
    assert heard == [News(slot, blocks, removed) for slot, blocks, removed, _ in messages if blocks]
    one.close()
    two.close()
