"""The router of one service in one worker: events in, decisions out.

    arrive ──▶ go ──▶ first_byte ──▶ finish          counted in the account from go to finish, exactly
       │        └───▶ failed ──▶ go elsewhere | wait | shed
       ├─────▶ wait ──▶ go | shed                    returned by a later finish, cancel or tick
       └─────▶ shed

Pure: every method takes the time, ties are broken by an injected generator, and the shared account is an interface.
The same stream of events gives the same decisions. Nothing is unbounded: the queue by `max_queue`, waits by a
deadline, the prefix index by the engines' KV capacity, sessions by number and age.
"""

import heapq
import random
from collections.abc import Sequence

from roadbed.router.account import AccountView
from roadbed.router.admission import Waiting, WaitQueue
from roadbed.router.base import Decision, Features, ReplicaInfo, ReplicaReport
from roadbed.router.estimate import ServiceModel
from roadbed.router.live import Live, answered, learn
from roadbed.router.pace import Pace
from roadbed.router.policies import Choice, Context, create
from roadbed.router.pool import Pool
from roadbed.router.replica import Replica
from roadbed.router.sessions import SessionMap, Visit

_LOOK_AHEAD = 16
"""Waiting requests considered for a freed place."""
_MOST_PASSED = 16
_MOST_HELD = 8
"""Requests held at once: fewer than are looked at for a freed place, or nobody behind them would get one."""
_BATCH = 8
"""Priorities from here on fill gaps."""
_GAP = 0.25
"""A replica with fewer fresh streams than this is in a gap."""
_GAP_SHARE = 2
"""One in so many replicas may compute such a prompt at a time: whoever comes next finds another."""
_GAP_PATIENCE = 0.5
"""Share of its wait that a batch request spends waiting for a gap; then it waits like others."""
_HOPELESS = 1.5
"""Times what it may wait: predicted to wait so long, a request is turned away at once."""


