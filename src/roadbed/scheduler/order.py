"""Who is next in a quota: the four queue strategies over one structure.

Jobs of one kind (same gang, priority, preemptible) form a bucket in order of arrival. Whether one fits is the same for
all of a bucket, so a pass looks at heads of buckets and never at hundreds of jobs; a bucket that was refused is not
asked again until something was freed (`refused_at`).

    fifo         the first, and nobody else
    traverse     the first that fits, in order
    balance      a window from the head that widens by one for every `widen_s` the head has waited
    intelligent  as traverse, but who has priority ≥ 7 is never overtaken; below 7 waiting raises priority, up to 6

A job's place is (priority, arrival), and ageing moves it between priorities; jobs that can't run in this cluster or
under this quota at all are passed over by every strategy (`idle`). The first few are worked out once and stand until
one of them leaves, a newcomer gets among them, or somebody's priority rises.
"""

import bisect
import heapq
import math
from collections.abc import Iterator
from itertools import islice

from roadbed.scheduler.base import Gang, Job, Placement
from roadbed.scheduler.quota import Quota, Vector

FIRM = 7
"""From this priority on nobody overtakes (intelligent), and below it ageing ends one short."""
_AHEAD = 8  # of a queue are kept in order


class Kind:
    """One gang as it is asked for by any number of jobs: what is known of its chances, shared by all of them.

    refused_at: the version of the free capacity at which it had no place. placed_at: the state of the book at which
    `place` was free.
    """

    __slots__ = ("gang", "num_waiting", "place", "placed_at", "possible", "refused_at")

    def __init__(self, gang: Gang) -> None:
        self.gang = gang
        self.num_waiting = 0
        self.refused_at = -1
        self.placed_at = (-1, -1)
        self.place: Placement | None = None
        self.possible = True


class Waiter:
    """A job in a queue. seq: its arrival, kept when it is queued again. saved_s: work it need not do again."""

    __slots__ = (
        "expected_start_s",
        "guessed_at_s",
        "job",
        "kind",
        "num_tries",
        "planned_at",
        "saved_s",
        "seq",
        "since_s",
        "try_at_s",
    )

    def __init__(self, job: Job, kind: Kind, seq: int, since_s: float, saved_s: float = 0.0) -> None:
        self.job = job
        self.kind = kind
        self.seq = seq
        self.since_s = since_s
        self.saved_s = saved_s
        self.try_at_s = -math.inf  # from when victims may be looked for again
        self.num_tries = 0  # in vain
        self.planned_at = -1  # version at which a reservation was tried for it
        self.expected_start_s = math.inf
        self.guessed_at_s = -1.0


class Bucket:
    """Jobs of one quota with the same kind, priority and preemptibility, by arrival."""

    __slots__ = (
        "amount",
        "bound_at",
        "idle",
        "kind",
        "preemptible",
        "priority",
        "refused_at",
        "refused_for",
        "waiters",
    )

    def __init__(self, kind: Kind, priority: int, preemptible: bool) -> None:
        self.kind = kind
        self.priority = priority
        self.preemptible = preemptible
        self.waiters: list[Waiter] = []
        self.amount: Vector = ()  # what one of its jobs asks of the quotas
        self.refused_at = -1  # version at which the quotas refused it
        self.refused_for = ""
        self.bound_at = -1  # version at which none of it had a place beside the reservations
        self.idle = ""  # why it can't run at all, as a reason code

    def add(self, waiter: Waiter) -> None:
        bisect.insort(self.waiters, waiter, key=_seq)
        self.bound_at = -1

    def remove(self, waiter: Waiter) -> None:
        del self.waiters[bisect.bisect_left(self.waiters, waiter.seq, key=_seq)]


