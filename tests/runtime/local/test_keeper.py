from hypothesis import given
from hypothesis import strategies as st

from roadbed.runtime.local.keeper import MAX_DELAY_S, RESET_AFTER_S, Backoff


def test_doubles_up_to_the_cap() -> None:
    backoff = Backoff()
    assert [backoff.after(0.0) for _ in range(8)] == [0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 5.0, 5.0]


def test_a_long_run_forgives() -> None:
    backoff = Backoff()
    for _ in range(8):
        backoff.after(1.0)
    assert backoff.after(RESET_AFTER_S) == 0.1
    assert backoff.after(1.0) == 0.2


@given(st.lists(st.floats(0, 1e6)))
def test_never_zero_never_more_than_the_cap(runs: list[float]) -> None:
    backoff = Backoff()
    assert all(0 < backoff.after(alive_s) <= MAX_DELAY_S for alive_s in runs)
