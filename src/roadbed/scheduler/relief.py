"""Making room: everything that stops, shrinks, moves or grows what runs.

Preemption for a blocked job, lent capacity asked back, nodes that are lost or must be left, growth into what nobody
wants, and (off by default) defragmentation. Whoever room is made for leaves the queue and holds a claim on the place
until the last victim is gone, so nobody else takes it and nobody is stopped for it twice.
"""

import math
from collections.abc import Iterable, Sequence

from roadbed.scheduler.admit import within_chips
from roadbed.scheduler.base import Gang, Job, Placement, Slot
from roadbed.scheduler.book import Run
from roadbed.scheduler.defrag import make_room
from roadbed.scheduler.events import Decision, Migrate, MigrateReason, Resize, ResizeReason, Stop, StopReason
from roadbed.scheduler.order import Queue, Waiter
from roadbed.scheduler.pool import Pool
from roadbed.scheduler.preempt import Choice, Piece, choose, pieces_of
from roadbed.scheduler.quota import Vector

_HEADS = 4  # of each queue victims are looked for
_PATIENCE = 20.0  # times retry_s: the longest pause between two searches for one job that found nobody
_MANY = 16  # tries are not counted on from there
_CHECK_S = 30.0  # between two looks at the forecasts


class Rules:
    """What the quotas say to one job's wish that others leave: in its own quota lower priorities, elsewhere what the
    tree's relation allows, sequentially; surplus of elastic jobs of its own quota always."""

    def __init__(self, pool: Pool, job: Job, amount: Vector) -> None:
        self.pool = pool
        self.job = job
        self.amount = amount
        self._at_all: dict[tuple[str, bool], bool] = {}  # may work of that quota, of lower priority or not, be asked

    def may(self, run: Run, all_of_it: bool) -> bool:
        """May this run be asked at all, given nobody else was?"""
        if run.claim:
            return False
        if run.job.quota == self.job.quota:
            return not all_of_it or run.job.priority < self.job.priority
        key = (run.job.quota, self.job.priority > run.job.priority)
        known = self._at_all.get(key)
        if known is None:
            known = self._at_all[key] = self._may_stop(run, None, None)
        return known

    def allows(self, piece: Piece, given: dict[str, list[int]]) -> bool:
        run = piece.run
        if run.job.quota == self.job.quota:
            return True
        so_far = given.get(run.job.quota)
        each = self.pool.book.amount(run.job, piece.slots)
        if not self._may_stop(run, tuple(so_far) if so_far else None, each):
            return False
        given[run.job.quota] = [a + b for a, b in zip(so_far or [0] * len(each), each, strict=True)]
        return True

    def admits(self, given: Sequence[Piece]) -> bool:
        tree, book = self.pool.tree, self.pool.book
        gone = [(p.run.job, book.amount(p.run.job, p.slots)) for p in given if p.run.charged]
        for job, amount in gone:
            tree.shift(job.quota, amount, job.preemptible, -1)
        refused = bool(tree.refusal(self.job.quota, self.amount, self.job.preemptible))
        refused = refused or not (self._borrows_no_more(given) or tree.within_guarantee(self.job.quota, self.amount))
        for job, amount in gone:
            tree.shift(job.quota, amount, job.preemptible, 1)
        return not refused

    def _borrows_no_more(self, given: Sequence[Piece]) -> bool:
        """Where others may ask for what is borrowed, a job must not be stopped so that its own quota borrows more: the
        others would take that back, the stopped job its guarantee, and so on for ever."""
        own = [piece for piece in given if piece.stops and piece.run.job.quota == self.job.quota]
        if not own or not self.pool.tree.any_may_stop:
            return True
        freed = [self.pool.book.amount(piece.run.job, piece.slots) for piece in own]
        return all(sum(column) >= each for column, each in zip(zip(*freed, strict=True), self.amount, strict=True))

    def _may_stop(self, run: Run, taken: Vector | None, losing: Vector | None) -> bool:
        higher = self.job.priority > run.job.priority
        fair = self.pool.config.fair_preemption
        return self.pool.tree.may_stop(
            self.job.quota, self.amount, run.job.quota, higher=higher, taken=taken, losing=losing, fair=fair
        )  # fmt: skip


class BorrowersLeave:
    """The rules when lent capacity is asked back: whoever borrows leaves, until what is needed is free."""

    def __init__(self, pool: Pool, owner: str) -> None:
        self.pool = pool
        self.owner = owner

    def may(self, run: Run, all_of_it: bool) -> bool:
        return run.job.quota != self.owner and not run.claim and self.pool.tree.borrows(run.job.quota)

    def allows(self, piece: Piece, given: dict[str, list[int]]) -> bool:
        return True

    def admits(self, given: Sequence[Piece]) -> bool:
        return True


