"""Scaling between spec and autoscaler: bounds from the spec, decisions once per interval, means instead of moments."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from roadbed.control.scaling import (
    HOLD_MORE_S,
    Scaler,
    Seen,
    bounds_of,
    cold_start_of,
    hold_s,
    past_loads,
    same_bounds,
    target_of,
)
from roadbed.engine.base import Capacity
from roadbed.errors import UsageError
from roadbed.router.autoscale.base import Bounds
from roadbed.spec.service import Service

CAPACITY = Capacity(max_concurrency=64, kv_tokens=1, context_tokens=1, capabilities=("chat",))
URLS = {"kind": "openai", "urls": ["http://127.0.0.1:9"] * 2, "max_concurrency": 40}


def spec(**fields: object) -> Service:
    return Service.model_validate({"name": "chat", "model": "m", "replicas": "0..4", "scaling": {}} | fields)


@pytest.mark.parametrize(
    ("fields", "capacity", "target"),
    [
        ({}, None, 3.0),
        ({"engine": {"kind": "llamacpp", "parallel": 1}}, None, 1.0),
        ({"engine": "vllm"}, None, 192.0),
        ({"engine": "vllm"}, CAPACITY, 48.0),
        ({"engine": URLS, "replicas": "1..2"}, None, 30.0),
        ({"scaling": {"target": 0.5}}, CAPACITY, 0.5),
    ],
)
def test_the_target_is_three_quarters_of_what_an_engine_runs(
    fields: dict[str, object], capacity: Capacity | None, target: float
) -> None:
    assert target_of(spec(**fields), capacity) == target


def test_a_cold_start_is_as_written_else_as_measured_else_a_guess() -> None:
    assert cold_start_of(spec(), []) == 10.0
    assert cold_start_of(spec(engine="vllm"), []) == 180.0
    assert cold_start_of(spec(), [2.0, 5.5, 3.0]) == 5.5
    assert cold_start_of(spec(scaling={"cold_start": "40s"}), [2.0]) == 40.0


def test_requests_are_held_for_two_cold_starts_but_only_where_load_takes_the_last_one() -> None:
    assert hold_s(spec(), [2.0]) == 30.0  # routing.max_wait is longer
    assert hold_s(spec(), [50.0]) == 100.0 + HOLD_MORE_S
    assert hold_s(spec(replicas="1..4"), [50.0]) == 30.0
    assert hold_s(spec(scaling=None), [50.0]) == 30.0
    assert hold_s(spec(routing={"max_wait": "5 min"}), [50.0]) == 300.0


def test_bounds_carry_cost_and_range() -> None:
    scaling = {"cost_cap": 25, "cost_per_hour": 10, "idle": "2m"}
    bounds = bounds_of(spec(scaling=scaling), None, [7.0])
    assert (bounds.num_min, bounds.num_max, bounds.num_affordable) == (0, 4, 2)
    assert (bounds.target, bounds.cold_start_s, bounds.idle_s) == (3.0, 7.0, 120.0)
    with pytest.raises(ValueError, match="no scaling"):
        bounds_of(spec(scaling=None), None, [])


def test_a_scaler_goes_on_while_only_the_measured_start_wobbles() -> None:
    bounds = Bounds(num_max=3, cold_start_s=10.0)
    assert same_bounds(bounds, msgspec.structs.replace(bounds, cold_start_s=12.9))
    assert same_bounds(bounds, msgspec.structs.replace(bounds, cold_start_s=7.7))
    assert not same_bounds(bounds, msgspec.structs.replace(bounds, cold_start_s=13.1))
    assert not same_bounds(bounds, msgspec.structs.replace(bounds, num_max=4))
    zero = msgspec.structs.replace(bounds, cold_start_s=0.0)
    assert same_bounds(zero, zero)


def test_the_ledger_becomes_loads_with_its_silences() -> None:
    loads = past_loads({100: 60.0, 102: 30.0}, 2, 104 * 60.0 + 5.0)
    assert [load.amount for load in loads] == [1.0, 0.0, 0.5, 0.0]
    assert [load.num_running for load in loads] == [1, 0, 1, 0]
    assert [load.at for load in loads] == [6059.0, 6119.0, 6179.0, 6239.0]
    assert {load.num_replicas for load in loads} == {2}
    assert past_loads({}, 2, 1e6) == []


@given(st.dictionaries(st.integers(1000, 1100), st.floats(0, 1e6)), st.integers(60_000, 70_000))
def test_past_loads_ascend_and_are_past(busy_s: dict[int, float], now: int) -> None:
    times = [load.at for load in past_loads(busy_s, 1, now)]
    assert times == sorted(set(times))
    assert all(at < now for at in times)


BOUNDS = Bounds(num_min=0, num_max=4, target=3.0, cold_start_s=2.0, idle_s=60.0)


def seen(at: float, num: int, amount: float = 0.0, waiting: int = 0) -> Seen:
    return Seen(at=at, num_desired=num, amount=amount, num_waiting=waiting)


def test_it_decides_once_per_interval_on_the_mean() -> None:
    scaler = Scaler("roadbed", BOUNDS, 5.0)
    decided = [scaler.look(seen(100.0 + i / 10, 1, amount=12.0 if i < 25 else 0.0)) for i in range(101)]
    told = [one for one in decided if one is not None]
    assert [round(one.at, 3) for one in told] == [105.0, 110.0]
    assert told[0].amount == pytest.approx(6.0)
    assert told[0].num_replicas == 2
    assert told[1].amount == 0.0
    assert told[0].sentence() == "load: 6.0 in flight, 3 is right for one"


def test_who_waits_at_zero_is_decided_about_at_once() -> None:
    scaler = Scaler("roadbed", BOUNDS, 5.0)
    assert scaler.look(seen(100.0, 0)) is None
    assert scaler.look(seen(100.1, 0)) is None
    woken = scaler.look(seen(100.2, 0, waiting=1))
    assert woken is not None
    assert (woken.num_replicas, woken.reason, woken.num_waiting) == (1, "wake", 1)
    assert scaler.look(seen(100.3, 1, waiting=1)) is None


def test_many_who_wait_wake_as_many_as_they_need() -> None:
    scaler = Scaler("roadbed", BOUNDS, 5.0)
    woken = scaler.look(seen(100.0, 0, waiting=7))
    assert woken is not None
    assert woken.num_replicas == 3
    assert woken.sentence() == "wake: 0.0 in flight and 7 waiting, 3 is right for one"


def test_idle_goes_to_zero_and_only_then() -> None:
    scaler = Scaler("roadbed", BOUNDS, 5.0)
    at, num, zero_at = 0.0, 1, 0.0
    while at < 400.0 and num:
        decided = scaler.look(seen(at, num, amount=1.0 if at < 100.0 else 0.0))
        if decided is not None and decided.num_replicas != num:
            num, zero_at = decided.num_replicas, at
        at += 0.5
    assert num == 0
    assert 160.0 <= zero_at <= 175.0


def test_requests_between_two_looks_keep_it_awake() -> None:
    scaler = Scaler("roadbed", BOUNDS, 5.0)
    numbers = []
    for i in range(1200):
        decided = scaler.look(Seen(at=i / 2, num_desired=1, amount=0.0, num_waiting=0, num_finished=min(i, 600) // 80))
        numbers += [] if decided is None else [(decided.at, decided.num_replicas)]
    assert {num for at, num in numbers if at < 340.0} == {1}
    assert next(at for at, num in numbers if num == 0) < 360.0


def test_the_past_counts_as_seen() -> None:
    """A new control process doesn't begin the idle time anew, nor forget the level it comes from."""
    now = 100 * 60.0 + 30.0
    idle = Scaler("roadbed", BOUNDS, 5.0, past_loads({90: 60.0}, 1, now))
    assert idle.look(seen(now, 1)) is None
    decided = idle.look(seen(now + 5.0, 1))
    later = idle.look(seen(now + 65.0, 1))
    assert [one.num_replicas for one in (decided, later) if one is not None].count(0) >= 1
    busy = Scaler("roadbed", BOUNDS, 5.0, past_loads(dict.fromkeys(range(80, 100), 9 * 60.0), 1, now))
    busy.look(seen(now, 3, amount=0.0))
    decided = busy.look(seen(now + 5.0, 3, amount=0.0))
    assert decided is not None
    assert decided.num_replicas == 3


