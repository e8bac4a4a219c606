from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from roadbed.billing.prices import price_entry, to_cny, to_pico
from roadbed.spec.platform import Price, PriceBook


def test_the_published_table_is_exact() -> None:
    book = PriceBook(
        models={"qwen-max": Price(input=0.02, output=0.06), "qwen-plus": Price(input=0.0008, output=0.002)}
    )
    top = price_entry(book, "qwen-max")
    assert (top.input_pico, top.cached_input_pico, top.output_pico) == (20_000_000, 8_000_000, 60_000_000)
    assert (top.batch_input_pico, top.batch_output_pico) == (10_000_000, 30_000_000)
    assert price_entry(book, "qwen-plus").cached_input_pico == 320_000


def test_unlisted_models_have_the_default_price_and_a_cached_price_may_be_named() -> None:
    book = PriceBook(models={"m": Price(input=0.001, output=0.002, cached_input=0.0001)})
    assert price_entry(book, "other").input_pico == 300_000
    assert price_entry(book, "m").cached_input_pico == 100_000


@given(st.decimals(0, 1000, places=9), st.decimals(0, 1, places=3), st.decimals(0, 1, places=3))
def test_rates_are_whole_never_negative_and_discounts_never_raise_a_price(
    price: Decimal, cached: Decimal, batch: Decimal
) -> None:
    book = PriceBook(
        default=Price(input=float(price), output=float(price)),
        cached_input_ratio=float(cached),
        batch_ratio=float(batch),
    )
    rates = price_entry(book, "any")
    assert rates.input_pico == int(Decimal(str(float(price))) * 10**9)
    assert 0 <= rates.cached_input_pico <= rates.input_pico
    assert 0 <= rates.batch_input_pico <= rates.input_pico
    assert 0 <= rates.batch_output_pico <= rates.output_pico


@given(st.integers(0, 10**30))
def test_pico_to_cny_is_exact(pico: int) -> None:
    assert int(to_cny(pico) * 10**12) == pico or pico > 10**27  # Decimal's 28 digits end there


@pytest.mark.parametrize(("cny", "pico"), [(0.1, 10**11), (1e-12, 1), (123456.789, 123_456_789 * 10**9)])
def test_amounts_people_write(cny: float, pico: int) -> None:
    assert to_pico(cny) == pico