class Relief:
    """The parts of a pass that touch what runs. Every decision is in effect in the state when it is returned."""

    def __init__(self, pool: Pool) -> None:
        self.pool = pool
        self.draining: dict[int, float] = {}  # node: when what is left there is stopped, inf = never
        self.risky: set[int] = set()
        self.withdrawn: dict[str, None] = {}
        self.lost: dict[str, int] = {}  # job: the node it was on when that went down
        self._loans_checked_s = -math.inf

    def forced(self, now: float) -> list[Decision]:
        """What is not a matter of choice: withdrawn jobs, lost nodes, drains."""
        found: list[Decision] = []
        runs = self.pool.book.runs
        for id_ in list(self.withdrawn):
            if id_ in runs:
                found.append(self._stop(runs[id_], "withdrawn", id_, now, requeue=False))
        self.withdrawn.clear()
        for node in sorted(self.pool.down):
            self.lost.update(dict.fromkeys(self.pool.book.on_node.get(node, ()), node))
        for id_, node in self.lost.items():
            run = runs.get(id_)
            if run is not None and run.stopping != "node_down":
                requeue = run.requeue if run.stopping else True
                found.append(self._stop(run, "node_down", self._name(node), now, requeue=requeue, at_once=True))
        self.lost.clear()
        for node in sorted({*self.draining, *self.risky} - self.pool.down):
            found.extend(self._drain(node, now))
        return found

    def for_waiting(self, now: float) -> list[Decision]:
        """Preemption, and where that does not help and is allowed to, defragmentation, for the first of each queue."""
        pool = self.pool
        found: list[Decision] = []
        for queue in pool.queues.values():
            if not queue.num_waiting:
                continue
            able: bool | None = None
            version = pool.book.version
            for waiter in queue.first(now, _HEADS):
                if now < waiter.try_at_s:
                    continue
                if waiter.kind.refused_at != version and queue.bucket_of(waiter).refused_at != version:
                    continue
                if able is None:
                    able = self._anybody_could_leave(queue, now)
                made = self._preempt(waiter, now) if able and pool.config.preempt else []
                made = made or (self._defragment(waiter, now) if able else [])
                # Where nobody could leave at all, time alone changes nothing: no reason to wake up for it (wake_s).
                waiter.num_tries = 0 if made or not able else min(waiter.num_tries + 1, _MANY)
                waiter.try_at_s = now + pool.config.retry_s * min(2.0 ** max(0, waiter.num_tries - 1), _PATIENCE)
                found.extend(made)
        return found

    def returns(self, now: float) -> list[Decision]:
        """Lent capacity that will be needed is asked back."""
        pool = self.pool
        if not pool.loans.owners or now < self._loans_checked_s + _CHECK_S:
            return []
        self._loans_checked_s = now
        if pool.loans.keep(pool.tree, now):
            pool.book.version += 1
        found: list[Decision] = []
        for name in pool.loans.owners:
            gang = pool.loans.missing(name, pool.book, now)
            if gang is not None:
                found.extend(self._ask_back(name, gang, now))
        return found

    def check_loans(self) -> None:
        """A demand has come: look at the loans at the next pass."""
        self._loans_checked_s = -math.inf

    def grow(self, now: float) -> list[Decision]:
        """Elastic jobs grow into what nobody waiting could use, the oldest first."""
        pool = self.pool
        if not pool.config.grow_s or not pool.book.elastic or pool.book.claims or self._somebody_lacks_room():
            return []
        found: list[Decision] = []
        for id_ in list(pool.book.elastic):
            run = pool.book.runs[id_]
            settled = run.started and not run.moving and now >= run.resized_s + pool.config.grow_s
            placement = self._larger(run) if settled and run.num < run.job.gang.most else None
            if placement is None:
                continue
            old = run.placement
            try:
                pool.book.move(run, placement, now)
            except ValueError:  # planned with its own CPU and memory given back, which it still has
                run.resized_s = now
                continue
            found.append(Resize(id_, placement, old, "grow"))
        return found

    def wake_s(self, now: float) -> float:
        """When time alone may change something here; inf if it can't."""
        pool = self.pool
        times = [math.inf]
        for node in sorted({*self.draining, *self.risky}):
            times.append(self.draining.get(node, math.inf))
            times.extend(pool.book.runs[id_].due_s for id_ in pool.book.on_node.get(node, ()))
        if pool.loans.owners:
            times.append(self._loans_checked_s + _CHECK_S)
        if pool.config.grow_s:
            runs = pool.book.runs
            times.extend(
                runs[id_].resized_s + pool.config.grow_s
                for id_ in pool.book.elastic
                if runs[id_].num < runs[id_].job.gang.most
            )
        for queue in pool.queues.values():
            if queue.num_waiting:
                for waiter in queue.first(now, _HEADS):
                    if waiter.num_tries:
                        times.append(waiter.try_at_s)
        return min([each for each in times if each > now], default=math.inf)

    def victims_for(self, waiter: Waiter, now: float) -> Choice | None:
        """Who would have to leave for a waiting job, None: nobody who may leave helps. Changes nothing."""
        pool = self.pool
        gang = within_chips(pool, waiter)
        if gang is None:
            return None
        rules = Rules(pool, waiter.job, pool.request(waiter.job))
        pieces = pieces_of(pool.book, rules.may, now)
        return choose(pool.book, pool.planner, gang, pieces, rules) if pieces else None

    def _preempt(self, waiter: Waiter, now: float) -> list[Decision]:
        choice = self.victims_for(waiter, now)
        if choice is None or not (choice.stops or choice.shrinks):
            return []
        own = {waiter.job.quota}
        self.pool.dequeue(waiter)
        claim = self.pool.book.claim(waiter, waiter.job.gang, choice.placement, now)
        found: list[Decision] = []
        for run in choice.stops:
            reason: StopReason = "priority" if run.job.quota in own else "reclaim"
            found.append(self._stop(run, reason, waiter.job.id, now, claim=waiter.job.id))
        for id_, slots in choice.shrinks.items():
            run = self.pool.book.runs[id_]
            found.append(
                self._shrink(
                    run, slots, "priority" if run.job.quota in own else "reclaim", waiter.job.id, now, claim=True
                )
            )
        claim.waiting_for = {run.job.id for run in choice.stops} | set(choice.shrinks)
        return found

    def _stop(
        self, run: Run, reason: StopReason, by: str, now: float, *, requeue: bool = True, claim: str = "",
        at_once: bool = False,
    ) -> Stop:  # fmt: skip
        book = self.pool.book
        kill_at_s = now if at_once else now + run.job.grace_s
        if claim:
            book.uncharge(run, now)
            run.claim, run.leaving = claim, list(run.held)
        book.stop(run, reason)
        run.stopping, run.requeue = reason, requeue
        book.expect_at(run, max(kill_at_s, now + 1.0))
        return Stop(run.job.id, reason, by, kill_at_s, requeue)

    def _shrink(
        self, run: Run, slots: Sequence[Slot], reason: ResizeReason, by: str, now: float, *, claim: bool = False
    ) -> Resize:
        old = run.placement
        staying = list(old.slots)
        for slot in slots:
            staying.remove(slot)
        if claim:
            run.claim, run.leaving = by, list(slots)
        smaller = Placement(tuple(staying))
        self.pool.book.move(run, smaller, now)
        return Resize(run.job.id, smaller, old, reason, by)

    def _drain(self, node: int, now: float) -> Iterable[Decision]:
        """Jobs of a bad node leave it at a checkpoint if there is a place for them; at the deadline they stop."""
        pool, name = self.pool, self._name(node)
        for id_ in list(pool.book.on_node.get(node, ())):
            run = pool.book.runs[id_]
            if run.stopping or run.moving or node not in {slot.node for slot in run.placement.slots}:
                continue
            if now >= self.draining.get(node, math.inf):
                yield self._stop(run, "drain", name, now)
                continue
            every = run.job.checkpoint_s
            if every <= 0:
                continue
            if run.due_s == math.inf:
                run.due_s = run.since_s + math.ceil(max(0.0, now - run.since_s) / every) * every
            if now < run.due_s:
                continue
            run.due_s += (int((now - run.due_s) / every) + 1) * every
            placement = pool.planner.plan(run.job.gang, run.num)
            if placement is not None:
                old, cost = run.placement, run.cost(now)
                pool.book.move(run, placement, now)
                run.due_s = math.inf
                reason: MigrateReason = "drain" if node in self.draining else "risk"
                yield Migrate(id_, placement, old, reason, name, cost)

    def _ask_back(self, owner: str, gang: Gang, now: float) -> Iterable[Decision]:
        """Stops borrowers until the owner's replicas have places, counting on what is leaving already."""
        pool = self.pool
        state, book = pool.state, pool.book
        rules = BorrowersLeave(pool, owner)
        mark = state.mark()
        try:
            for run in book.runs.values():
                if run.stopping and not run.claim:
                    for slot in run.held:
                        state.give(slot, run.job.gang.shape)
            choice: Choice | None = None
            num = gang.num
            while num and choice is None:
                wanted = Gang(shape=gang.shape, num=num)
                if pool.planner.plan(wanted) is not None:
                    return
                choice = choose(book, pool.planner, wanted, pieces_of(book, rules.may, now), rules)
                num //= 2
        finally:
            state.undo(mark)
        if choice is not None:
            for run in choice.stops:
                yield self._stop(run, "loan_return", owner, now)
            for id_, slots in choice.shrinks.items():
                yield self._shrink(book.runs[id_], slots, "loan_return", owner, now)

    def _defragment(self, waiter: Waiter, now: float) -> list[Decision]:
        pool, config = self.pool, self.pool.config
        gang = within_chips(pool, waiter)
        bucket = pool.queues[waiter.job.quota].bucket_of(waiter)
        if not config.defrag_moves or gang is None or bucket.refused_at == pool.book.version:
            return []
        room = make_room(
            pool.book, pool.planner, gang, now,
            max_moves=config.defrag_moves, max_cost_device_s=config.defrag_cost_device_s,
        )  # fmt: skip
        if room is None:
            return []
        pool.dequeue(waiter)
        claim = pool.book.claim(waiter, waiter.job.gang, room.placement, now)
        found: list[Decision] = []
        for run, placement in room.moves:
            old, cost = run.placement, run.cost(now)
            pool.book.move(run, placement, now)
            run.claim, run.leaving = waiter.job.id, list(old.slots)
            claim.waiting_for.add(run.job.id)
            found.append(Migrate(run.job.id, placement, old, "defrag", waiter.job.id, cost))
        return found

    def _larger(self, run: Run) -> Placement | None:
        """The largest size the elastic job fits in now, and may have."""
        pool, gang = self.pool, run.job.gang
        tied = gang.topology.required is not None or gang.topology.preferred is not None or gang.topology.slices
        shape = gang.shape
        extra = gang.most - run.num
        while extra:
            more = pool.tree.vector(extra * shape.total_milli, extra * shape.cpu_milli, {})
            if not pool.tree.refusal(run.job.quota, more, run.job.preemptible):
                placement = self._replanned(run, run.num + extra) if tied else self._extended(run, extra)
                if placement is not None and self._chips_have_room(run, placement):
                    return placement
            extra //= 2
        return None

    def _chips_have_room(self, run: Run, placement: Placement) -> bool:
        """The exact check, by the chips the larger placement is on."""
        pool = self.pool
        after = pool.book.amount(run.job, placement.slots)
        more = tuple(max(0, new - old) for new, old in zip(after, run.amount, strict=True))
        return not pool.tree.refusal(run.job.quota, more, run.job.preemptible)

    def _extended(self, run: Run, extra: int) -> Placement | None:
        added = self.pool.planner.plan(run.job.gang, extra)
        return Placement(run.placement.slots + added.slots) if added else None

    def _replanned(self, run: Run, num: int) -> Placement | None:
        """A place for all of it at once, its own devices included, so that its topology is kept. New devices must be
        free or its own as they are: a slot that overlaps an old one in part can't be taken before that is given."""
        state = self.pool.state
        shape = run.job.gang.shape
        mark = state.mark()
        try:
            for slot in run.held:
                state.give(slot, shape)
            placement = self.pool.planner.plan(run.job.gang, num)
        finally:
            state.undo(mark)
        if placement is None:
            return None
        own = {(slot.node, device) for slot in run.held for device in slot.devices}
        fresh = [slot for slot in placement.slots if slot not in run.held]
        overlapping = any((slot.node, device) in own for slot in fresh for device in slot.devices)
        return None if overlapping else placement

    def _anybody_could_leave(self, queue: Queue, now: float) -> bool:
        """A cheap look: is there a run in the quotas that someone waiting here might ask to leave?"""
        pool = self.pool
        if pool.config.defrag_moves:
            return True
        if not pool.config.preempt:
            return False
        heads = queue.first(now, 1)
        if not heads:
            return False
        first, tree, mine = heads[0], pool.tree, queue.quota.name
        priority, stoppable = first.job.priority, pool.book.stoppable
        own = stoppable.get(mine)
        if pool.book.elastic or (own is not None and any(own[:priority])):
            return True
        if not tree.any_may_stop:
            return False
        amount, fair = queue.bucket_of(first).amount, pool.config.fair_preemption
        if not tree.may_stop_any(mine, amount, fair=fair) and stoppable.keys() <= tree.nodes.keys():
            return False
        for name, counts in stoppable.items():
            if name == mine or not any(counts):
                continue
            if tree.may_stop(mine, amount, name, higher=any(counts[:priority]), fair=fair):
                return True
        return False

    def _somebody_lacks_room(self) -> bool:
        """Is anybody waiting for devices rather than for quota?"""
        version = self.pool.book.version
        return any(
            not bucket.idle and bucket.refused_at != version
            for queue in self.pool.queues.values()
            for bucket in queue.buckets.values()
        )

    def _name(self, node: int) -> str:
        return self.pool.state.nodes[node].name
