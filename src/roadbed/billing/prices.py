"""The price book as integers: whole pico-CNY (1e-12) per token, so that sums of any length are exact.

A price of 0.0003 CNY per 1,000 tokens is 300,000 pico per token; ratios (cached input, batch) are applied to the
per-token price and rounded once, here, half up. From then on a bill is multiplication and addition of integers.
Prices and ratios: Bailian's table (batch 50 %, cached input 40 % of input, not combinable).
"""

from decimal import ROUND_HALF_UP, Decimal

import msgspec

from roadbed.spec.platform import PriceBook

PICO_PER_CNY = 10**12
_TOKENS_PER_PRICE = 1000


class Rates(msgspec.Struct, frozen=True, kw_only=True):
    """Pico-CNY per token of one model."""

    input_pico: int
    cached_input_pico: int
    output_pico: int
    batch_input_pico: int
    batch_output_pico: int


def price_entry(book: PriceBook, model: str) -> Rates:
    """The rates of a model, by its own price or the book's default."""
    price = book.models.get(model, book.default)
    cached = price.cached_input
    return Rates(
        input_pico=_per_token(price.input),
        cached_input_pico=_per_token(price.input, book.cached_input_ratio) if cached is None else _per_token(cached),
        output_pico=_per_token(price.output),
        batch_input_pico=_per_token(price.input, book.batch_ratio),
        batch_output_pico=_per_token(price.output, book.batch_ratio),
    )


def to_pico(cny: float) -> int:
    """An amount people wrote, such as a monthly budget in CNY, in pico-CNY."""
    return _round(Decimal(str(cny)) * PICO_PER_CNY)


def to_cny(pico: int) -> Decimal:
    """Exact CNY of an amount in pico-CNY."""
    return Decimal(pico).scaleb(-12)


def _per_token(cny_per_1k: float, ratio: float = 1.0) -> int:
    return _round(Decimal(str(cny_per_1k)) * Decimal(str(ratio)) * PICO_PER_CNY / _TOKENS_PER_PRICE)


def _round(amount: Decimal) -> int:
    return int(amount.to_integral_value(rounding=ROUND_HALF_UP))
