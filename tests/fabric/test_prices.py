"""Prices: defaults that say what they rest on, files that replace single figures."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from roadbed.errors import SpecError
from roadbed.fabric import prices
from roadbed.fabric.prices import DEFAULTS


def test_published_relations_hold() -> None:
    assert DEFAULTS["switch_51t"].watts == pytest.approx(1.45 * DEFAULTS["switch_25t"].watts)
    assert DEFAULTS["multimode"].usd == pytest.approx(0.3 * DEFAULTS["single_mode"].usd)


def test_every_default_is_marked() -> None:
    assert all(price.basis.startswith("estimate: ") for price in DEFAULTS.values())


def test_single_figures_are_replaced() -> None:
    table = prices.read("switch_51t: {usd: 38000}\naoc: {watts: 3, basis: quote of May}\n", "prices.yaml")
    assert (table["switch_51t"].usd, table["switch_51t"].watts) == (38_000, DEFAULTS["switch_51t"].watts)
    assert (table["aoc"].usd, table["aoc"].watts, table["aoc"].basis) == (DEFAULTS["aoc"].usd, 3, "quote of May")
    assert table["card"] == DEFAULTS["card"]


def test_what_is_written_is_read() -> None:
    again = prices.read(prices.write(DEFAULTS), "x")
    for part, usual in DEFAULTS.items():
        assert (again[part].usd, again[part].watts) == pytest.approx((usual.usd, usual.watts))
        assert again[part].basis == usual.basis


def test_an_empty_file_changes_nothing() -> None:
    assert prices.read("# nothing yet\n", "x") == DEFAULTS


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("- 1\n", "p:1: expected one mapping"),
        ("a: 1\n---\nb: 1\n", "p:1: expected one mapping"),
        ("card: {usd: 1}\nswitch_100t: {usd: 1}\n", "p:2: switch_100t is no part"),
        ("card: {usd: 1}\naoc: {usd: -1}\n", "p:2: aoc:"),
        ("card: {euro: 1}\n", "p:1: card:"),
        ("card: 5\n", "p:1: card:"),
        ("card: [\n", "p:2:"),
    ],
)
def test_mistakes_have_their_line(text: str, said: str) -> None:
    with pytest.raises(SpecError) as caught:
        prices.read(text, "p")
    assert str(caught.value).startswith(said)


@given(st.text(alphabet="cardaoc: {}[]usdwatt0123456789.-e\n", max_size=60))
def test_any_text_is_prices_or_an_error(text: str) -> None:
    try:
        assert prices.read(text, "p").keys() == DEFAULTS.keys()
    except SpecError as error:
        assert str(error).startswith("p:")
