"""One request in the usage ledger: opened before it is dispatched, settled exactly once.

Begin ──▶ End(outcome)          the normal life
Begin ──▶ (nothing)             the worker died; the reader settles it as `worker_lost` with the estimates
"""

from typing import Literal

import msgspec

Outcome = Literal["ok", "client_gone", "engine_error", "upstream_error", "shed", "worker_lost"]


class Begin(msgspec.Struct, frozen=True, tag="b", array_like=True):
    """Written before the request is sent to an engine. Times are Unix seconds."""

    request_id: str
    at: float
    key_id: str
    tenant: str
    model: str
    service: str
    endpoint: str
    prompt_tokens_estimate: int
    batch: bool = False


class End(msgspec.Struct, frozen=True, tag="e", array_like=True):
    """Written when the request is over, whatever happened."""

    request_id: str
    at: float
    outcome: Outcome
    status: int
    """HTTP status sent (0 = none)."""
    replica: str
    num_tries: int
    prompt_tokens: int
    cached_tokens: int
    completion_tokens: int
    estimated: bool
    """True when the engine did not report usage and we counted."""
    ttft_s: float
    """0 when no token was sent, or all of them at once (not streamed)."""
    total_s: float
    overhead_s: float
    route: str
    """The router's reason."""
    cost_pico: int = 0
    """1e-12 CNY"""
    predicted_ttft_s: float = 0.0
    """Comparable to ttft_s: what was predicted when it was sent, and its wait until then. 0 = nothing was."""


class UsageRow(msgspec.Struct, frozen=True, kw_only=True):
    """One settled request: Begin and End in one. `request_id` is its key in the store."""

    request_id: str
    began_at: float
    ended_at: float
    key_id: str
    tenant: str
    model: str
    service: str
    endpoint: str
    batch: bool
    outcome: Outcome
    status: int
    replica: str
    num_tries: int
    prompt_tokens: int
    cached_tokens: int
    completion_tokens: int
    estimated: bool
    ttft_s: float
    total_s: float
    overhead_s: float
    route: str
    cost_pico: int
    predicted_ttft_s: float = 0.0


def settle(begin: Begin, end: End) -> UsageRow:
    """The row of a request that ended."""
    return UsageRow(
        request_id=begin.request_id, began_at=begin.at, ended_at=end.at, key_id=begin.key_id, tenant=begin.tenant,
        model=begin.model, service=begin.service, endpoint=begin.endpoint, batch=begin.batch, outcome=end.outcome,
        status=end.status, replica=end.replica, num_tries=end.num_tries, prompt_tokens=end.prompt_tokens,
        cached_tokens=end.cached_tokens, completion_tokens=end.completion_tokens, estimated=end.estimated,
        ttft_s=end.ttft_s, total_s=end.total_s, overhead_s=end.overhead_s, route=end.route, cost_pico=end.cost_pico,
        predicted_ttft_s=end.predicted_ttft_s,
    )  # fmt: skip


def settle_lost(begin: Begin) -> UsageRow:
    """The row of a request whose worker died: the prompt as estimated, free of charge, as we cannot say what it got."""
    end = End(
        request_id=begin.request_id, at=begin.at, outcome="worker_lost", status=0, replica="", num_tries=0,
        prompt_tokens=begin.prompt_tokens_estimate, cached_tokens=0, completion_tokens=0, estimated=True, ttft_s=0.0,
        total_s=0.0, overhead_s=0.0, route="",
    )  # fmt: skip
    return settle(begin, end)
