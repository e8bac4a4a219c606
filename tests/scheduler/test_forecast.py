"""What a service will need, and how long jobs run."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from roadbed.scheduler.forecast import Durations, Forecast, size_class

DAY = 86_400.0
BIN = 900.0


def diurnal(at_s: float, level: float = 1.0) -> float:
    return level * (10 + 8 * math.sin(2 * math.pi * at_s / DAY))


def taught(days: float, level: float = 1.0, *, quantile: float = 0.95) -> Forecast:
    forecast = Forecast(quantile=quantile)
    for step in range(int(days * DAY / BIN)):
        forecast.observe(step * BIN, diurnal(step * BIN, level))
    return forecast


class TestForecast:
    def test_before_a_day_has_passed_the_level_stays(self) -> None:
        forecast = Forecast()
        assert forecast.need(0.0) == 0.0
        forecast.observe(0.0, 5.0)
        assert forecast.need(3600.0) == 5.0

    def test_the_time_of_day_is_known_on_the_next_day(self) -> None:
        forecast = taught(3.0)
        now = 3 * DAY
        for ahead_s in (0.0, DAY / 4, DAY / 2, 3 * DAY / 4):
            assert forecast.need(now + ahead_s) == pytest.approx(diurnal(now + ahead_s), abs=1.0)

    def test_a_busier_day_shifts_the_forecast(self) -> None:
        forecast = taught(2.0)
        for step in range(24):
            at_s = 2 * DAY + step * BIN
            forecast.observe(at_s, diurnal(at_s, 1.5))
        ahead_s = 2 * DAY + 24 * BIN + 3600
        assert forecast.need(ahead_s) > 1.3 * diurnal(ahead_s)

    def test_the_margin_covers_the_quantile_of_errors(self) -> None:
        forecast = Forecast(period_s=10 * BIN, bins=10, quantile=0.9)
        for step in range(200):
            forecast.observe(step * BIN, 10.0 + (3.0 if step % 7 == 0 else 0.0))
        late = sum(10.0 + (3.0 if step % 7 == 0 else 0.0) > forecast.need(step * BIN) for step in range(200, 300))
        assert late <= 10

    def test_peak_and_return(self) -> None:
        forecast = taught(3.5)
        now = 3.5 * DAY  # the need falls for a quarter of a day from here
        forecast.observe(now, diurnal(now))
        assert forecast.peak(now, now + DAY / 4) < 12
        assert forecast.peak(now, now + DAY) > 17
        back_s = forecast.returns_at(12.0, now)
        assert 0.45 * DAY < back_s - now < 0.6 * DAY
        assert forecast.returns_at(100.0, now) == math.inf

    def test_gaps_go_on_as_the_last_value(self) -> None:
        forecast = Forecast(period_s=4 * BIN, bins=4)
        forecast.observe(0.0, 6.0)
        forecast.observe(3 * BIN, 2.0)
        forecast.observe(4 * BIN, 6.0)
        assert forecast.need(5 * BIN) == pytest.approx(6.0)
        assert forecast.need(7 * BIN) == pytest.approx(2.0)

    @pytest.mark.parametrize("bad", [(-1.0, 1), (math.nan, 1), (1.0, -1)])
    def test_nonsense_is_refused(self, bad: tuple[float, float]) -> None:
        forecast = Forecast()
        if bad[0] == -1.0:
            with pytest.raises(ValueError):
                Forecast(period_s=bad[0])
            return
        with pytest.raises(ValueError):
            forecast.observe(*bad)

    @given(st.lists(st.tuples(st.floats(0, 5 * DAY), st.floats(0, 1e6)), max_size=60), st.floats(0, 9 * DAY))
    def test_any_history_gives_a_finite_need(self, history: list[tuple[float, float]], at_s: float) -> None:
        forecast = Forecast()
        for when, need in sorted(history):
            forecast.observe(when, need)
        assert 0 <= forecast.need(at_s) < math.inf
        assert forecast.peak(at_s, at_s + 2 * BIN) >= forecast.need(at_s) - 1e-6
        assert forecast.returns_at(forecast.peak(at_s, at_s + DAY) + 1, at_s) == math.inf


class TestDurations:
    def test_unknown_until_a_few_have_finished(self) -> None:
        durations = Durations(unknown_s=1000.0)
        for _ in range(4):
            durations.learn("a", 1000, 50.0)
        assert durations.quantile("a", 1000, 0.5) == 1000.0
        durations.learn("a", 1000, 50.0)
        assert durations.quantile("a", 1000, 0.5) == 50.0
        assert durations.quantile("a", 8000, 0.5) == 1000.0  # another size
        assert durations.quantile("b", 1000, 0.5) == 1000.0

    def test_what_ran_already_counts(self) -> None:
        durations = Durations()
        for ran_s in (10.0, 20.0, 30.0, 40.0, 50.0):
            durations.learn("a", 1000, ran_s)
        assert durations.quantile("a", 1000, 0.5) == 30.0
        assert durations.quantile("a", 1000, 0.0, ran_s=35.0) == 40.0
        assert durations.quantile("a", 1000, 0.5, ran_s=60.0) == 120.0

    def test_the_old_is_forgotten(self) -> None:
        durations = Durations(keep=10)
        for at in range(100):
            durations.learn("a", 1000, 10.0 if at < 90 else 99.0)
        assert durations.quantile("a", 1000, 0.0) == 99.0

    @given(st.lists(st.floats(0.1, 1e6), min_size=5, max_size=200), st.floats(0, 0.99), st.floats(0, 2e6))
    def test_a_running_job_always_has_more_to_run(self, ran: list[float], share: float, so_far_s: float) -> None:
        durations = Durations(keep=16)
        for each in ran:
            durations.learn("a", 0, each)
        assert durations.quantile("a", 0, share, so_far_s) > so_far_s or so_far_s == 0

    def test_size_classes(self) -> None:
        assert [size_class(milli) for milli in (0, 500, 1000, 2000, 3000, 4000, 8000)] == [0, 0, 1, 2, 2, 3, 4]
