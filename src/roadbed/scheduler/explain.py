"""Why a job waits: one answer from what the last pass noted, worked out only when somebody asks.

The reason is the first of these that holds: its victims are leaving, it can never run here, its quota does not admit
it, the cluster has no place for it (the funnel says at which constraint), the place is reserved for somebody ahead, or
it is simply not its turn. The expected start is its reservation, or a what-if behind the work ahead of it; its ± is how
far off such guesses have been.
"""

import msgspec

from roadbed.scheduler.backfill import reserve
from roadbed.scheduler.base import Funnel
from roadbed.scheduler.book import Claim
from roadbed.scheduler.order import Queue, Waiter
from roadbed.scheduler.pool import IMPOSSIBLE, QUOTA_NEVER, Pool
from roadbed.scheduler.quota import QUOTA_GUARANTEE, QUOTA_LENT, QUOTA_MAX, QUOTA_UNKNOWN, Standing
from roadbed.scheduler.relief import Relief

QUEUED = "queued"
RESERVED = "reserved"
NOMINATED = "victims_leaving"
_TEXTS = {
    QUEUED: "it is not its turn yet",
    RESERVED: "what is free is reserved for jobs ahead that it would delay",
    IMPOSSIBLE: "it would not fit if every schedulable node were empty",
    QUOTA_UNKNOWN: "its quota is not there any more",
    QUOTA_NEVER: "it is larger than its quota's max",
    QUOTA_MAX: "its quota is at its max",
    QUOTA_LENT: "what is free is kept for quotas that do not lend it now",
    QUOTA_GUARANTEE: "it can't be preempted, so it may not use what others are guaranteed",
}
_SHOWN = 16  # would-be victims named


class Waiting(msgspec.Struct, frozen=True, kw_only=True):
    """position counts from 1, of num_waiting in the quota. victims: jobs that would have to leave (not: will).

    expected_start_s: None where nothing can be said. error_s: its ±.
    """

    id: str
    reason: str
    text: str
    since_s: float
    position: int = 0
    num_waiting: int = 0
    funnel: Funnel | None = None
    standing: Standing | None = None
    victims: tuple[str, ...] = ()
    expected_start_s: float | None = None
    error_s: float = 0.0

    def __str__(self) -> str:
        parts = [str(self.funnel)] if self.funnel else []
        parts.append(self.text)
        if self.victims:
            plural = "" if len(self.victims) == 1 else "s"
            parts.append(f"{len(self.victims)} preemptible job{plural} would make room: {', '.join(self.victims)}")
        if self.num_waiting:
            parts.append(f"position {self.position} of {self.num_waiting}")
        return "; ".join(parts)


class Explainer:
    """Answers for one pool; queue positions are worked out once for as long as nothing changes."""

    def __init__(self, pool: Pool, relief: Relief) -> None:
        self.pool = pool
        self.relief = relief
        self._places: dict[str, tuple[tuple[int, int, float], dict[str, tuple[int, float]]]] = {}

    def waiting(self, waiter: Waiter, now: float, what_if: bool) -> Waiting:
        """Why a queued job waits. what_if: also who could make room and when it will start, which costs plans."""
        pool, job = self.pool, waiter.job
        queue = pool.queues.get(job.quota)
        if queue is None:
            return Waiting(id=job.id, reason=QUOTA_UNKNOWN, text=_TEXTS[QUOTA_UNKNOWN], since_s=waiter.since_s)
        reason, funnel = self._reason(queue, waiter)
        position, ahead_s = self._place(queue, waiter, now)
        victims: tuple[str, ...] = ()
        expected: float | None = None
        if what_if and reason not in (IMPOSSIBLE, QUOTA_NEVER):
            victims = self._victims(waiter, now)
            expected = self._expected(waiter, ahead_s, now)
        return Waiting(
            id=job.id,
            reason=reason,
            text=_TEXTS.get(reason, "it has no place now"),
            since_s=waiter.since_s,
            position=position,
            num_waiting=queue.num_waiting,
            funnel=funnel,
            standing=pool.tree.standing(job.quota),
            victims=victims,
            expected_start_s=expected,
            error_s=pool.eta_error * (expected - now) if expected is not None else 0.0,
        )

    def nominated(self, claim: Claim, now: float) -> Waiting:
        """Why a job waits for which room is being made."""
        leaving = tuple(sorted(claim.waiting_for))
        runs = [self.pool.book.runs[id_] for id_ in leaving]
        stopping = [run.end_s for run in runs if run.stopping]
        return Waiting(
            id=claim.waiter.job.id,
            reason=NOMINATED,
            text=f"waits for {', '.join(leaving[:_SHOWN])} to leave",
            since_s=claim.waiter.since_s,
            standing=self.pool.tree.standing(claim.waiter.job.quota) if self._known(claim) else None,
            expected_start_s=max([now, *stopping]),
        )

    def _known(self, claim: Claim) -> bool:
        return claim.waiter.job.quota in self.pool.tree.nodes

    def _reason(self, queue: Queue, waiter: Waiter) -> tuple[str, Funnel | None]:
        pool = self.pool
        bucket = queue.bucket_of(waiter)
        gang = waiter.kind.gang
        if bucket.idle:
            return bucket.idle, pool.planner.funnel(gang) if bucket.idle == IMPOSSIBLE else None
        refusal = pool.tree.refusal(waiter.job.quota, bucket.amount, bucket.preemptible)
        if refusal:
            return refusal, None
        if pool.planner.plan(gang) is None:
            funnel = pool.planner.funnel(gang)
            return funnel.reason, funnel
        return (RESERVED if bucket.bound_at == pool.loose else QUEUED), None

    def _place(self, queue: Queue, waiter: Waiter, now: float) -> tuple[int, float]:
        """Position from 1, and the time the whole cluster would need for the work ahead."""
        pool, name = self.pool, queue.quota.name
        version = (pool.loose, queue.num_waiting, now)
        known = self._places.get(name)
        if known is None or known[0] != version:
            places: dict[str, tuple[int, float]] = {}
            work = 0.0
            whole = max(1, pool.state.total_milli)
            for at, each in enumerate(queue.in_order(now)):
                places[each.job.id] = (at + 1, work / whole)
                work += each.job.gang.total_milli * pool.book.remaining_s(each)
            known = self._places[name] = (version, places)
        return known[1].get(waiter.job.id, (queue.num_waiting, 0.0))

    def _victims(self, waiter: Waiter, now: float) -> tuple[str, ...]:
        choice = self.relief.victims_for(waiter, now)
        if choice is None:
            return ()
        return tuple(sorted({run.job.id for run in choice.stops} | set(choice.shrinks))[:_SHOWN])

    def _expected(self, waiter: Waiter, ahead_s: float, now: float) -> float | None:
        pool = self.pool
        kept = pool.reservations.get(waiter.job.id)
        if kept is not None:
            return max(now, kept.start_s)
        earlier = list(pool.reservations.values())
        runs_s = pool.book.remaining_s(waiter)
        made = reserve(pool.book, pool.planner, waiter.job.id, waiter.kind.gang, runs_s, earlier, now)
        return None if made is None else made.start_s + ahead_s
