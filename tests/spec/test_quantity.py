"""Sizes, durations and ranges as people write them, and nothing that only looks like them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from roadbed.spec.quantity import BYTE_UNITS, SECOND_UNITS, IntRange, parse_bytes, parse_seconds


@pytest.mark.parametrize(("text", "num_bytes"), [("2GB", 2 * 10**9), ("512 MiB", 2**29), (7, 7), ("1.5kb", 1500)])
def test_bytes(text: object, num_bytes: int) -> None:
    assert parse_bytes(text) == num_bytes


@pytest.mark.parametrize(("text", "seconds"), [("250ms", 0.25), ("10 minutes", 600.0), (1e-5, 1e-5), (1e17, 1e17)])
def test_seconds(text: object, seconds: float) -> None:
    assert parse_seconds(text) == pytest.approx(seconds)


@pytest.mark.parametrize("value", ["", "-1", "1 parsec", "s", "1e3", True, None, [], -1, float("nan"), float("inf")])
def test_what_is_neither(value: object) -> None:
    for parse in (parse_bytes, parse_seconds):
        with pytest.raises(ValueError):
            parse(value)
    with pytest.raises(ValueError, match="whole number of bytes"):
        parse_bytes("1.5B")


@given(st.integers(0, 10**9), st.sampled_from(sorted(BYTE_UNITS)), st.sampled_from(sorted(SECOND_UNITS)))
def test_units_scale(number: int, size: str, duration: str) -> None:
    assert parse_bytes(f"{number}{size}") == number * BYTE_UNITS[size]
    assert parse_seconds(f"{number} {duration}") == pytest.approx(number * SECOND_UNITS[duration])


@given(st.integers(0, 1000), st.integers(0, 1000))
def test_ranges_read_back(low: int, extra: int) -> None:
    written = IntRange(min=low, max=low + extra)
    assert IntRange.model_validate(written.model_dump()) == written
    assert IntRange.model_validate(f"{low}..{low + extra}") == written


@pytest.mark.parametrize("value", ["4..2", "a", "1..", "..2", True, -1, {"min": 1}, {"min": 1, "max": 2, "more": 3}])
def test_what_is_no_range(value: object) -> None:
    with pytest.raises(ValidationError):
        IntRange.model_validate(value)
