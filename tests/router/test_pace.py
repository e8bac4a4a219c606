import pytest
from hypothesis import given
from hypothesis import strategies as st

from roadbed.router.pace import LONGEST_RETRY_S, SHORTEST_RETRY_S, Pace


def paced(per_second: int, seconds: int = 10) -> tuple[Pace, float]:
    pace = Pace()
    for step in range(seconds * 10 + 1):
        pace.observe(step / 10, 5, per_second if step % 10 == 0 else 0)
    return pace, seconds


def test_a_rate_is_that_of_the_time_in_which_somebody_waited() -> None:
    pace, now = paced(4)
    assert pace.per_second == pytest.approx(4, rel=0.15)
    assert pace.wait_s(20) == pytest.approx(5, rel=0.15)
    before = pace.per_second
    for step in range(1, 100):
        pace.observe(now + step, 0, 50)
    assert pace.per_second == before, "what is sent while nobody waits says nothing of the limit"


def test_nothing_is_believed_too_early() -> None:
    pace = Pace()
    assert (pace.per_second, pace.wait_s(100)) == (0.0, 0.0)
    pace.observe(0.0, 1, 1)
    pace.observe(0.1, 1, 100)
    assert pace.per_second == 0.0, "a tenth of a second is no measure"


def test_a_slower_pool_is_noticed() -> None:
    pace, now = paced(10, 30)
    for step in range(60):
        pace.observe(now + step, 5, 2)
    assert pace.per_second == pytest.approx(2, rel=0.4)


def test_promises_are_kept_apart_at_the_pace_of_the_pool() -> None:
    pace, now = paced(4)
    told = [pace.promise(now, 10.0, 2.0, 1.0) for _ in range(20)]
    gaps = [b - a for a, b in zip(told, told[1:], strict=False)]
    assert told[0] == pytest.approx(8.25, rel=0.1)
    assert gaps == pytest.approx([0.25] * 19, rel=0.2)
    assert pace.promise(now + 60.0, 10.0, 2.0, 1.0) == pytest.approx(told[0]), "promises that came due are forgotten"


def test_a_guess_serves_until_more_is_known() -> None:
    assert Pace().promise(0.0, 0.0, 30.0, 2.0) == pytest.approx(SHORTEST_RETRY_S + 0.5)


@given(
    st.lists(st.tuples(st.floats(0, 5), st.integers(0, 3), st.integers(0, 50)), max_size=40),
    st.lists(st.tuples(st.floats(0, 1e4), st.floats(0, 1e4)), max_size=20),
)
def test_a_retry_is_always_a_sensible_number(
    seen: list[tuple[float, int, int]], asked: list[tuple[float, float]]
) -> None:
    pace, now = Pace(), 0.0
    for passed_s, num_waiting, num_sent in seen:
        now += passed_s
        pace.observe(now, num_waiting, num_sent)
    assert pace.per_second >= 0.0
    for wait_s, patience_s in asked:
        assert SHORTEST_RETRY_S <= pace.promise(now, wait_s, patience_s, 0.5) <= LONGEST_RETRY_S
