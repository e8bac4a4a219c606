"""One replica as the router tracks it: what is configured, what is in flight, what was learned.

`own_*` is what this worker dispatched; the totals beside it add the other workers' rows and are brought up to date
before every decision. They are plain attributes because a decision reads them once per replica.
"""

import math
from collections.abc import Sequence

from roadbed.router.adapters import AdapterSet
from roadbed.router.base import Features, ReplicaInfo, ReplicaReport
from roadbed.router.estimate import Comparison, ReplicaModel

_FIRST_BACKOFF_S = 0.25
_LONGEST_BACKOFF_S = 5.0
_REPORT_FRESH_S = 5.0
_FORGET_S = 30.0
"""A replica that looked slow and was not heard of for so long is tried like any other."""
READY_PROMPTS = 1
"""One under way: the next is sent with its first token, which costs an engine a round trip at most."""
READY_S = 0.1
"""Prompts queued in an engine, in seconds, that need not wait in the gateway: less than a full iteration."""
WORK_S = 30.0
"""What lately means."""
KV_SHARE = 0.9
"""Of an engine's KV cache that is planned with: answers run longer than expected, blocks are never full, and an engine
that runs out preempts, computes again, and falls behind for good."""
FRESH_TOKENS = 25.0
"""A stream's first tokens, in which a stall is felt: later it has slack, and short answers have ended."""


