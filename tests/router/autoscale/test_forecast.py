import math

import pytest

from roadbed.router.autoscale.forecast import Forecast


def test_nothing_seen_is_nothing_expected() -> None:
    assert Forecast().ahead(600.0) == 0.0


def test_a_line_is_continued_but_not_beyond_twice() -> None:
    forecast = Forecast()
    for minute in range(12):
        forecast.observe(60.0 * minute, 10.0 + minute)
    assert forecast.ahead(120.0) == pytest.approx(10 + 11 + 2)
    assert forecast.ahead(36_000.0) == pytest.approx(2 * 21)


def test_noise_is_no_trend() -> None:
    forecast = Forecast()
    for minute in range(12):
        forecast.observe(60.0 * minute, 20.0 + (5 if minute % 2 else -5))
    assert forecast.ahead(600.0) == pytest.approx(20.0)


def day(minute: int) -> float:
    return 20.0 - 15.0 * math.cos(minute / 1440 * 2 * math.pi)


@pytest.mark.parametrize("scale", [1.0, 1.5, 9.0])
def test_yesterday_is_expected_again_as_much_larger_as_today_is(scale: float) -> None:
    forecast = Forecast()
    for minute in range(1440 + 300):
        forecast.observe(60.0 * minute, day(minute) * (scale if minute >= 1440 else 1.0))
    ahead = forecast.ahead(3600.0)
    assert ahead >= day(299 + 60) * min(scale, 2.0) * 0.95
    assert ahead <= 2.0 * day(299 + 60) * scale


def test_it_is_bounded() -> None:
    forecast = Forecast(bucket_s=600.0)
    for step in range(144 * 10):
        forecast.observe(600.0 * step, 1.0)
    assert len(forecast._means) <= 2 * 144 + 1


@pytest.mark.parametrize("bucket_s", [0.0, -1.0, 4000.0])
def test_a_bucket_is_a_bucket(bucket_s: float) -> None:
    with pytest.raises(ValueError, match="bucket"):
        Forecast(bucket_s)
