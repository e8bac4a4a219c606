import math

from hypothesis import given
from hypothesis import strategies as st

from roadbed.router.autoscale import Bounds, Load, create
from roadbed.router.autoscale.roadbed import Roadbed


def drive(scaler: Roadbed, amounts: list[float], *, start: int = 1, period_s: float = 10.0) -> list[int]:
    """Carries decisions out at once; returns the number of replicas after each."""
    num, numbers = start, []
    for index, amount in enumerate(amounts):
        num = scaler.decide(
            Load(at=period_s * index, num_replicas=num, amount=amount, num_running=int(amount))
        ).num_replicas
        numbers.append(num)
    return numbers


def test_up_at_once_down_after_a_window() -> None:
    bounds = Bounds(num_min=1, num_max=20, target=10.0, cold_start_s=60.0)
    numbers = drive(Roadbed(bounds), [48.0] * 5 + [85.0] + [8.0] * 120, start=5)
    assert numbers[5] == 9
    first_down = next(index for index, number in enumerate(numbers) if index > 5 and number < 9)
    assert first_down >= 5 + 18, "three cold starts"
    assert numbers[-1] == 1


def test_what_piles_up_while_replicas_start_is_not_ordered_twice() -> None:
    """A backlog that grows through a cold start of 300 s: half more than there was, then half more of what came."""
    scaler = Roadbed(Bounds(num_min=1, num_max=64, target=10.0, cold_start_s=300.0))
    numbers = drive(scaler, [100.0 + 20.0 * index for index in range(70)], start=10)
    assert numbers[0] == 10
    assert set(numbers[1:30]) <= {12, 14, 15}
    assert numbers[30] == 15, "30 looks later those are ready"
    assert max(numbers[31:60]) == 22
    small = Roadbed(Bounds(num_min=1, num_max=64, target=10.0, cold_start_s=300.0))
    assert set(drive(small, [400.0] * 20)) == {5}


def test_a_rising_load_is_met_before_it_is_there() -> None:
    scaler = Roadbed(Bounds(num_min=1, num_max=50, target=10.0, cold_start_s=300.0))
    numbers = drive(scaler, [1.0 + 0.1 * index for index in range(600)])
    for index in range(200, 570):
        assert 10.0 * numbers[index] >= 1.0 + 0.1 * (index + 30), "a cold start of 300 s is 30 looks"


def test_what_waits_counts_more_where_starting_takes_long() -> None:
    numbers = []
    for cold_start_s in (10.0, 60.0, 600.0):
        scaler = Roadbed(Bounds(num_max=50, target=10.0, cold_start_s=cold_start_s))
        numbers.append(scaler.decide(Load(at=0.0, num_replicas=9, amount=10.0, num_waiting=30)).num_replicas)
    assert numbers == [9, 9, 13]


def test_to_zero_when_idle_and_back_with_the_first_that_waits() -> None:
    scaler = Roadbed(Bounds(num_min=0, num_max=5, target=10.0, cold_start_s=20.0, idle_s=300.0))
    numbers = drive(scaler, [5.0] * 10 + [0.0] * 120)
    assert numbers[10 + 28] == 1
    assert numbers[-1] == 0
    asleep = scaler.decide(Load(at=1400.0, num_replicas=0, amount=0.0))
    assert (asleep.num_replicas, asleep.reason) == (0, "steady")
    woken = scaler.decide(Load(at=1410.0, num_replicas=0, amount=0.0, num_waiting=1))
    assert (woken.num_replicas, woken.reason) == (1, "wake")


def test_a_short_idle_time_is_kept_and_stays_zero() -> None:
    """From any number at once; the minutes that are over neither keep the last one nor wake it again."""
    scaler = Roadbed(Bounds(num_min=0, num_max=5, target=2.0, cold_start_s=2.0, idle_s=20.0))
    numbers = drive(scaler, [9.0] * 60 + [0.0] * 60)
    assert numbers[59] == 5
    assert numbers[60:63] != [0, 0, 0]
    assert numbers[63:] == [0] * 57


