"""Sizes as they are written."""

import click
import pytest
from hypothesis import given
from hypothesis import strategies as st

from roadbed.cli.base import human_time
from roadbed.cli.fabric_load import MAX_SIZES, Sizes, human_size
from roadbed.fabric.collective.base import MAX_BYTES


@pytest.mark.parametrize(("text", "sizes"), [
    ("1M..4G", tuple(1 << (20 + 2 * at) for at in range(7))),
    ("1k..4K*2", (1024, 2048, 4096)),
    ("64M, 1G", (1 << 26, 1 << 30)),
    ("512", (512,)),
    ("1MiB..1MB", (1 << 20,)),
])  # fmt: skip
def test_sizes(text, sizes):
    assert Sizes().convert(text, None, None) == sizes


@given(st.text("0123456789KMGT.*,-x ", max_size=24))
def test_any_text_is_sizes_or_refused(text):
    try:
        sizes = Sizes().convert(text, None, None)
    except click.UsageError:
        return
    assert 0 < len(sizes) <= MAX_SIZES
    assert all(0 < one <= MAX_BYTES for one in sizes)


@pytest.mark.parametrize(("size", "text"), [(512, "512"), (1 << 20, "1M"), (3 << 29, "1.5G"), (1 << 40, "1T")])
def test_sizes_for_people(size, text):
    assert human_size(size) == text


@pytest.mark.parametrize(("seconds", "text"), [(1.234, "1.23 s"), (0.0125, "12.5 ms"), (2e-6, "2 µs"), (0.0, "0 µs")])
def test_times_for_people(seconds, text):
    assert human_time(seconds) == text
