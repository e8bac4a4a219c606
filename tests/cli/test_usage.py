"""What was used, by any column, since any moment."""

import time

import click
import pytest

from roadbed.cli.usage import Columns, Moment
from tests.cli.conftest import Shell


def test_columns() -> None:
    assert Columns().convert("key, day", None, None) == ["key", "day"]
    with pytest.raises(click.UsageError, match="'kye' is not one of key, tenant"):
        Columns().convert("kye", None, None)


def test_moments() -> None:
    assert Moment().convert("2026-11-01", None, None) == 1_793_491_200.0
    assert Moment().convert("2026-11-01T08:00+08:00", None, None) == 1_793_491_200.0
    assert Moment().convert("2h", None, None) == pytest.approx(time.time() - 7200, abs=5)
    for wrong in ("yesterday", "-3h", ""):
        with pytest.raises(click.UsageError):
            Moment().convert(wrong, None, None)


@pytest.mark.e2e
def test_usage_counts_what_was_asked(platform: Shell) -> None:
    secret = platform("keys", "create", "counted").out.strip()
    for _ in range(2):
        assert platform("chat", "Hi", "--max-tokens", "3", ROADBED_API_KEY=secret).code == 0
    deadline = time.monotonic() + 15
    while True:
        facts = platform("usage", "--key", "counted", "--by", "key,outcome", "--json").json()
        if facts["total"]["num_requests"] == 2:
            break
        assert time.monotonic() < deadline, facts
    assert facts["total"]["completion_tokens"] == 6
    assert float(facts["total"]["cost_cny"]) > 0
    (row,) = facts["rows"]
    assert row["group"]["outcome"] == "ok"
    said = platform("usage", "--since", "1h")
    assert "counted" in said.out
    assert said.out.splitlines()[-1].startswith("total")
    assert "nothing was used" in platform("usage", "--until", "2020-01-01", "--since", "2019-01-01").err


@pytest.mark.e2e
def test_wrong_usage(platform: Shell) -> None:
    assert platform("usage", "--by", "nothing").code == 2
    assert platform("usage", "--key", "nobody").code == 3
