from datetime import UTC, datetime

from hypothesis import given
from hypothesis import strategies as st

from roadbed.router import limits

_NOW = 1_790_000_000_000_000_000


@given(
    st.integers(1, 100_000),
    st.lists(st.tuples(st.integers(0, 30_000_000_000), st.integers(1, 50)), min_size=1, max_size=60),
)
def test_no_window_admits_more_than_the_rate_and_one_burst(per_minute: int, arrivals: list[tuple[int, int]]) -> None:
    tat, now = 0, _NOW
    admitted: list[tuple[int, int]] = []
    for step_ns, amount in arrivals:
        now += step_ns
        cost = limits.cost_ns(amount, per_minute)
        if limits.wait_ns(tat, now, cost) == 0:
            tat = limits.taken(tat, now, cost)
            admitted.append((now, amount))
    for first, (start, _) in enumerate(admitted):
        total = 0
        for at, amount in admitted[first:]:
            total += amount
            assert total <= per_minute * (1 + (at - start) / limits.MINUTE_NS) + 1


@given(st.integers(1, 5_000))
def test_a_fresh_minute_holds_exactly_the_limit(per_minute: int) -> None:
    tat, cost = 0, limits.cost_ns(1, per_minute)
    for _ in range(per_minute):
        assert limits.wait_ns(tat, _NOW, cost) == 0
        tat = limits.taken(tat, _NOW, cost)
    assert limits.wait_ns(tat, _NOW, cost) > 0
    assert limits.remaining(tat, _NOW, per_minute) == 0


@given(st.integers(1, 10**7), st.integers(0, 10**6), st.integers(0, 10**6), st.integers(0, 10**6))
def test_reserving_then_settling_is_as_if_the_fact_had_been_known(
    per_minute: int, before: int, reserved: int, actual: int
) -> None:
    def cost(amount: int) -> int:
        return limits.cost_ns(amount, per_minute)

    start = limits.taken(0, _NOW, min(cost(before), limits.MINUTE_NS))
    two_steps = limits.settled(limits.taken(start, _NOW, cost(reserved)), _NOW, cost(reserved), cost(actual))
    known = limits.taken(start, _NOW, cost(actual))
    assert (
        limits.backlog_ns(two_steps, _NOW) == limits.backlog_ns(known, _NOW)
        or max(cost(reserved), cost(actual)) > limits.MINUTE_NS
    )  # debt beyond ten minutes is forgiven on the way


@given(st.integers(1, 10**6), st.integers(1, 10**6))
def test_waiting_as_told_is_enough_and_no_more_than_needed(per_minute: int, amount: int) -> None:
    amount = min(amount, per_minute)
    cost = limits.cost_ns(amount, per_minute)
    tat = limits.taken(0, _NOW, limits.MINUTE_NS)
    wait = limits.wait_ns(tat, _NOW, cost)
    assert limits.wait_ns(tat, _NOW + wait, cost) == 0
    if wait:
        assert limits.wait_ns(tat, _NOW + wait - 1, cost) > 0


def test_giving_back_never_makes_more_than_a_full_bucket() -> None:
    tat = limits.taken(limits.taken(0, _NOW, 5), _NOW, -(10**12))
    assert limits.remaining(tat, _NOW, 100) == 100


def test_a_clock_set_back_does_not_lock_anyone_out_for_long() -> None:
    tat = limits.taken(0, _NOW + 86_400 * 10**9, limits.MINUTE_NS)
    assert limits.wait_ns(tat, _NOW, 1) <= 10 * limits.MINUTE_NS


@given(st.datetimes(min_value=datetime(2000, 1, 1), max_value=datetime(2099, 12, 31), timezones=st.just(UTC)))  # noqa: DTZ001
def test_months_are_those_of_the_calendar_in_utc(moment: datetime) -> None:
    number, ends_at = limits.month_of(moment.timestamp())
    assert divmod(number, 12) == (moment.year, moment.month - 1)
    following = datetime.fromtimestamp(ends_at, UTC)
    assert (following.day, following.hour, following.minute, following.second) == (1, 0, 0, 0)
    assert limits.month_of(ends_at)[0] == number + 1
    assert limits.month_of(ends_at - 1)[0] == number
