"""Nouns of the router: what comes in (features, replicas, reports) and what goes out (decisions with a reason).

Pure: time is an argument, randomness is injected, nothing here reads a socket. The same objects run in a gateway
worker and in the twin. What exists once per request (here and in the other rooms of the hot path) is a plain class with
slots: it can be compiled (scripts/compile), which a msgspec Struct cannot.
"""

from collections.abc import Sequence
from typing import Literal

import msgspec

Phase = Literal["prefill", "decode"]
Kind = Literal["go", "wait", "shed"]


class Features:
    """What the router may know of a request before any engine saw it.

    blocks: chained 64-bit hashes of the prompt's full blocks, first to last, of about block_tokens tokens each.
    prompt_tokens: estimated, from prompt_bytes (0 = unknown, then the tokens-per-byte ratio learns nothing).
    output_tokens: expected; max_tokens where given and small, else the service's running mean.
    priority: 1 (first) … 9 (last). deadline: absolute; when waiting beyond it is pointless.
    stream: False when the first byte comes with the whole answer: its arrival then says nothing about prefill alone.
    adapter: the LoRA it wants, "" = the base model; `blocks` must be hashed apart per adapter (`blocks.salt`).
    model: among several in one pool, "" = any replica serves it.
    """

    __slots__ = (
        "adapter", "block_tokens", "blocks", "deadline", "model", "output_tokens", "priority", "prompt_bytes",
        "prompt_tokens", "request_id", "session", "slo_tpot_s", "slo_ttft_s", "stream",
    )  # fmt: skip

    def __init__(
        self,
        *,
        request_id: str,
        blocks: Sequence[int],
        block_tokens: float,
        prompt_tokens: int,
        output_tokens: int,
        priority: int = 5,
        session: str | None = None,
        slo_ttft_s: float | None = None,
        slo_tpot_s: float | None = None,
        deadline: float | None = None,
        prompt_bytes: int = 0,
        stream: bool = True,
        adapter: str = "",
        model: str = "",
    ) -> None:
        self.adapter = adapter
        self.model = model
        self.request_id = request_id
        self.blocks = blocks
        self.block_tokens = block_tokens
        self.prompt_tokens = prompt_tokens
        self.output_tokens = output_tokens
        self.priority = priority
        self.session = session
        self.slo_ttft_s = slo_ttft_s
        self.slo_tpot_s = slo_tpot_s
        self.deadline = deadline
        self.prompt_bytes = prompt_bytes
        self.stream = stream


class ReplicaInfo(msgspec.Struct, frozen=True, kw_only=True):
    """A replica as configured."""

    id: str
    slot: int
    """Row in the account."""
    max_concurrency: int
    kv_tokens: int
    draining: bool = False
    models: tuple[str, ...] = ()
    """Those it serves; none named = whatever the service is asked for."""
    adapters: tuple[str, ...] = ()
    """Those it can load; requests for others are not sent to it."""
    max_adapters: int = 0
    """Loaded at once; 0 = all of them."""
    adapter_load_s: float = 0.5
    """What loading one is taken to cost until it is seen."""
    context_tokens: int = 0
    """Longest prompt it takes; 0 = not known, its engine answers for itself."""
    kind: str = ""
    """What it runs on, as far as its speed goes: replicas of one kind share what is learned. Any word will do."""


class ReplicaReport(msgspec.Struct, frozen=True, kw_only=True):
    """The engine's own account, as polled."""

    at: float
    num_running: int
    num_waiting: int
    kv_usage: float


class Decision:
    """What to do with one request, and why.

    go: send it to `replica` now; it is already counted in the account.
    wait: it is in the queue; a later call returns its go or shed.
    shed: answer 429 with `retry_after_s`.
    reason: a stable code; prefix, sticky, least_cost, least_load, round_robin, spill, only_one; hold, gap,
    busy; queue_full, displaced, deadline, hopeless (it would wait in vain), no_replica, no_capable (no replica there
    serves its model, adapter or length), …
    """

    __slots__ = ("kind", "matched_tokens", "predicted_ttft_s", "reason", "replica", "request_id", "retry_after_s",
                 "slot")  # fmt: skip

    def __init__(
        self,
        request_id: str,
        kind: Kind,
        reason: str,
        *,
        replica: str = "",
        slot: int = -1,
        predicted_ttft_s: float = 0.0,
        matched_tokens: int = 0,
        retry_after_s: float = 0.0,
    ) -> None:
        self.request_id = request_id
        self.kind: Kind = kind
        self.reason = reason
        self.replica = replica
        self.slot = slot
        self.predicted_ttft_s = predicted_ttft_s
        self.matched_tokens = matched_tokens
        self.retry_after_s = retry_after_s

    def _values(self) -> tuple[str, str, str, str, int, float, int, float]:
        return (
            self.request_id, self.kind, self.reason, self.replica, self.slot, self.predicted_ttft_s,
            self.matched_tokens, self.retry_after_s,
        )  # fmt: skip

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Decision) and self._values() == other._values()

    def __hash__(self) -> int:
        return hash(self._values())

    def __repr__(self) -> str:
        return f"Decision{self._values()}"