class RouterCore:
    """All state of one service's routing in one worker."""

    def __init__(
        self,
        *,
        account: AccountView,
        policy: str = "roadbed",
        seed: int = 0,
        max_queue: int = 512,
        max_wait_s: float = 30.0,
        block_bytes: int = 256,
        publish_news: bool = False,
        admission: bool = True,
    ) -> None:
        """`publish_news`: keep what was inserted into the prefix index for `drain_news` (several workers).
        `admission`: False sends everything at once, as routers without admission of their own do (for comparisons)."""
        self.service = ServiceModel()
        self.block_bytes = block_bytes
        self._pool = Pool(account, self.service.typical, admission)
        self._policy = create(policy)
        self._rng = random.Random(seed)
        self._max_wait_s = max_wait_s
        self._queue = WaitQueue(max_queue)
        self._gaps = WaitQueue(max_queue)
        self._pace = Pace()
        self._num_sent = 0
        self._live: dict[str, Live] = {}
        self._sessions = SessionMap()
        self._num_held = self._num_filling = 0
        self._pending: list[Decision] = []
        self._expected: list[tuple[float, str]] = []
        self._publish_news = publish_news
        self._news: list[tuple[int, list[int]]] = []

    # --- what the gateway needs to make Features -------------------------------------------------------------------

    @property
    def block_tokens(self) -> float:
        """Estimated tokens of one prompt block."""
        return self.block_bytes * self.service.tokens_per_byte

    def prompt_tokens(self, num_bytes: int) -> int:
        """Estimated tokens of a prompt of so many bytes; at least 1."""
        return max(1, int(num_bytes * self.service.tokens_per_byte + 0.5))

    def output_tokens(self, max_tokens: int | None) -> int:
        """Expected output: the service's running mean, or max_tokens where that is smaller."""
        mean = max(1, int(self.service.mean_output_tokens + 0.5))
        return mean if max_tokens is None else min(max_tokens, mean)

    # --- state ----------------------------------------------------------------------------------------------------

    @property
    def num_waiting(self) -> int:
        """Requests in the queue. While > 0, call `tick` every few ms: other workers may free capacity."""
        return len(self._queue) + len(self._gaps)

    @property
    def _is_full(self) -> bool:
        return len(self._queue) + len(self._gaps) >= self._queue.max_queue

    @property
    def num_live(self) -> int:
        return len(self._live)

    @property
    def replicas(self) -> Sequence[Replica]:
        """Every replica of the last `set_replicas`, in slot order; read-only, for metrics and the console."""
        return self._pool.present

    @property
    def num_prefix_blocks(self) -> int:
        return len(self._pool.prefix)

    def configure(self, *, policy: str, max_queue: int, max_wait_s: float) -> None:
        """Takes over changed settings; waiting requests keep their deadlines. Raises UsageError on unknown policy."""
        if policy != self._policy.name:
            self._policy = create(policy)
        self._queue.max_queue = self._gaps.max_queue = max_queue
        self._max_wait_s = max_wait_s

    def set_replicas(self, replicas: Sequence[ReplicaInfo], now: float) -> None:
        """The replicas there are. Draining ones and those missing get nothing new; what they run is released as it
        ends. A known slot with another id is a new replica. Waiting requests are looked at by the next `tick`."""
        self._pool.set(replicas, self.block_tokens, now)
        self.service.typical = self._pool.typical or self.service.typical

    def report(self, slot: int, report: ReplicaReport, now: float) -> None:
        """The engine's own count; unknown slots and stale reports are ignored."""
        replica = self._pool.by_slot.get(slot)
        if replica is not None and replica.present:
            self._pool.refresh()
            replica.take_report(report, now)

    def suspect(self, slot: int, now: float) -> None:
        """A replica failed in some other way (broke a stream): nothing new to it for a moment."""
        self._pool.suspect(slot, now)

    # --- life of a request -----------------------------------------------------------------------------------------

    def arrive(self, features: Features, now: float) -> Decision:
        """go, wait or shed. Raises ValueError when the request id is in flight or waiting already."""
        request_id = features.request_id
        queue = self._queue
        if request_id in self._live or (len(queue) and request_id in queue) or request_id in self._gaps:
            raise ValueError(f"request {request_id} is already in flight")
        deadline = now + self._max_wait_s
        if features.deadline is not None and features.deadline < deadline:
            deadline = features.deadline
        waiting = Waiting(features, now, deadline)
        if self._pool.is_choosy(features) and not self._pool.any_capable(features):
            return self._shed(waiting, "no_capable", now)
        fills = features.priority >= _BATCH and self._policy.holds
        if len(queue) == self._num_held and not (fills and len(self._gaps)):  # nobody who would take just any place
            decision = self._dispatch(waiting, now, fills)
            if decision is not None:
                return decision
        if fills and not self._is_full:
            return self._wait_for_gap(waiting, now)
        return self._wait(waiting, now)

    def first_byte(self, request_id: str, now: float) -> None:
        """The replica answered: its prefill is over. Unknown ids and repeats are ignored."""
        live = self._live.get(request_id)
        if live is None or live.first_byte_at:
            return
        replica = self._pool.by_slot[live.slot]
        answered(live, replica, self._live.get(replica.first_id), now)
        if replica.backoff_s:
            self._pool.trust(replica, now)
        self._release_prefill(live, replica)

    def finish(
        self,
        request_id: str,
        now: float,
        *,
        outcome_ok: bool,
        prompt_tokens: int = 0,
        cached_tokens: int | None = None,
        completion_tokens: int = 0,
    ) -> list[Decision]:
        """The request is over, however: released exactly once, repeats are ignored. Returns decisions for waiting
        ones. Learns only from outcome_ok; prompt_tokens 0 and cached_tokens None mean the engine did not say."""
        live = self._live.pop(request_id, None)
        if live is None:
            return self.cancel(request_id, now)
        replica = self._pool.by_slot[live.slot]
        if outcome_ok:
            pool = self._pool
            learn(
                live, replica, self.service, pool.prefix, now, prompt_tokens=prompt_tokens,
                cached_tokens=cached_tokens, completion_tokens=completion_tokens,
            )  # fmt: skip
            pool.account.count(live.slot, prompt_tokens, cached_tokens or 0, completion_tokens)
            if replica.backoff_s:
                pool.trust(replica, now)
            if live.waiting.features.session is not None:
                self._remember_session(live, prompt_tokens, completion_tokens, now)
        self._release(live, replica, outcome_ok)
        return self._drain(now, replica.held > 0)

    def failed(self, request_id: str, now: float) -> Decision:
        """The replica was lost before the first byte: choose another that has not failed this request.

        wait when all of those are full; shed with reason `no_replica` when there are none.
        """
        live = self._live.pop(request_id, None)
        if live is None:
            return Decision(request_id, "shed", "unknown_request")
        self._release(live, self._pool.by_slot[live.slot])
        self._pool.suspect(live.slot, now)
        waiting = live.waiting
        waiting.tried |= {live.slot}
        if not self._pool.any_untried(waiting.tried, waiting.features):
            return self._shed(waiting, "no_replica", now)
        return self._dispatch(waiting, now) or self._wait(waiting, now)

    def cancel(self, request_id: str, now: float) -> list[Decision]:
        """The client left, before or after dispatch; no decision about it follows."""
        waiting = self._queue.remove(request_id) or self._gaps.remove(request_id)
        if waiting is not None:
            self._let_go(waiting)
        else:
            live = self._live.pop(request_id, None)
            if live is not None:
                self._release(live, self._pool.by_slot[live.slot])
        self._pending = [decision for decision in self._pending if decision.request_id != request_id]
        return self._drain(now)

    def tick(self, now: float) -> list[Decision]:
        """Deadlines, capacity freed by others, suspects forgiven. Call every ≈50 ms, more often while any wait."""
        self._pool.forgive(now)
        while self._expected and self._expected[0][0] <= now:
            live = self._live.get(heapq.heappop(self._expected)[1])
            if live is not None and not live.first_byte_at:
                self._release_prefill(live, self._pool.by_slot[live.slot])
        for waiting in self._queue.expire(now):
            self._pending.append(self._shed(waiting, "deadline" if self._pool.present else "no_replica", now))
        for waiting in self._gaps.expire(now):
            waiting.deadline = waiting.last_call
            decision = self._wait(waiting, now)
            if decision.kind == "shed":
                self._pending.append(decision)
        return self._drain(now, True)

    # --- prefix news ----------------------------------------------------------------------------------------------

    def drain_news(self) -> list[tuple[int, list[int]]]:
        """(slot, blocks) dispatched since the last call, for the other workers."""
        news, self._news = self._news, []
        return news

    def prefix_news(self, slot: int, blocks: Sequence[int], now: float, *, removed: bool = False) -> None:
        """Blocks another worker sent to a replica, or an engine's cache events; unknown slots are ignored."""
        replica = self._pool.by_slot.get(slot)
        if replica is None or not replica.present:
            return
        if removed:
            self._pool.prefix.removed(replica.bit, blocks)
        else:
            self._pool.prefix.stored(replica.bit, blocks, now)

    # --- inside ---------------------------------------------------------------------------------------------------

    def _dispatch(self, waiting: Waiting, now: float, in_gap: bool = False) -> Decision | None:
        """go, already counted; None when no replica has room or the request is held for one. in_gap: only where nobody
        has just begun or is about to."""
        features, pool = waiting.features, self._pool
        self._let_go(waiting)
        ready_at = now if self._policy.holds and self.service.typical.is_warm else -1.0
        asks = features if pool.is_choosy(features) else None
        candidates = pool.candidates(features.prompt_tokens + features.output_tokens, waiting.tried, ready_at, asks)
        if in_gap:
            if self._num_filling >= max(1, len(pool.present) // _GAP_SHARE):
                return None
            candidates = [replica for replica in candidates if replica.num_fresh(now) < _GAP]
        if not candidates:
            return None
        prefix = pool.prefix
        uses_prefix = self._policy.uses_prefix and bool(features.blocks)
        matched_blocks = prefix.match(features.blocks) if uses_prefix else [0] * len(prefix.lrus)
        sticky_slot, sticky_tokens = -1, 0
        if features.session is not None:
            sticky_slot, sticky_tokens = self._stickiness(features.session, features, matched_blocks, now)
        num_open = len(candidates)
        if in_gap or (self._policy.holds and not self._is_full and self._num_held < _MOST_HELD):
            candidates += pool.full(candidates, waiting.tried, asks)
        computed_blocks = _computed(candidates, features.blocks, matched_blocks) if uses_prefix else None
        context = Context(
            now, matched_blocks, prefix, sticky_slot, sticky_tokens, len(self._queue), self._rng, computed_blocks,
            num_open,
        )  # fmt: skip
        choice = self._policy.choose(features, candidates, context)
        replica = candidates[choice.pick]
        if choice.hold and in_gap:
            return None
        if choice.hold and not self._is_full:
            self._hold(waiting, replica, features.prompt_tokens - choice.matched_tokens)
            return None
        return self._send(waiting, replica, choice, context, now, in_gap)

    def _send(
        self, waiting: Waiting, replica: Replica, choice: Choice, context: Context, now: float, in_gap: bool
    ) -> Decision:
        """Counts the request at its replica."""
        features, pool = waiting.features, self._pool
        uses_prefix = self._policy.uses_prefix and bool(features.blocks)
        touched: Sequence[float] = ()
        num_computed = context.computed_blocks[replica.bit]
        if uses_prefix:
            touched = self._insert(replica, features.blocks, num_computed, now)

        prefill = features.prompt_tokens - choice.matched_tokens
        live = Live(waiting, replica, now, prefill, touched)
        live.num_pending = context.matched_blocks[replica.bit] - num_computed
        if uses_prefix and num_computed < len(features.blocks):
            live.computing = features.blocks[num_computed:]
            replica.begin_blocks(live.computing)
        blocks, shared = features.blocks, 0
        if blocks:
            live.active = blocks
            live.context = live.decode + max(0, features.prompt_tokens - int(len(blocks) * features.block_tokens))
            shared = replica.activate(blocks, features.block_tokens)
        if features.adapter:
            live.loads = replica.use_adapter(features.adapter)
        replica.add_work(prefill * replica.model.prefill_s, now)
        replica.num_unanswered += 1
        self._live[features.request_id] = live
        self._num_sent += 1
        if in_gap:
            live.fills = True
            self._num_filling += 1
        if not replica.prefill:
            replica.progress_at = now
        pool.charge(replica, live.prefill, live.context + shared, live.decode, 1)
        if not features.stream:
            heapq.heappush(self._expected, (now + choice.ttft_s, features.request_id))
        return Decision(
            features.request_id,
            "go",
            choice.reason,
            replica=replica.id,
            slot=replica.slot,
            predicted_ttft_s=choice.ttft_s,
            matched_tokens=choice.matched_tokens,
        )

    def _hold(self, waiting: Waiting, replica: Replica, num_tokens: int) -> None:
        """The request waits for this replica; the next ones see what it will have to compute there."""
        waiting.held_for, waiting.held_tokens = replica.slot, num_tokens
        replica.held += num_tokens
        self._num_held += 1

    def _let_go(self, waiting: Waiting) -> None:
        if waiting.held_for < 0:
            return
        self._num_held -= 1
        replica = self._pool.by_slot.get(waiting.held_for)
        if replica is not None:
            replica.held = max(0, replica.held - waiting.held_tokens)
        waiting.held_for = -1

    def _insert(self, replica: Replica, blocks: Sequence[int], num_matched: int, now: float) -> Sequence[float]:
        """Believes the prompt to be on its replica from now on; returns the matched blocks' earlier touches."""
        prefix = self._pool.prefix
        touched = prefix.touched_at(replica.bit, blocks, num_matched)
        prefix.observe_reuse(num_matched, len(blocks), now - touched[-1] if touched else 0.0)
        news = prefix.insert(replica.bit, blocks, now)
        if news and self._publish_news:
            self._news.append((replica.slot, news))
        return touched

    def _stickiness(
        self, session: str, features: Features, matched_blocks: Sequence[int], now: float
    ) -> tuple[int, int]:
        """(slot of the session's last turn or −1, tokens cached there if this request continues that turn)."""
        visit = self._sessions.get(session, now)
        if visit is None:
            return -1, 0
        replica = self._pool.by_slot.get(visit.slot)
        if replica is None or not replica.present:
            return -1, 0
        continues = matched_blocks[replica.bit] >= visit.num_blocks and features.prompt_tokens >= visit.tokens // 2
        return visit.slot, min(visit.tokens, features.prompt_tokens - 1) if continues else 0

    def _remember_session(self, live: Live, prompt_tokens: int, completion_tokens: int, now: float) -> None:
        features = live.waiting.features
        if features.session is not None:
            tokens = (prompt_tokens or features.prompt_tokens) + completion_tokens
            self._sessions.put(features.session, Visit(live.slot, len(features.blocks), tokens, now))

    def _wait(self, waiting: Waiting, now: float) -> Decision:
        """Queues the request. When the queue is full the one that would go last is shed, be it this one; so is whoever
        would wait in vain.

        What waits is not looked at again here: a finish or a tick does that, and hands out what it decides at once.
        """
        features, queue = waiting.features, self._queue
        request_id = features.request_id
        if waiting.deadline <= now:
            return self._shed(waiting, "deadline", now)
        if self._policy.holds and not waiting.sequence:
            share = self._pool.prefix.longest(features.blocks, -1)
            waiting.cost_s = self.service.typical.prefill_s * features.prompt_tokens * (1.0 - share)
        wait_s = 0.0
        if len(queue) > self._num_held and self._pool.is_staffed:  # else it waits for a start, not for a place
            wait_s = self._pace.wait_s(queue.num_before(waiting.level()) + 1)
            if wait_s > _HOPELESS * (waiting.deadline - now):
                return self._shed(waiting, "hopeless", now, wait_s)
        if self._is_full:
            last = self._gaps.last() or queue.last()
            if last is None or last.level() <= waiting.level():
                return self._shed(waiting, "queue_full", now, wait_s)
            self._gaps.remove(last.features.request_id) or queue.remove(last.features.request_id)
            self._pending.append(self._shed(last, "displaced", now, wait_s))
        queue.push(waiting)
        reason = "hold" if waiting.held_for >= 0 else "busy" if self._pool.present else "no_replica"
        return Decision(request_id, "wait", reason, predicted_ttft_s=wait_s)

    def _wait_for_gap(self, waiting: Waiting, now: float) -> Decision:
        """A batch request waits beside the queue until nobody minds it, for a share of the time it may wait."""
        waiting.last_call = waiting.deadline
        waiting.deadline = now + _GAP_PATIENCE * (waiting.last_call - now)
        self._gaps.push(waiting)
        return Decision(waiting.features.request_id, "wait", "gap")

    def _fill_gaps(self, now: float) -> list[Decision]:
        """Sends batch requests, in order, to replicas where nobody has just begun; only while no other waits for a
        place."""
        decisions: list[Decision] = []
        while len(self._gaps) and len(self._queue) == self._num_held and self._pool.has_room():
            waiting = self._gaps.pop()
            if waiting is None:
                break
            decision = self._dispatch(waiting, now, True)
            if decision is None:
                self._gaps.push(waiting)
                break
            decisions.append(decision)
        return decisions

    def _pump(self, now: float) -> list[Decision]:
        """Dispatches from the queue in order; a request barred from a free replica (it failed there) lets the next
        one pass."""
        decisions: list[Decision] = []
        set_aside: list[Waiting] = []
        while self._pool.has_room():
            waiting = self._next_waiting()
            if waiting is None:
                break
            if waiting.tried and self._pool.present and not self._pool.any_untried(waiting.tried, waiting.features):
                decisions.append(self._shed(waiting, "no_replica", now))
                continue
            decision = self._dispatch(waiting, now)
            if decision is not None:
                decisions.append(decision)
                continue
            set_aside.append(waiting)
            if len(set_aside) >= _LOOK_AHEAD or self._ends_pump(waiting):
                break
        for waiting in set_aside:
            self._queue.push(waiting)
        return decisions

    def _ends_pump(self, waiting: Waiting) -> bool:
        """It found no place although it would take any: nor would those behind it."""
        return not waiting.tried and waiting.held_for < 0 and not self._pool.is_choosy(waiting.features)

    def _next_waiting(self) -> Waiting | None:
        """The first in the queue, or one of its level whose prefix the free replicas hold.

        When every replica is full, whichever ends a request first gets the next one: taken blindly, requests would
        land where their prefix is not, take longer, and keep the pool full. Nobody is passed over more than
        `_MOST_PASSED` times.
        """
        if not self._policy.uses_prefix:
            return self._queue.pop()
        level = self._queue.pop_level(_LOOK_AHEAD)
        if len(level) <= 1:
            return level[0] if level else None
        best = 0
        if level[0].num_passed < _MOST_PASSED:
            mask = self._pool.free_mask()
            best = min(range(len(level)), key=lambda index: (self._tokens_left(level[index].features, mask), index))
        for index, waiting in enumerate(level):
            if index != best:
                waiting.num_passed += index < best
                self._queue.push(waiting)
        return level[best]

    def _tokens_left(self, features: Features, mask: int) -> float:
        """Prompt tokens the best of the replicas in `mask` would have to compute."""
        return features.prompt_tokens * (1.0 - self._pool.prefix.longest(features.blocks, mask))

    def _drain(self, now: float, is_news: bool = False) -> list[Decision]:
        """What waited and may go now, and what was decided in passing. Held requests are priced again only when there
        is news of a replica that some are held for, or a tick."""
        decisions, self._pending = self._pending, []
        num_waiting = len(self._queue) - self._num_held
        if is_news or num_waiting > 0:
            decisions.extend(self._pump(now))
        if len(self._gaps):
            decisions.extend(self._fill_gaps(now))
        self._pace.observe(now, num_waiting if self._pool.is_staffed else 0, self._num_sent)
        self._num_sent = 0
        return decisions

    def _shed(self, waiting: Waiting, reason: str, now: float, wait_s: float = 0.0) -> Decision:
        """Turned away, with a time after which it is worth coming back."""
        self._let_go(waiting)
        slots = sum(replica.max_concurrency for replica in self._pool.present if not replica.info.draining)
        if not slots:
            retry_s = self._max_wait_s
        else:
            guess = slots / self.service.mean_service_s
            wait_s = wait_s or len(self._queue) / (self._pace.per_second or guess)
            retry_s = self._pace.promise(now, wait_s, waiting.last_call - waiting.arrived_at, guess)
        return Decision(waiting.features.request_id, "shed", reason, retry_after_s=retry_s)

    def _release_prefill(self, live: Live, replica: Replica) -> None:
        if live.prefill:
            self._pool.charge(replica, -live.prefill, 0, 0, 0)
            replica.computed += live.prefill
            live.prefill = 0
            replica.num_unanswered -= 1
            self._filled(live)
        self._end_blocks(live, replica)

    def _filled(self, live: Live) -> None:
        """Its prompt is computed, or never will be."""
        if live.fills:
            live.fills = False
            self._num_filling -= 1

    def _release(self, live: Live, replica: Replica, computed: bool = False) -> None:
        self._end_blocks(live, replica, computed or bool(live.first_byte_at))
        shared = replica.deactivate(live.active) if live.active else 0
        adapter = live.waiting.features.adapter
        if adapter and live.bit == replica.bit:
            replica.release_adapter(adapter)
        if live.prefill:
            replica.num_unanswered -= 1
        self._filled(live)
        self._pool.charge(replica, -live.prefill, -live.context - shared, -live.decode, -1)

    def _end_blocks(self, live: Live, replica: Replica, computed: bool = True) -> None:
        """Its blocks are there now, or (`computed` False) they never came to be and nobody should count on them."""
        if live.computing:
            if live.bit == replica.bit:
                replica.end_blocks(live.computing)
                if not computed:
                    self._pool.prefix.removed(live.bit, [b for b in live.computing if b not in replica.pending])
            live.computing = ()


def _computed(candidates: Sequence[Replica], blocks: Sequence[int], matched_blocks: list[int]) -> list[int] | None:
    """`matched_blocks` without what is still being computed; None when nothing is."""
    computed: list[int] | None = None
    for replica in candidates:
        if replica.pending and matched_blocks[replica.bit]:
            if computed is None:
                computed = list(matched_blocks)
            computed[replica.bit] = replica.num_computed(blocks, matched_blocks[replica.bit])
    return computed
