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
    """0 when no token was sent."""
    total_s: float
    overhead_s: float
    route: str
    """The router's reason."""
    cost_pico: int = 0
    """1e-12 CNY"""