def test_an_unknown_policy_is_refused() -> None:
    with pytest.raises(UsageError, match="magic"):
        Scaler("magic", BOUNDS, 5.0)


@given(
    st.sampled_from(["roadbed", "hpa", "kpa", "apa"]),
    st.lists(
        st.tuples(st.floats(-2.0, 20.0), st.floats(0, 200), st.integers(0, 500), st.booleans()), min_size=1, max_size=60
    ),
    st.floats(1.0, 60.0),
)
def test_whatever_is_seen_the_wish_stays_in_bounds_and_is_not_changed_more_often_than_it_may(
    policy: str, looks: list[tuple[float, float, int, bool]], interval_s: float
) -> None:
    """Clocks may go back, numbers may be changed by others in between."""
    num_min = 0 if policy in ("roadbed", "kpa") else 1
    bounds = msgspec.structs.replace(BOUNDS, num_min=num_min)
    scaler = Scaler(policy, bounds, interval_s)
    now, num, last_at = 1000.0, num_min, None
    for step_s, amount, waiting, meddle in looks:
        now += step_s
        wakes = waiting > 0 and num == 0
        decided = scaler.look(seen(now, num, amount, waiting))
        if decided is None:
            continue
        assert num_min <= decided.num_replicas <= 4
        assert decided.amount >= 0.0
        if last_at is not None and not wakes:
            assert decided.at - last_at >= interval_s - 1e-6
        last_at = decided.at
        num = decided.num_replicas if not meddle else bounds.num_max
