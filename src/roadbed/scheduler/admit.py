"""Who starts now: one pass over the queues, many starts, whoever has least of its share first.

Work is bounded by what changed. A queue is looked at when something joined it or something became free; a kind of job
that found no place is not planned again before then; a reservation stands until it is due. So a submission to a full
cluster costs microseconds, and a pass after an exit plans each distinct gang once.
"""

from bisect import bisect_left
from collections.abc import Iterator
from itertools import islice

import msgspec

from roadbed.scheduler.backfill import Reservation, clashes, plan_apart, reserve
from roadbed.scheduler.base import Gang, Placement
from roadbed.scheduler.events import Start, StartReason
from roadbed.scheduler.order import FIRM, Bucket, Queue, Waiter
from roadbed.scheduler.pool import Pool

_KEPT = 4.0  # times refresh_s: the age at which any reservation is made anew


class Admission:
    """The pass. blocked: after a pass, the queues whose head found no place."""

    def __init__(self, pool: Pool) -> None:
        self.pool = pool
        self._seen: dict[str, int] = {}  # version at which a queue was done with
        self._due_s: dict[str, float] = {}  # when time alone lets it try more
        self._no_gap: dict[Gang, list[frozenset[str]]] = {}  # reservations beside which it has none, at _no_gap_at
        self._no_gap_at = -1

    def run(self, now: float) -> list[Start]:
        """Starts everything that may start, in order. O(changed queues × distinct gangs) plans."""
        pool = self.pool
        active = [
            name
            for name, queue in pool.queues.items()
            if queue.num_waiting
            and (queue.fresh or self._seen.get(name) != pool.loose or now >= self._due_s.get(name, 0.0))
        ]
        found: list[Start] = []
        order: list[str] = []
        while active:
            if not order:  # anew after every start, for a start moves shares
                order = active[:1]
                if len(active) > 1:
                    order = sorted(active, key=lambda each: (pool.tree.order(each, now), each), reverse=True)
            name = order.pop()
            queue = pool.queues[name]
            start = self._serve(queue, now) if queue.num_waiting else None
            if start is not None:
                found.append(start)
                order.clear()
                continue
            active.remove(name)
            queue.fresh = False
            self._seen[name] = pool.loose
            self._due_s[name] = queue.next_change_s(now)
        return found

    def start(self, waiter: Waiter, placement: Placement, reason: StartReason, now: float) -> Start:
        """Starts a job that is in no queue (any more). ValueError if the placement is not free."""
        pool = self.pool
        run = pool.book.start(waiter, placement, now)
        if pool.loans.owners and waiter.job.preemptible and pool.tree.borrows(waiter.job.quota):
            run.return_by_s = pool.loans.return_by_s(now)
        if waiter.guessed_at_s >= 0 and waiter.expected_start_s > waiter.guessed_at_s:
            wait_s = waiter.expected_start_s - waiter.guessed_at_s
            error = min(2.0, abs(now - waiter.expected_start_s) / wait_s)
            pool.eta_error += 0.05 * (error - pool.eta_error)
        return Start(waiter.job.id, placement, reason, run.return_by_s)

    def _serve(self, queue: Queue, now: float) -> Start | None:
        """The next start of this queue; None: nobody here can start now."""
        made = True
        while made:  # who has a reservation of its own now heeds fewer of the others
            made = self._reserve(queue, now)
            buckets = self._preferred(queue, now)
            ahead = [each.kind for each in queue.first(now, self._num_reserved(queue, now))] if buckets else []
            for bucket in buckets:
                start = self._try(queue, bucket, now)
                if start is not None:
                    return start
                made |= bucket.kind in ahead and self._reserve(queue, now)
                if queue.is_firm(-queue.place(bucket.waiters[0], now)[0]):
                    return None
        return None

    def _preferred(self, queue: Queue, now: float) -> list[Bucket]:
        """Candidates in order; on lent capacity those that end before it goes back come first, where order is free."""
        pool = self.pool
        buckets = queue.candidates(now, pool.book.version, pool.loose)
        if len(buckets) < 2 or not pool.loans.owners or queue.window(now) is not None:
            return buckets
        back_s = pool.loans.return_by_s(now)
        if not back_s or not pool.tree.borrows(queue.quota.name):
            return buckets
        return sorted(buckets, key=lambda bucket: now + pool.book.remaining_s(bucket.waiters[0]) > back_s)

    def _try(self, queue: Queue, bucket: Bucket, now: float) -> Start | None:
        """Starts the first of a bucket, or a shorter one of it in a gap; notes why not."""
        pool = self.pool
        waiter = bucket.waiters[0]
        version = pool.book.version
        bucket.refused_for = pool.tree.refusal(waiter.job.quota, bucket.amount, bucket.preemptible)
        if bucket.refused_for:
            bucket.refused_at = version
            return None
        gang = within_chips(pool, waiter)
        if gang is None:
            bucket.refused_at, bucket.refused_for = version, "quota_max"
            return None
        placement = self._plan(bucket, gang)
        if placement is None:
            if gang is bucket.kind.gang:
                bucket.kind.refused_at = version
            else:
                bucket.refused_at, bucket.refused_for = version, "quota_max"
            return None
        for each, free in self._beside(bucket, gang, placement, now):
            if free is not None:
                first = each is queue.head(now)
                pool.dequeue(each)
                return self.start(each, free, "fits" if first else "backfill", now)
        bucket.bound_at = pool.loose
        return None

    def _plan(self, bucket: Bucket, gang: Gang) -> Placement | None:
        """The planner's place; the one of another queue's job of the same kind if nothing has moved since."""
        pool, kind = self.pool, bucket.kind
        if gang is not kind.gang:
            return pool.planner.plan(gang)
        at = (pool.book.version, pool.book.num_taken)
        if kind.placed_at != at:
            kind.place, kind.placed_at = pool.planner.plan(gang), at
        return kind.place

    def _beside(
        self, bucket: Bucket, gang: Gang, placement: Placement, now: float
    ) -> Iterator[tuple[Waiter, Placement | None]]:
        """The first of a bucket and those that are short enough for more gaps than the ones before, each with its place
        beside the reservations it must heed. The fewer it must heed the more places: only those are worth a plan."""
        pool = self.pool
        fewest: int | None = None
        tried: set[tuple[float, float]] = set()
        begin_s = sorted(one.start_s for one in pool.reservations.values())
        for each in islice(bucket.waiters, pool.config.gap_depth):
            if each.job.id not in pool.reservations:  # it heeds all that begin before it ends, as its like does
                like = (each.job.duration_s, each.saved_s)
                if like in tried:
                    continue
                tried.add(like)
                if fewest is not None and bisect_left(begin_s, now + pool.book.remaining_s(each)) >= fewest:
                    continue
            bound = self._bound(each, now)
            if fewest is not None and len(bound) >= fewest:
                continue
            fewest = len(bound)
            if not bound or not clashes(pool.state, placement, gang.shape, bound):
                yield each, placement
                continue
            heeded = frozenset(one.id for one in bound)
            if self._no_gap_at != pool.loose:
                self._no_gap_at = pool.loose
                self._no_gap.clear()
            if any(fewer <= heeded for fewer in self._no_gap.get(gang, ())):
                continue
            apart = plan_apart(pool.book, pool.planner, gang, bound)
            if apart is None:
                self._no_gap.setdefault(gang, []).append(heeded)
            yield each, apart

    def _bound(self, waiter: Waiter, now: float) -> list[Reservation]:
        """Reservations of others that the job must leave alone: it would still run when they start. A job with its own
        heeds only those ranked before it: so the first heeds none, and no two wait for each other."""
        pool = self.pool
        if not pool.reservations:
            return []
        end_s = now + pool.book.remaining_s(waiter)
        bound = [each for each in pool.reservations.values() if end_s > each.start_s]
        if waiter.job.id in pool.reservations:
            ranks = self._ranks(now)
            bound = [each for each in bound if ranks[each.id] < ranks[waiter.job.id]]
        if bound and any(each.borrowed for each in bound):
            job = waiter.job
            if pool.tree.within_guarantee(job.quota, pool.request(job)):
                bound = [each for each in bound if not each.borrowed]
        return bound

    def _reserve(self, queue: Queue, now: float) -> bool:
        """Reserves for the first of the queue that have no place now; drops what is no longer among them. True if there
        is a new one."""
        pool, name = self.pool, queue.quota.name
        mine = pool.reserved.get(name)
        limit = self._num_reserved(queue, now)
        if not limit and not mine:
            return False
        any_made = False
        first = queue.first(now, limit)
        if mine:
            for id_ in mine.difference([waiter.job.id for waiter in first]):
                pool.drop_reservation(id_, name)
        for waiter in first:
            kept = pool.reservations.get(waiter.job.id) if mine else None
            if waiter.planned_at == pool.loose if kept is None else not self._stale(kept, now):
                continue
            bucket = queue.bucket_of(waiter)
            blocked = bucket.kind.refused_at == pool.book.version or bucket.bound_at == pool.loose
            if blocked and bucket.refused_at != pool.book.version:
                if self._make(waiter, now):
                    bucket.bound_at = -1
                    any_made = True
                waiter.planned_at = pool.loose
        return any_made

    def _make(self, waiter: Waiter, now: float) -> bool:
        pool, job = self.pool, waiter.job
        gang = within_chips(pool, waiter)
        if gang is None:
            return False
        pool.drop_reservation(job.id, job.quota)
        behind = self._behind(waiter, now)
        earlier = [each for id_, each in pool.reservations.items() if id_ not in behind]
        made = reserve(pool.book, pool.planner, job.id, gang, pool.book.remaining_s(waiter), earlier, now)
        if made is None:
            return False
        if not pool.tree.within_guarantee(job.quota, pool.request(job)):
            made = msgspec.structs.replace(made, borrowed=True)
        for id_ in behind:  # whoever is behind makes way, and plans around it
            other = pool.reservations[id_]
            if other.end_s > made.start_s and made.end_s > other.start_s and not made.nodes.isdisjoint(other.nodes):
                pool.drop_reservation(id_, job.quota)
        pool.add_reservation(made, job.quota)
        if waiter.guessed_at_s < 0:
            waiter.guessed_at_s, waiter.expected_start_s = now, made.start_s
        return True

    def _ranks(self, now: float) -> dict[str, tuple[float, str, tuple[int, int]]]:
        """A total order of all reservations: in a queue by turn, queues by when their first is to start."""
        pool = self.pool
        waiters = [pool.waiting[id_] for id_ in pool.reservations]
        placed = sorted((pool.queues[each.job.quota].place(each, now), each.job.quota, each.job.id) for each in waiters)
        first_s: dict[str, float] = {}
        for _, quota, id_ in placed:
            first_s.setdefault(quota, pool.reservations[id_].start_s)
        return {id_: (first_s[quota], quota, place) for place, quota, id_ in placed}

    def _behind(self, waiter: Waiter, now: float) -> list[str]:
        """Reservations of the same queue of those whose turn is later."""
        pool, name = self.pool, waiter.job.quota
        queue = pool.queues[name]
        place = queue.place(waiter, now)
        others = [pool.waiting[id_] for id_ in pool.reservations]
        return [each.job.id for each in others if each.job.quota == name and queue.place(each, now) > place]

    def _stale(self, kept: Reservation, now: float) -> bool:
        """Is it time to work it out anew? The further off it was, the later; overdue, it binds all the same. One whose
        place is still expected in time is kept for longer: what has gathered there would be scattered."""
        pool, age_s = self.pool, now - kept.made_s
        if pool.state.num_closed and not all(pool.state.schedulable[node] for node in kept.nodes):
            return True
        if age_s <= max(pool.config.refresh_s, (kept.start_s - kept.made_s) / 2):
            return False
        if age_s > _KEPT * pool.config.refresh_s or kept.start_s <= now:
            return True
        book = pool.book
        return any(book.runs[id_].end_s > kept.start_s for node in kept.nodes for id_ in book.on_node.get(node, ()))

    def _num_reserved(self, queue: Queue, now: float) -> int:
        if queue.quota.backfill == "easy":
            return 1
        if queue.quota.backfill == "conservative":
            return self.pool.config.conservative_jobs
        if queue.quota.strategy == "intelligent" and queue.quota.age_s > 0:
            # Ageing alone brings a job to the front, not into a place: one that aged to the end gets a reservation.
            head = queue.head(now)
            return 1 if head is not None and now - head.since_s > FIRM * queue.quota.age_s else 0
        return 0


def within_chips(pool: Pool, waiter: Waiter) -> Gang | None:
    """The gang on those chips only of which its quotas have room; None: on no chip it may have."""
    gang, shape = waiter.kind.gang, waiter.kind.gang.shape
    if not pool.tree.chip_at or not shape.num_devices:
        return gang
    chips = shape.chips or tuple(chip for chip in pool.state.chips if chip)
    room = pool.tree.chips_with_room(waiter.job.quota, gang.total_milli, chips)
    if len(room) == len(chips):
        return gang
    if not room:
        return None
    return msgspec.structs.replace(gang, shape=msgspec.structs.replace(shape, chips=room))
