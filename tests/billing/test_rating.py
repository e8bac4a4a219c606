from typing import NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from roadbed.billing.prices import Rates
from roadbed.billing.rating import cost_pico, invoice

_PRICE = st.integers(0, 10**9)
_RATES = st.builds(
    Rates, input_pico=_PRICE, cached_input_pico=_PRICE, output_pico=_PRICE, batch_input_pico=_PRICE,
    batch_output_pico=_PRICE,
)  # fmt: skip
_USAGE = st.tuples(st.integers(0, 10**7), st.integers(0, 10**7), st.integers(0, 10**7)).map(
    lambda t: {"prompt_tokens": max(t[0], t[1]), "cached_tokens": min(t[0], t[1]), "completion_tokens": t[2]}
)


@given(_RATES, _USAGE, _USAGE, st.booleans())
def test_costs_add_up_whichever_way_they_are_summed(rates: Rates, a: dict, b: dict, batch: bool) -> None:
    both = {name: a[name] + b[name] for name in a}
    assert cost_pico(rates, **a, batch=batch) + cost_pico(rates, **b, batch=batch) == cost_pico(
        rates, **both, batch=batch
    )


@given(_RATES, _USAGE, st.booleans())
def test_costs_are_whole_and_never_negative(rates: Rates, usage: dict, batch: bool) -> None:
    cost = cost_pico(rates, **usage, batch=batch)
    assert isinstance(cost, int)
    assert cost >= 0


RATES = Rates(
    input_pico=300_000, cached_input_pico=120_000, output_pico=600_000, batch_input_pico=150_000,
    batch_output_pico=300_000,
)  # fmt: skip


def test_cached_tokens_are_the_cheaper_part_of_the_prompt() -> None:
    cost = cost_pico(RATES, prompt_tokens=100, cached_tokens=40, completion_tokens=10)
    assert cost == 60 * 300_000 + 40 * 120_000 + 10 * 600_000


def test_batch_and_cached_discounts_do_not_combine() -> None:
    cost = cost_pico(RATES, prompt_tokens=100, cached_tokens=40, completion_tokens=10, batch=True)
    assert cost == 100 * 150_000 + 10 * 300_000


@pytest.mark.parametrize("usage", [(1, 2, 0), (-1, 0, 0), (1, -1, 0), (1, 0, -1)])
def test_nonsense_is_refused(usage: tuple[int, int, int]) -> None:
    with pytest.raises(ValueError, match="makes no sense"):
        cost_pico(RATES, prompt_tokens=usage[0], cached_tokens=usage[1], completion_tokens=usage[2])


class Row(NamedTuple):
    tenant: str
    model: str
    batch: bool
    prompt_tokens: int
    cached_tokens: int
    completion_tokens: int
    cost_pico: int


def test_an_invoice_has_a_line_per_tenant_model_and_mode() -> None:
    rows = [
        Row("b", "m", False, 10, 2, 3, 100), Row("a", "m", False, 1, 0, 1, 7), Row("a", "m", True, 1, 0, 1, 3),
        Row("b", "m", False, 20, 0, 4, 50),
    ]  # fmt: skip
    lines = invoice(rows)
    assert [(line.tenant, line.batch, line.num_requests, line.cost_pico) for line in lines] == [
        ("a", False, 1, 7), ("a", True, 1, 3), ("b", False, 2, 150),
    ]  # fmt: skip
    assert (lines[2].prompt_tokens, lines[2].cached_tokens, lines[2].completion_tokens) == (30, 2, 7)
    assert sum(line.cost_pico for line in lines) == sum(row.cost_pico for row in rows)
    assert invoice([]) == []
