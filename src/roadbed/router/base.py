"""Nouns of the router: what comes in (features, replicas, reports) and what goes out (decisions with a reason).

Pure: time is an argument, randomness is injected, nothing here reads a socket. The same objects run in a gateway
worker and in the twin.
"""

from typing import Literal

import msgspec

Phase = Literal["prefill", "decode"]


class Features(msgspec.Struct, kw_only=True):
    """What the router may know of a request before any engine saw it."""

    request_id: str
    blocks: tuple[int, ...] | list[int]
    """Chained 64-bit hashes of the prompt's full blocks, first to last."""
    block_tokens: float
    """Estimated tokens per block."""
    prompt_tokens: int
    """Estimated."""
    output_tokens: int
    """Expected: max_tokens where given and small, else the service's running mean."""
    priority: int = 5
    """1 (first) … 9 (last)."""
    session: str | None = None
    slo_ttft_s: float | None = None
    slo_tpot_s: float | None = None
    deadline: float | None = None
    """Absolute; when waiting beyond it is pointless."""
    prompt_bytes: int = 0
    """Bytes the estimate `prompt_tokens` was made from; 0 = unknown, then the tokens-per-byte ratio learns nothing."""
    stream: bool = True
    """False when the first byte comes with the whole answer: its arrival then says nothing about prefill alone."""


class ReplicaInfo(msgspec.Struct, frozen=True, kw_only=True):
    """A replica as configured."""

    id: str
    slot: int
    """Row in the account."""
    max_concurrency: int
    kv_tokens: int
    draining: bool = False


class ReplicaReport(msgspec.Struct, frozen=True, kw_only=True):
    """The engine's own account, as polled."""

    at: float
    num_running: int
    num_waiting: int
    kv_usage: float


class Decision(msgspec.Struct, frozen=True, kw_only=True):
    """What to do with one request, and why.

    go: send it to `replica` now; it is already counted in the account.
    wait: it is in the queue; a later call returns its go or shed.
    shed: answer 429 with `retry_after_s`.
    """

    request_id: str
    kind: Literal["go", "wait", "shed"]
    reason: str
    """Stable code: prefix, sticky, least_cost, least_load, round_robin, spill, only_one, queue_full, deadline, …"""
    replica: str = ""
    slot: int = -1
    predicted_ttft_s: float = 0.0
    matched_tokens: int = 0
    retry_after_s: float = 0.0
