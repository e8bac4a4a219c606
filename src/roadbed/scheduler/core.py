"""The scheduler: events in, decisions out. The control plane and the twin drive this very object.

    handle(event, now)   a fact; raises a RoadbedError and changes nothing when it makes no sense
    decide(now)          what to do about all facts so far; never raises; in effect in the state when it returns
    why(id, now)         why a job waits

Nothing here reads a clock or draws a number: the same events and times give the same decisions, so a journal of them
is the whole state (`replay`). A job waits, perhaps claims, starts, runs, perhaps moves or stops, and is gone or waits.
"""

import logging
import math
from collections.abc import Iterable, Sequence

import msgspec

from roadbed.errors import ConflictError, NotFoundError, UsageError
from roadbed.scheduler.admit import Admission
from roadbed.scheduler.base import Job, Placement
from roadbed.scheduler.book import Claim, Run
from roadbed.scheduler.events import (
    Adopt,
    Cordon,
    Decision,
    Demand,
    Entry,
    Event,
    Exited,
    Moved,
    NodeDown,
    NodeUp,
    Quotas,
    Risk,
    Started,
    Submit,
    Withdraw,
)
from roadbed.scheduler.explain import Explainer, Waiting
from roadbed.scheduler.gang import Planner
from roadbed.scheduler.order import Kind, Waiter
from roadbed.scheduler.pool import Config, Pool, check_job, check_wishes
from roadbed.scheduler.quota import Quota, Standing
from roadbed.scheduler.relief import Relief
from roadbed.scheduler.state import State

log = logging.getLogger(__name__)


class Running(msgspec.Struct, frozen=True):
    """One line of a snapshot: a job that has devices."""

    id: str
    quota: str
    state: str  # starting, running, moving, stopping
    placement: Placement
    since_s: float
    expected_end_s: float
    return_by_s: float


class Snapshot(msgspec.Struct, frozen=True):
    """All that is visible of a scheduler: equal for equal histories. waiting: ids in order of quota and turn."""

    waiting: tuple[str, ...]
    claiming: tuple[str, ...]
    running: tuple[Running, ...]
    reserved: tuple[tuple[str, float], ...]
    free_milli: tuple[tuple[int, ...], ...]
    used: dict[str, dict[str, int]]


