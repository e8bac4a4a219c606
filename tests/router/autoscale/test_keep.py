import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from roadbed.router.autoscale.base import ceil
from roadbed.router.autoscale.keep import Keeper


def play(keeper: Keeper, needs: list[float], period_s: float = 10.0, start: int = 0, num_max: int = 50) -> list[int]:
    """Replicas after each look, where nothing but need and keeping decides."""
    num, numbers = start, []
    for at, need in enumerate(needs):
        wanted = min(ceil(need), num_max)
        keeper.see(at * period_s, need, wanted, num)
        num = max(wanted, keeper.keep(at * period_s, need, wanted, num))
        numbers.append(num)
    return numbers


@pytest.mark.parametrize(
    ("cold_start_s", "idle_s", "regret_s", "first_s", "shortest_s"),
    [
        (90.0, 600.0, 900.0, 900.0, 45.0),
        (10.0, 600.0, 600.0, 300.0, 30.0),
        (300.0, 600.0, 1800.0, 1800.0, 150.0),
        (2.0, 20.0, 20.0, 20.0, 20.0),
        (0.0, 0.0, 0.0, 0.0, 0.0),
    ],
)
def test_times_by_hand(cold_start_s: float, idle_s: float, regret_s: float, first_s: float, shortest_s: float) -> None:
    keeper = Keeper(cold_start_s, idle_s)
    assert (keeper.regret_s, keeper.first_s, keeper.shortest_s) == (regret_s, first_s, shortest_s)


def test_before_anything_is_known_depth_decides() -> None:
    keeper = Keeper(90.0, 600.0)
    assert keeper.hold_s(4, 0.0) == 45.0
    assert keeper.hold_s(4, 0.5) == pytest.approx(45 + 855 / 8)
    assert keeper.hold_s(4, 1.0) == 900.0


def test_silences_that_end_are_waited_for() -> None:
    keeper = Keeper(60.0, 600.0)
    play(keeper, ([4.0] * 3 + [0.0] * 20) * 5)
    assert keeper.hold_s(4, 1.0) == keeper.first_s == 600.0
    assert keeper.hold_s(4, 0.2) == 210.0  # the least that gets through the silences there were


def test_silences_too_long_are_not() -> None:
    """Gaps of an hour cost more than a regret of ten minutes: as little as possible is waited."""
    keeper = Keeper(60.0, 600.0)
    play(keeper, ([4.0] * 3 + [0.0] * 360) * 8)
    assert keeper.hold_s(4, 1.0) == keeper.shortest_s


def test_shallow_gaps_are_noise() -> None:
    """The same gaps, one tenth deep: a regret of 10 · 60 s · 0.1² = 6 s is worth no wait of two minutes."""
    deep, shallow = Keeper(60.0, 600.0), Keeper(60.0, 600.0)
    play(deep, ([10.0] * 2 + [1.0] * 11) * 6)
    play(shallow, ([10.0] * 2 + [9.0] * 11) * 6)
    assert deep.hold_s(10, 0.3) == 120.0
    assert shallow.hold_s(10, 0.1) == shallow.shortest_s


def test_who_is_there_at_first_was_wanted() -> None:
    assert play(Keeper(30.0, 600.0), [0.0] * 25, start=5)[-1] == 5
    assert play(Keeper(30.0, 600.0), [0.0] * 40, start=5)[-1] == 0


def test_the_past_is_bounded() -> None:
    keeper = Keeper(30.0, 600.0)
    play(keeper, [0.0, 5.0] * 500)
    assert [len(level.gaps) for level in keeper._levels] == [20] * 5


@given(
    st.lists(st.floats(0, 12), min_size=1, max_size=80), st.floats(0, 400), st.floats(0, 2000), st.integers(0, 15),
    st.integers(1, 12),
)  # fmt: skip
def test_never_below_need_never_above_what_is_there(
    needs: list[float], cold_start_s: float, idle_s: float, start: int, num_max: int
) -> None:
    keeper = Keeper(cold_start_s, idle_s)
    numbers = play(keeper, needs, start=min(start, num_max), num_max=num_max)
    for (before, number), need in zip(itertools.pairwise([min(start, num_max), *numbers]), needs, strict=True):
        wanted = min(ceil(need), num_max)
        assert wanted <= number <= max(before, wanted)
    for k in range(1, num_max + 1):
        for depth in (0.0, 0.3, 1.0):
            assert keeper.shortest_s <= keeper.hold_s(k, depth) <= keeper.regret_s