class Queue:
    """The waiting jobs of one quota."""

    def __init__(self, quota: Quota) -> None:
        self.quota = quota
        self.buckets: dict[tuple[int, int, bool], Bucket] = {}
        self.num_waiting = 0
        self.fresh = True  # something was added since it was looked at
        self.head_since_s = 0.0
        self._head_seq = -1
        self._ahead: list[Waiter] = []  # the first of all, and of every bucket, in order
        self._heads: list[tuple[tuple[int, int], Bucket]] = []
        self._ordered_s = math.inf  # both hold from then
        self._until_s = -math.inf  # until just before then

    def add(self, waiter: Waiter) -> Bucket:
        """At the place its arrival gives it; the bucket of its like, new (no amount yet) or known."""
        job = waiter.job
        key = (id(waiter.kind), job.priority, job.preemptible)
        bucket = self.buckets.get(key)
        if bucket is None:
            bucket = self.buckets[key] = Bucket(waiter.kind, job.priority, job.preemptible)
        bucket.add(waiter)
        if len(bucket.waiters) <= _AHEAD or bucket.waiters[_AHEAD - 1].seq >= waiter.seq:
            self.reorder()
        self.num_waiting += 1
        self.fresh = True
        return bucket

    def remove(self, waiter: Waiter) -> Bucket:
        """The bucket it was in."""
        key = (id(waiter.kind), waiter.job.priority, waiter.job.preemptible)
        bucket = self.buckets[key]
        if len(bucket.waiters) <= _AHEAD or bucket.waiters[_AHEAD - 1].seq >= waiter.seq:
            self.reorder()
        bucket.remove(waiter)
        if not bucket.waiters:
            del self.buckets[key]
        self.num_waiting -= 1
        return bucket

    def bucket_of(self, waiter: Waiter) -> Bucket:
        return self.buckets[id(waiter.kind), waiter.job.priority, waiter.job.preemptible]

    def place(self, waiter: Waiter, now: float) -> tuple[int, int]:
        """Sort key, first is next: priority with ageing, then arrival."""
        priority = waiter.job.priority
        if self.quota.strategy == "intelligent" and priority < FIRM - 1:
            aged = int(max(0.0, now - waiter.since_s) / self.quota.age_s) if self.quota.age_s > 0 else 0
            priority = min(FIRM - 1, priority + aged)
        return -priority, waiter.seq

    def in_order(self, now: float) -> Iterator[Waiter]:
        """All that could run here, first is next. Lazily merged: the first k cost O(k · log buckets)."""
        lines = [bucket.waiters for bucket in self.buckets.values() if not bucket.idle]
        return heapq.merge(*lines, key=lambda waiter: self.place(waiter, now))

    def reorder(self) -> None:
        """Who is first has to be worked out anew: somebody came or went there, or is (no longer) passed over."""
        self._until_s = -math.inf

    def first(self, now: float, num: int) -> list[Waiter]:
        """The first `num` of in_order. O(num) for a few while nothing changes among them."""
        if num > _AHEAD:
            return list(islice(self.in_order(now), num))
        if not self._ordered_s <= now < self._until_s:
            self._merge(now)
        return self._ahead[:num]

    def heads(self, now: float) -> list[tuple[tuple[int, int], Bucket]]:
        """The first of every bucket with its place, in order. Read only."""
        if not self._ordered_s <= now < self._until_s:
            self._merge(now)
        return self._heads

    def head(self, now: float) -> Waiter | None:
        """Who is next; remembers since when."""
        if not self._ordered_s <= now < self._until_s:
            self._merge(now)
        if not self._ahead:
            return None
        best = self._ahead[0]
        if best.seq != self._head_seq:
            self._head_seq, self.head_since_s = best.seq, now
        return best

    def _merge(self, now: float) -> None:
        heads: list[tuple[tuple[int, int], Bucket]] = []
        ahead: list[tuple[tuple[int, int], Waiter]] = []
        until_s = math.inf
        for bucket in self.buckets.values():
            if bucket.idle:
                continue
            line, rises_s = self._aged(bucket, now)  # in order of turn, ageing or not
            heads.append((line[0][0], bucket))
            ahead += line
            until_s = min(until_s, rises_s)
        heads.sort(key=_first)
        ahead.sort(key=_place)
        self._heads = heads
        self._ahead = [each for _, each in ahead[:_AHEAD]]
        self._ordered_s, self._until_s = now, until_s

    def _aged(self, bucket: Bucket, now: float) -> tuple[list[tuple[tuple[int, int], Waiter]], float]:
        """The first of a bucket with their places (as `place`), and when the next of them rises."""
        line: list[tuple[tuple[int, int], Waiter]] = []
        until_s = math.inf
        base, age_s = bucket.priority, self.quota.age_s
        if self.quota.strategy != "intelligent" or base >= FIRM - 1 or age_s <= 0:
            return [((-base, each.seq), each) for each in bucket.waiters[:_AHEAD]], until_s
        for each in bucket.waiters[:_AHEAD]:
            since_s = each.since_s
            priority = base + int((now - since_s) / age_s) if now > since_s else base
            if priority < FIRM - 1:
                rises_s = since_s + (1 + priority - base) * age_s
                if rises_s < until_s:
                    until_s = rises_s
            else:
                priority = FIRM - 1
            line.append(((-priority, each.seq), each))
        return line, until_s

    def window(self, now: float) -> int | None:
        """How many from the head may be tried; None = all."""
        if self.quota.backfill != "off" or self.quota.strategy in ("traverse", "intelligent"):
            return None
        if self.quota.strategy == "fifo":
            return 1
        return 1 + (int((now - self.head_since_s) / self.quota.widen_s) if self.quota.widen_s > 0 else 0)

    def candidates(self, now: float, version: int, loose: int) -> list[Bucket]:
        """Buckets whose first job may be tried at this version of the free capacity, in order.

        loose: the version of free capacity and reservations. Where nobody may be overtaken the list ends with the first
        that was refused already.
        """
        self.head(now)
        window = self.window(now)
        if window is not None:
            found: dict[int, Bucket] = {}
            for waiter in self.first(now, window):
                bucket = self.bucket_of(waiter)
                if not _refused(bucket, version, loose):
                    found.setdefault(id(bucket), bucket)
            return list(found.values())
        open_buckets = []
        no_overtaking = self.quota.strategy == "intelligent" and self.quota.backfill == "off"
        for (priority, _), bucket in self._heads:
            if version != bucket.kind.refused_at and version != bucket.refused_at and bucket.bound_at != loose:
                open_buckets.append(bucket)
            elif no_overtaking and -priority >= FIRM:
                break
        return open_buckets

    def is_firm(self, priority: int) -> bool:
        """Does a blocked job of this (aged) priority block all behind it?"""
        return self.quota.strategy == "intelligent" and self.quota.backfill == "off" and priority >= FIRM

    def next_change_s(self, now: float) -> float:
        """When time alone lets another job be tried; inf if it never does."""
        if self.quota.strategy == "balance" and self.window(now) is not None and self.quota.widen_s > 0:
            steps = int((now - self.head_since_s) / self.quota.widen_s) + 1
            return self.head_since_s + steps * self.quota.widen_s
        return math.inf


def _refused(bucket: Bucket, version: int, loose: int) -> bool:
    return version in (bucket.kind.refused_at, bucket.refused_at) or bucket.bound_at == loose


def _seq(waiter: Waiter) -> int:
    return waiter.seq


def _place(item: tuple[tuple[int, int], Waiter]) -> tuple[int, int]:
    return item[0]


def _first(item: tuple[tuple[int, int], Bucket]) -> tuple[int, int]:
    return item[0]