class Scheduler:
    """One pool of machines. state: of all nodes, empty; owned by the scheduler from here on. planner: on that state."""

    def __init__(
        self, state: State, planner: Planner, quotas: Sequence[Quota] = (), config: Config | None = None
    ) -> None:
        self.config = config or Config()
        self.pool = Pool(state, planner, quotas, self.config)
        self.admission = Admission(self.pool)
        self.relief = Relief(self.pool)
        self.explainer = Explainer(self.pool, self.relief)
        self._seq = 0
        self._cordoned = {at for at, node in enumerate(state.nodes) if node.cordoned}
        for at, node in enumerate(state.nodes):
            if node.risk >= self.config.risk_limit:
                self.relief.risky.add(at)
                state.set_schedulable(at, False)

    def handle(self, event: Event, now: float) -> None:
        """Takes note of a fact. NotFoundError, ConflictError or UsageError: it makes no sense and changed nothing."""
        match event:
            case Submit():
                self._submit(event.job, now)
            case Exited():
                self._exited(event, now)
            case Started():
                self._started(event.id, now)
            case Moved():
                self._moved(event.id, now)
            case Withdraw():
                self._withdraw(event.id, now)
            case Adopt():
                self._adopt(event, now)
            case Quotas():
                self.pool.replace_quotas(event.quotas, now)
            case Demand():
                self._demand(event, now)
            case NodeDown() | NodeUp() | Cordon() | Risk():
                self._node(event, now)

    def decide(self, now: float) -> list[Decision]:
        """What to do now. Forced stops first, then starts, then who makes room for whom; all in effect already."""
        self.pool.book.expect_overdue(now)
        found: list[Decision] = self.relief.forced(now)
        found += self._fulfil(now)
        found += self.relief.returns(now)
        found += self.admission.run(now)
        found += self.relief.for_waiting(now)
        found += self._fulfil(now)  # room that needed nobody's exit
        found += self.relief.grow(now)
        return found

    def wake_s(self, now: float) -> float | None:
        """When to call `decide` again though nothing happens; None: there is no need to."""
        times = [self.relief.wake_s(now)]
        times += [queue.next_change_s(now) for queue in self.pool.queues.values() if queue.num_waiting]
        first = min((each for each in times if each > now), default=float("inf"))
        return first if first < float("inf") else None

    def why(self, id_: str, now: float, *, what_if: bool = True) -> Waiting:
        """Why a job waits. what_if: with who could make room, and when it will start. NotFoundError if it doesn't."""
        claim = self.pool.book.claims.get(id_)
        if claim is not None:
            return self.explainer.nominated(claim, now)
        waiter = self.pool.waiting.get(id_)
        if waiter is None:
            raise NotFoundError(f"job {id_!r} does not wait", hint="roadbed ps -a")
        return self.explainer.waiting(waiter, now, what_if)

    def queue(self, now: float) -> list[tuple[str, str]]:
        """(quota, id) of everything that waits, each quota's in order of turn, what can't run at all last."""
        found: list[tuple[str, str]] = []
        for name, queue in self.pool.queues.items():
            found.extend((name, waiter.job.id) for waiter in queue.in_order(now))
            idle = [bucket for bucket in queue.buckets.values() if bucket.idle]
            found.extend((name, waiter.job.id) for bucket in idle for waiter in bucket.waiters)
        found.extend((waiter.job.quota, id_) for id_, waiter in self.pool.orphans.items())
        return found

    def standings(self) -> list[Standing]:
        """How every quota stands."""
        return [self.pool.tree.standing(name) for name in self.pool.tree.nodes]

    def snapshot(self, now: float) -> Snapshot:
        """All that is visible, as a value."""
        pool, book = self.pool, self.pool.book
        return Snapshot(
            waiting=tuple(id_ for _, id_ in self.queue(now)),
            claiming=tuple(book.claims),
            running=tuple(_running(run) for run in book.runs.values()),
            reserved=tuple((each.id, each.start_s) for each in pool.reservations.values()),
            free_milli=tuple(tuple(row) for row in pool.state.left.tolist()),
            used={name: dict(zip(pool.tree.names, node.used, strict=True)) for name, node in pool.tree.nodes.items()},
        )

    def _submit(self, job: Job, now: float) -> None:
        self._check_new(job)
        self._seq += 1
        self.pool.enqueue(Waiter(job, self.pool.kind_of(job.gang), self._seq, now))

    def _check_new(self, job: Job) -> None:
        book = self.pool.book
        if job.id in self.pool.waiting or job.id in book.runs or job.id in book.claims:
            raise ConflictError(f"there is a job {job.id!r} already", hint="roadbed ps", field="id")
        if job.gang in self.pool.kinds:
            check_wishes(job, self.pool.tree)
        else:
            check_job(job, self.pool.state, self.pool.tree)

    def _adopt(self, event: Adopt, now: float) -> None:
        job = event.job
        self._check_new(job)
        num_nodes = self.pool.state.num_nodes
        if not all(0 <= slot.node < num_nodes for slot in event.placement.slots) or not event.placement.slots:
            raise UsageError(f"job {job.id!r}: its placement names no node there is", hint="roadbed nodes")
        waiter = Waiter(job, Kind(job.gang), self._seq + 1, now)
        try:
            run = self.pool.book.start(waiter, event.placement, now)
        except (ValueError, IndexError) as error:
            raise ConflictError(f"job {job.id!r} can't be adopted: {error}", hint="roadbed nodes") from error
        self._seq += 1
        run.started, run.since_s = True, min(event.started_s, now)
        self.pool.book.expect(run, now)

    def _withdraw(self, id_: str, now: float) -> None:
        pool = self.pool
        if id_ in pool.waiting:
            pool.dequeue(pool.waiting[id_])
            self._head_changed()
        elif id_ in pool.book.claims:
            pool.book.drop_claim(pool.book.claims[id_], now)
        else:
            run = self._run(id_)
            run.requeue = False
            if not run.stopping:
                self.relief.withdrawn[id_] = None

    def _head_changed(self) -> None:
        """Who left the queue may have held the others up."""
        for queue in self.pool.queues.values():
            queue.fresh = True

    def _started(self, id_: str, now: float) -> None:
        run = self._run(id_)
        if not run.started:
            run.started, run.since_s = True, now
            if not run.stopping:
                self.pool.book.expect(run, now)

    def _moved(self, id_: str, now: float) -> None:
        run = self._run(id_)
        if not run.moving:
            raise ConflictError(f"job {id_!r} is not being moved", hint="roadbed ps")
        ran_s = max(0.0, now - run.since_s)
        run.saved_s = run.kept_s(now) if run.job.checkpoint_s > 0 else run.saved_s + ran_s
        run.since_s = now
        claim = self.pool.book.claims.get(run.claim)
        self.pool.book.moved(run)
        if not run.stopping:
            self.pool.book.expect(run, now)
        if claim is not None and not claim.waiting_for:
            self._drop_if_lost(claim, now)

    def _exited(self, event: Exited, now: float) -> None:
        pool, run = self.pool, self._run(event.id)
        finished = event.outcome == "finished"
        saved_s = event.saved_s if event.saved_s >= 0 else run.kept_s(now)
        if finished:
            ran_s = run.saved_s + max(0.0, now - run.since_s)
            pool.durations.learn(run.job.quota, run.job.gang.total_milli, ran_s)
        again = run.requeue and not finished
        pool.book.leave(run, now)
        self.relief.withdrawn.pop(event.id, None)
        if again:
            pool.enqueue(pool.waiter_of(run, saved_s))

    def _demand(self, event: Demand, now: float) -> None:
        tree = self.pool.tree
        if event.owner not in tree.nodes:
            raise NotFoundError(f"there is no quota {event.owner!r}", hint="roadbed quota", field="owner")
        if event.num_needed < 0 or any(need < 0 for _, need in event.samples):
            raise UsageError(f"demand of {event.owner!r} is below 0", hint="roadbed quota", field="num_needed")
        if not (event.shape.total_milli or event.shape.cpu_milli):
            raise UsageError(f"a replica of {event.owner!r} asks for nothing", hint="roadbed quota", field="shape")
        self.pool.loans.demand(event, now)
        self.relief.check_loans()

    def _node(self, event: NodeDown | NodeUp | Cordon | Risk, now: float) -> None:
        at = self.pool.state.index.get(event.name)
        if at is None:
            raise NotFoundError(f"there is no node {event.name!r}", hint="roadbed nodes", field="name")
        relief, pool = self.relief, self.pool
        match event:
            case NodeDown():
                pool.down.add(at)
                # Its processes are gone even if it is back before the next pass.
                relief.lost.update(dict.fromkeys(pool.book.on_node.get(at, ()), at))
            case NodeUp():
                pool.down.discard(at)
            case Cordon():
                (self._cordoned.add if event.on else self._cordoned.discard)(at)
                relief.draining.pop(at, None)
                if event.on and event.drain:
                    relief.draining[at] = event.drain_by_s if event.drain_by_s > 0 else float("inf")
            case Risk():
                if not 0 <= event.score <= 1:
                    raise UsageError(f"risk {event.score} is no probability", hint="roadbed nodes", field="score")
                (relief.risky.add if event.score >= self.config.risk_limit else relief.risky.discard)(at)
        usable = at not in pool.down and at not in self._cordoned and at not in relief.risky
        pool.state.set_schedulable(at, usable)
        for id_ in pool.book.on_node.get(at, ()):
            pool.book.runs[id_].due_s = float("inf")
        pool.nodes_changed()
        if not usable:
            for claim in list(pool.book.claims.values()):
                self._drop_if_lost(claim, now)

    def _drop_if_lost(self, claim: Claim, now: float) -> None:
        """A place with a node that takes nothing new is no place: its job queues again."""
        if not all(self.pool.state.schedulable[slot.node] for slot in claim.placement.slots):
            self.pool.book.drop_claim(claim, now)
            claim.waiter.try_at_s, claim.waiter.num_tries = -math.inf, 0  # others may make room at once
            self.pool.enqueue(claim.waiter)

    def _fulfil(self, now: float) -> list[Decision]:
        """Starts the jobs whose room has been made."""
        found: list[Decision] = []
        for claim in [claim for claim in self.pool.book.claims.values() if not claim.waiting_for]:
            waiter = claim.waiter
            self.pool.book.drop_claim(claim, now)
            try:
                found.append(self.admission.start(waiter, claim.placement, "freed", now))
            except ValueError as error:
                log.warning("the place made for %s is not there: %s", waiter.job.id, error)
                self.pool.enqueue(waiter)
        return found

    def _run(self, id_: str) -> Run:
        run = self.pool.book.runs.get(id_)
        if run is None:
            raise NotFoundError(f"job {id_!r} does not run", hint="roadbed ps -a")
        return run


def replay(scheduler: Scheduler, journal: Iterable[Entry]) -> list[list[Decision]]:
    """Feeds a journal to a new scheduler; the decisions of each of its `decide` lines."""
    found: list[list[Decision]] = []
    for entry in journal:
        if entry.event is None:
            found.append(scheduler.decide(entry.now))
        else:
            scheduler.handle(entry.event, entry.now)
    return found


def _running(run: Run) -> Running:
    state = "stopping" if run.stopping else "moving" if run.moving else "running" if run.started else "starting"
    return Running(run.job.id, run.job.quota, state, run.placement, run.since_s, run.end_s, run.return_by_s)
