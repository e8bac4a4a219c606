"""What usage costs: one function for a request, one for an invoice of many. Pure integers, see prices.py."""

from collections.abc import Iterable
from typing import Protocol

import msgspec

from roadbed.billing.prices import Rates


class Usage(Protocol):
    """What rating reads of a settled request; the ledger's UsageRow is one."""

    @property
    def tenant(self) -> str: ...
    @property
    def model(self) -> str: ...
    @property
    def batch(self) -> bool: ...
    @property
    def prompt_tokens(self) -> int: ...
    @property
    def cached_tokens(self) -> int: ...
    @property
    def completion_tokens(self) -> int: ...
    @property
    def cost_pico(self) -> int: ...


class InvoiceLine(msgspec.Struct, frozen=True, kw_only=True):
    """Everything one tenant used of one model, on line or in batches."""

    tenant: str
    model: str
    batch: bool
    num_requests: int
    prompt_tokens: int
    cached_tokens: int
    completion_tokens: int
    cost_pico: int


def cost_pico(
    rates: Rates, *, prompt_tokens: int, cached_tokens: int, completion_tokens: int, batch: bool = False
) -> int:
    """Pico-CNY of one request. Cached tokens are part of the prompt and cheaper; batch halves all tokens instead.

    Linear in the three counts, so any way of summing requests gives the same bill. Raises ValueError on negative
    counts or more cached tokens than prompt tokens.
    """
    if not 0 <= cached_tokens <= prompt_tokens or completion_tokens < 0:
        raise ValueError(
            f"usage makes no sense: {prompt_tokens} prompt tokens, {cached_tokens} of them cached, "
            f"{completion_tokens} completion tokens"
        )
    if batch:
        return prompt_tokens * rates.batch_input_pico + completion_tokens * rates.batch_output_pico
    fresh = prompt_tokens - cached_tokens
    return fresh * rates.input_pico + cached_tokens * rates.cached_input_pico + completion_tokens * rates.output_pico


def invoice(usage: Iterable[Usage]) -> list[InvoiceLine]:
    """Lines by tenant, model and batch, sorted; costs are the sums of what each request was charged."""
    sums: dict[tuple[str, str, bool], list[int]] = {}
    for row in usage:
        line = sums.setdefault((row.tenant, row.model, row.batch), [0, 0, 0, 0, 0])
        counted = (1, row.prompt_tokens, row.cached_tokens, row.completion_tokens, row.cost_pico)
        for index, amount in enumerate(counted):
            line[index] += amount
    return [
        InvoiceLine(
            tenant=tenant, model=model, batch=batch, num_requests=line[0], prompt_tokens=line[1],
            cached_tokens=line[2], completion_tokens=line[3], cost_pico=line[4],
        )
        for (tenant, model, batch), line in sorted(sums.items())
    ]  # fmt: skip
