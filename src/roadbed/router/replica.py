"""One replica as the router tracks it: what is configured, what is in flight, what was learned.

`own_*` is what this worker dispatched; the totals beside it add the other workers' rows and are brought up to date
before every decision. They are plain attributes because a decision reads them once per replica.
"""

from collections.abc import Sequence

from roadbed.router.base import ReplicaInfo, ReplicaReport
from roadbed.router.estimate import ReplicaModel

_FIRST_BACKOFF_S = 0.25
_LONGEST_BACKOFF_S = 5.0
_REPORT_FRESH_S = 5.0
_BORROW_SAMPLES = 8
"""First tokens after which a replica's own coefficients are better than its sisters'."""


def run_ahead(max_concurrency: int) -> int:
    """Requests sent beyond what the engine runs at once, so that a finished one is followed without a round trip.

    Small, because what waits in the engine can no longer be ordered by priority: an eighth, at least 1, at most 8.
    """
    return min(8, max(1, max_concurrency // 8))


class Replica:
    """Mutable; owned by RouterCore. Times are those of the events."""

    __slots__ = (
        "_last_external",
        "active",
        "backoff_s",
        "bit",
        "context",
        "decode",
        "external",
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
        "slot",
        "suspect_until",
    )  # fmt: skip

    def __init__(self, info: ReplicaInfo, bit: int, typical: ReplicaModel | None = None) -> None:
        self.bit = bit
        self.slot = info.slot
        self.own_model = ReplicaModel()
        if typical is not None:
            self.own_model.start_from(typical)
        self.model = typical or self.own_model
        """What decisions go by: its sisters' costs until its own are known, or nobody would ever try a replica whose
        sisters turned out cheaper than our prior."""
        self.own_requests = self.own_prefill = self.own_context = self.own_decode = 0
        self.num_running = 0
        """In-flight requests of all workers plus those the engine has from elsewhere."""
        self.prefill = self.context = self.decode = 0
        self.held = 0
        """Prompt tokens of this worker's requests that wait for this replica in particular."""
        self.pending: dict[int, int] = {}
        """Blocks that requests of this worker are computing there now → how many do."""
        self.active: dict[int, int] = {}
        """Prompt blocks of this worker's requests in flight → how many have them; only for policies that ask."""
        self.num_unanswered = 0
        """This worker's requests in flight whose prompts are not computed yet."""
        self.external = 0
        """Requests the engine reports that no worker sent."""
        self._last_external = 0
        self.present = True
        self.suspect_until = 0.0
        self.backoff_s = 0.0
        self.configure(info)

    def configure(self, info: ReplicaInfo) -> None:
        """Takes over a changed configuration of the same replica."""
        self.info = info
        self.id = info.id
        self.kv_tokens = info.kv_tokens
        self.max_concurrency = info.max_concurrency
        self.limit = info.max_concurrency + run_ahead(info.max_concurrency)
        self.present = True

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

    @property
    def kv_share(self) -> float:
        """Projected share of the KV cache that requests in flight take; may exceed 1."""
        return self.context / self.kv_tokens if self.kv_tokens else 1.0

    def activate(self, blocks: Sequence[int]) -> None:
        """A request with this prompt is in flight."""
        active = self.active
        for block in blocks:
            active[block] = active.get(block, 0) + 1

    def deactivate(self, blocks: Sequence[int]) -> None:
        """It has ended."""
        active = self.active
        for block in blocks:
            left = active.get(block, 0) - 1
            if left > 0:
                active[block] = left
            else:
                active.pop(block, None)

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

    def trust_own_model(self) -> None:
        """Goes by its own costs once there are enough of them."""
        if self.own_model.num_samples >= _BORROW_SAMPLES:
            self.model = self.own_model

    def fits(self, context_tokens: int) -> bool:
        """Whether one more request may be sent. An idle replica takes any request, however large."""
        running = self.num_running
        return running < self.limit and (self.context + context_tokens <= self.kv_tokens or running == 0)

    def suspect(self, now: float) -> None:
        """It just failed a request: nothing new for a moment, twice as long each time it happens again."""
        self.backoff_s = min(_LONGEST_BACKOFF_S, max(_FIRST_BACKOFF_S, 2 * self.backoff_s))
        self.suspect_until = now + self.backoff_s

    def trust(self) -> None:
        """It answered: earlier failures are forgotten."""
        self.backoff_s = 0.0
        self.suspect_until = 0.0
