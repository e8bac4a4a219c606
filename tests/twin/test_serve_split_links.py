import pytest
from hypothesis import given
from hypothesis import strategies as st

from roadbed.twin.kernel import Kernel
from roadbed.twin.serve_split_links import Links


def play(moves: list[tuple[float, int, int, int]], bytes_per_s: float = 100.0) -> tuple[Links, list[tuple[int, float]]]:
    """(start, source, target, bytes) → (which, when it ended) in order of ending."""
    kernel = Kernel()
    links = Links(kernel, bytes_per_s)
    ended: list[tuple[int, float]] = []

    def begin(number: int, source: int, target: int, size: int) -> None:
        links.start(source, target, size, lambda: ended.append((number, kernel.now)))

    for number, (start, source, target, size) in enumerate(moves):
        kernel.at(start, lambda number=number, move=(source, target, size): begin(number, *move))
    kernel.run()
    return links, ended


def test_alone_a_transfer_has_the_whole_link() -> None:
    links, ended = play([(1.0, 0, 1, 250)])
    assert ended == [(0, pytest.approx(3.5))]
    assert links.moved_bytes == 250
    assert links.seconds == [pytest.approx(2.5)]
    assert links.num_moving == 0


def test_two_from_one_server_share_its_link_and_the_longer_one_speeds_up() -> None:
    _, ended = play([(0.0, 0, 1, 100), (0.0, 0, 2, 300)])
    assert ended == [(0, pytest.approx(2.0)), (1, pytest.approx(4.0))]


def test_two_to_one_server_share_as_well_and_directions_do_not() -> None:
    _, ended = play([(0.0, 0, 2, 100), (0.0, 1, 2, 100), (0.0, 2, 0, 100)])
    assert dict(ended) == {2: pytest.approx(1.0), 0: pytest.approx(2.0), 1: pytest.approx(2.0)}


def test_nothing_to_move_takes_no_time() -> None:
    _, ended = play([(0.0, 0, 1, 1000), (2.0, 0, 1, 0)])
    assert ended[0] == (1, 2.0)
    assert ended[1] == (0, pytest.approx(10.0))


@given(
    st.lists(
        st.tuples(st.floats(0, 20), st.integers(0, 3), st.integers(4, 7), st.integers(0, 5000)), min_size=1, max_size=30
    )
)
def test_all_bytes_arrive_and_no_link_carries_more_than_it_can(moves) -> None:
    links, ended = play(moves)
    assert sorted(number for number, _ in ended) == list(range(len(moves)))
    assert links.moved_bytes == sum(size for *_, size in moves)
    ends = dict(ended)
    for number, (start, _, _, size) in enumerate(moves):
        assert ends[number] >= start + size / 100.0 - 1e-6
    for at in (1, 2):
        for server in range(8):
            mine = [move for move in moves if move[at] == server]
            if mine:
                last = max(ends[number] for number, move in enumerate(moves) if move[at] == server)
                least_s = sum(move[3] for move in mine) / 100.0
                assert last >= min(move[0] for move in mine) + least_s - 1e-6


def test_a_link_that_moves_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="0"):
        Links(Kernel(), 0.0)