def run_ahead(max_concurrency: int) -> int:
    """Requests sent beyond what the engine runs at once, so that a finished one is followed without a round trip.

    Small, because what waits in the engine can no longer be ordered by priority: an eighth, at least 1, at most 8.
    """
    return min(8, max(1, max_concurrency // 8))


class Replica:
    """Mutable; owned by RouterCore. Times are those of the events."""

    __slots__ = (
        "_adapters",
        "_fresh",
        "_fresh_at",
        "_last_external",
        "_models",
        "active",
        "adapters",
        "backoff_s",
        "bit",
        "compared_decode",
        "compared_ttft",
        "computed",
        "context",
        "decode",
        "external",
        "first_at",
        "first_id",
        "held",
        "id",
        "info",
        "kv_tokens",
        "limit",
        "max_concurrency",
        "model",
        "num_running",
        "num_unanswered",
        "own_context",
        "own_decode",
        "own_model",
        "own_prefill",
        "own_requests",
        "pending",
        "prefill",
        "present",
        "progress_at",
        "room_tokens",
        "slot",
        "suspect_until",
        "typical",
        "work_at_s",
        "work_s",
    )  # fmt: skip

    def __init__(self, info: ReplicaInfo, bit: int, typical: ReplicaModel | None = None) -> None:
        self.bit = bit
        self.slot = info.slot
        self.own_model = ReplicaModel()
        if typical is not None:
            self.own_model.start_from(typical)
        self.typical = typical
        """Its service's costs, learned from all replicas."""
        self.model = typical or self.own_model
        """What decisions go by: its service's costs, scaled where it proved to be clearly slower or faster."""
        self.compared_ttft, self.compared_decode = Comparison(), Comparison()
        self.own_requests = self.own_prefill = self.own_context = self.own_decode = 0
        self.num_running = 0
        """In-flight requests of all workers plus those the engine has from elsewhere."""
        self.prefill = self.context = self.decode = 0
        self.held = 0
        """Prompt tokens of this worker's requests that wait for this replica in particular."""
        self.pending: dict[int, int] = {}
        """Blocks that requests of this worker are computing there now → how many do."""
        self.active: dict[int, tuple[int, int]] = {}
        """Prompt blocks of this worker's requests in flight → how many have them, tokens of one: what prompts take of
        the KV cache, each prefix counted once."""
        self.num_unanswered = 0
        """This worker's requests in flight whose prompts are not computed yet."""
        self.computed = 0
        """Prompt tokens of this worker's requests computed so far."""
        self.first_at = 0.0
        """When it last gave a first token."""
        self.first_id = ""
        """To which request."""
        self.work_s = self.work_at_s = 0.0
        """Seconds of prompts sent here lately, decayed over WORK_S, and when that was so."""
        self._fresh, self._fresh_at = 0.0, 0.0
        """Streams that have just begun, by decay, and when that was so."""
        self.progress_at = 0.0
        """Since when it computes the prompt at the head of its queue: its last first token, or when it had none."""
        self.external = 0
        """Requests the engine reports that no worker sent."""
        self._last_external = 0
        self.present = True
        self.suspect_until = 0.0
        self.backoff_s = 0.0
        self.adapters: AdapterSet | None = None
        """Those loaded, as far as what this worker sent tells; None where it can load none."""
        self.configure(info)

    def configure(self, info: ReplicaInfo) -> None:
        """Takes over a changed configuration of the same replica."""
        self.info = info
        self.id = info.id
        self.kv_tokens = info.kv_tokens
        self.room_tokens = int(info.kv_tokens * KV_SHARE)
        self.max_concurrency = info.max_concurrency
        self.limit = info.max_concurrency + run_ahead(info.max_concurrency)
        self.present = True
        self._models = frozenset(info.models)
        self._adapters = frozenset(info.adapters)
        num_places = info.max_adapters or len(info.adapters)
        if not info.adapters:
            self.adapters = None
        elif self.adapters is None:
            self.adapters = AdapterSet(num_places, info.adapter_load_s)
        elif self.adapters.capacity != num_places:
            self.adapters.resize(num_places)

    def serves(self, features: Features) -> bool:
        """Whether it could ever answer such a request: its model, its adapter, its prompt's length."""
        if features.adapter and features.adapter not in self._adapters:
            return False
        if features.model and self._models and features.model not in self._models:
            return False
        return not 0 < self.info.context_tokens < features.prompt_tokens

    def adapter_s(self, features: Features) -> float:
        """Seconds that the request's adapter adds to its TTFT here, and what loading it takes from others; 0 where it
        wants none or it is loaded (`AdapterSet.seconds`)."""
        if not features.adapter or self.adapters is None:
            return 0.0
        running = self.num_running
        longest_s = self.decode / running * self.model.step_time_s(running) if running else 0.0
        return self.adapters.seconds(features.adapter, longest_s)

    def use_adapter(self, adapter: str) -> bool:
        """A request for it was sent here. Whether it has to be loaded first."""
        return self.adapters is not None and self.adapters.use(adapter)

    def release_adapter(self, adapter: str) -> None:
        """That request is over."""
        if self.adapters is not None:
            self.adapters.release(adapter)

    def charge(self, prefill: int, context: int, decode: int, requests: int = 0) -> None:
        """Adds to my part of the account (negative: gives back)."""
        self.own_requests += requests
        self.own_prefill += prefill
        self.own_context += context
        self.own_decode += decode
        self.num_running += requests
        self.prefill += prefill
        self.context += context
        self.decode += decode

    def backlog_s(self, now: float) -> float:
        """Seconds until the prompts sent so far are computed, less what was done since the last first token: at most
        three quarters, and nothing once it is overdue, for then it may be stuck."""
        whole_s = self.model.prefill_s * self.prefill
        passed_s = now - self.progress_at
        if passed_s <= 0.0 or passed_s > 2.0 * whole_s + 0.5:
            return whole_s
        left_s = whole_s - passed_s
        return left_s if left_s > 0.25 * whole_s else 0.25 * whole_s

    def recent_s(self, now: float) -> float:
        """Seconds of prompts sent here in the last WORK_S or so."""
        return self.work_s * math.exp((self.work_at_s - now) / WORK_S) if now > self.work_at_s else self.work_s

    def add_work(self, seconds: float, now: float) -> None:
        """A prompt that takes so long was sent here."""
        self.work_s, self.work_at_s = self.recent_s(now) + seconds, now

    def begin_stream(self, now: float) -> None:
        """A first token came from here."""
        self._fresh, self._fresh_at = self._decayed(now) + 1.0, now

    def num_fresh(self, now: float) -> float:
        """Streams whom another prompt would stall at their beginning: those whose prompts come before it, and those
        that have just begun, by a decay over FRESH_TOKENS steps."""
        return self.num_unanswered + self._decayed(now)

    def _decayed(self, now: float) -> float:
        passed_s = now - self._fresh_at
        if self._fresh <= 0.0 or passed_s <= 0.0:
            return self._fresh
        lasts_s = FRESH_TOKENS * self.model.step_time_s(self.num_running)
        return self._fresh * math.exp(-passed_s / lasts_s) if passed_s < 10.0 * lasts_s else 0.0

    def is_ready(self, now: float) -> bool:
        """Whether another prompt sent now would soon be begun: what is more waits better in the gateway, where it can
        still be ordered and still go elsewhere."""
        return self.num_unanswered < READY_PROMPTS or self.backlog_s(now) < READY_S

    @property
    def kv_share(self) -> float:
        """Projected share of the KV cache that requests in flight take; may exceed 1."""
        return self.context / self.kv_tokens if self.kv_tokens else 1.0

    def activate(self, blocks: Sequence[int], block_tokens: float) -> int:
        """A request with this prompt is in flight. Returns the tokens of those blocks that no other here has."""
        active, tokens, num_new = self.active, int(block_tokens), 0
        for block in blocks:
            held = active.get(block)
            if held is None:
                active[block] = (1, tokens)
                num_new += 1
            else:
                active[block] = (held[0] + 1, held[1])
        return num_new * tokens

    def deactivate(self, blocks: Sequence[int]) -> int:
        """It has ended. Returns the tokens, as told when they came, of those blocks that nobody has any more."""
        active, gone = self.active, 0
        for block in blocks:
            held = active.get(block)
            if held is None:
                continue
            if held[0] > 1:
                active[block] = (held[0] - 1, held[1])
            else:
                gone += held[1]
                del active[block]
        return gone

    def num_new_active(self, blocks: Sequence[int]) -> int:
        """How many of a prompt's blocks no request in flight has. Chained hashes: the first miss ends the match."""
        active, num = self.active, len(blocks)
        for index in range(num):
            if blocks[index] not in active:
                return num - index
        return 0

    def begin_blocks(self, blocks: Sequence[int]) -> None:
        """A request begins to compute these."""
        pending = self.pending
        for block in blocks:
            pending[block] = pending.get(block, 0) + 1

    def end_blocks(self, blocks: Sequence[int]) -> None:
        """It has computed them, or never will."""
        pending = self.pending
        for block in blocks:
            left = pending.get(block, 0) - 1
            if left > 0:
                pending[block] = left
            else:
                pending.pop(block, None)

    def num_computed(self, blocks: Sequence[int], num_matched: int) -> int:
        """How many of the first `num_matched` blocks come before one that is still being computed."""
        pending = self.pending
        for index in range(num_matched):
            if blocks[index] in pending:
                return index
        return num_matched

    def refresh(self, others: list[int]) -> None:
        """Brings the totals up to date with the other workers' rows."""
        self.num_running = self.own_requests + others[0] + self.external
        self.prefill = self.own_prefill + others[1]
        self.context = self.own_context + others[2]
        self.decode = self.own_decode + others[3]

    def take_report(self, report: ReplicaReport, now: float) -> None:
        """The engine's own count corrects ours for requests that did not come through us.

        The lower of two reports in a row counts: a request finishing between our count and the engine's is no guest.
        """
        if now - report.at > _REPORT_FRESH_S:
            return
        accounted = self.num_running - self.external
        seen = max(0, report.num_running + report.num_waiting - accounted)
        external = min(seen, self._last_external)
        self._last_external = seen
        self.num_running += external - self.external
        self.external = external

    def compare(self, now: float) -> None:
        """Goes by its service's costs, times how much slower it proved to be. Whoever looks slow gets little work, so
        what is known of it gets old: after a while it is given another chance."""
        typical = self.typical
        if typical is None:
            return
        ttft, decode = self.compared_ttft, self.compared_decode
        for compared in (ttft, decode):
            if compared.factor != 1.0 and now - compared.at > _FORGET_S:
                compared.forget()
        if ttft.factor == 1.0 and decode.factor == 1.0:
            self.model = typical
        else:
            self.own_model.follow(typical, ttft.factor, decode.factor)
            self.model = self.own_model

    def fits(self, context_tokens: int) -> bool:
        """Whether one more request may be sent. An idle replica takes any request, however large."""
        running = self.num_running
        return running < self.limit and (self.context + context_tokens <= self.room_tokens or running == 0)

    def suspect(self, now: float) -> None:
        """It just failed a request: nothing new for a moment, twice as long each time it happens again."""
        self.backoff_s = min(_LONGEST_BACKOFF_S, max(_FIRST_BACKOFF_S, 2 * self.backoff_s))
        self.suspect_until = now + self.backoff_s

    def trust(self) -> None:
        """It answered: earlier failures are forgotten."""
        self.backoff_s = 0.0
        self.suspect_until = 0.0