def test_yesterday_keeps_one_awake_and_starts_it_before_it_is_needed() -> None:
    scaler = Roadbed(Bounds(num_min=0, num_max=5, target=2.0, cold_start_s=60.0, idle_s=120.0))
    day = [0.0] * 120 + [3.0] * 30 + [0.0] * 1290
    numbers = drive(scaler, [*day, *day[:200]], start=0, period_s=60.0)
    assert set(numbers[400:1430]) == {0}
    assert numbers[1440 + 118] == 2, "two minutes before it comes again"


def test_the_cap_is_kept_and_named() -> None:
    bounds = Bounds(num_min=1, num_max=20, target=10.0, cost_per_hour=12.0, cost_cap_per_hour=60.0)
    target = Roadbed(bounds).decide(Load(at=0.0, num_replicas=4, amount=150.0))
    assert (target.num_replicas, target.reason) == (5, "cost_cap")
    assert Roadbed(bounds).decide(Load(at=0.0, num_replicas=9, amount=10.0)).num_replicas == 5


amounts = st.lists(st.floats(0, 500), min_size=1, max_size=120)


@given(
    amounts, st.sampled_from(["roadbed", "hpa", "kpa", "apa"]), st.integers(0, 3), st.integers(3, 20), st.floats(1, 400)
)
def test_always_within_bounds(seen: list[float], name: str, low: int, high: int, cold_start_s: float) -> None:
    scaler = create(name, Bounds(num_min=low, num_max=high, target=10.0, cold_start_s=cold_start_s))
    num = low
    for index, amount in enumerate(seen):
        waiting = int(amount) % 7
        num = scaler.decide(Load(at=5.0 * index, num_replicas=num, amount=amount, num_waiting=waiting)).num_replicas
        assert low <= num <= high


@given(amounts, st.floats(0, 200), st.floats(1, 120))
def test_a_steady_load_ends_all_movement(seen: list[float], steady: float, cold_start_s: float) -> None:
    scaler = Roadbed(Bounds(num_min=1, num_max=40, target=10.0, cold_start_s=cold_start_s))
    numbers = drive(scaler, [*seen, *[steady] * 400])
    assert len(set(numbers[-100:])) == 1
    assert 10.0 * numbers[-1] >= min(steady, 400.0)
    assert numbers[-1] <= max(1, steady / 8.5 + 1)


@given(amounts, st.floats(1, 120), st.floats(10, 1000))
def test_what_was_needed_is_kept_for_half_a_cold_start(seen: list[float], cold_start_s: float, idle_s: float) -> None:
    bounds = Bounds(num_min=1, num_max=60, target=10.0, cold_start_s=cold_start_s, idle_s=idle_s)
    numbers = drive(Roadbed(bounds), seen)
    shortest = min(max(30.0, cold_start_s / 2), max(10 * cold_start_s, idle_s))
    for index, number in enumerate(numbers):
        since = max(0, index - int(shortest / 10.0))
        there = numbers[index - 1] if index else 1
        assert number >= min(there, math.ceil(max(seen[since : index + 1]) / 10.0 - 1e-9))


def test_bursts_are_waited_for_and_a_day_is_followed() -> None:
    """Four minutes of silence between bursts keep the fleet; an hour of decline gives it up minutes behind the load."""
    bounds = Bounds(num_min=1, num_max=20, target=10.0, cold_start_s=60.0)
    bursts = ([80.0] * 6 + [0.0] * 24) * 12
    numbers = drive(Roadbed(bounds), bursts, start=8)
    assert set(numbers[60:]) == {8}
    decline = [100.0 - index / 4.0 for index in range(360)]
    numbers = drive(Roadbed(bounds), decline, start=10)
    behind = [number - amount / 10.0 for number, amount in zip(numbers, decline, strict=True)]
    assert max(behind) < 2.5
    assert min(behind) >= 0.0
