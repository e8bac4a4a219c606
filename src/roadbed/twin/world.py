"""The modelled edge: it carries the scheduler's decisions out on stand-ins for machines, and reports what happened.

What is real here is the Scheduler; what is modelled is time: a job's work is so many seconds on its smallest size, done
faster by more processes (linearly), begun after `start_s`, and lost back to the last checkpoint when it is stopped or
moved. All events of one moment are told before the scheduler is asked once, as a control plane that drains its inbox
would. Whatever happens is noted as spans (who held what from when to when); every figure is computed from those.
"""

import math
from collections.abc import Callable, Sequence

import msgspec

from roadbed.errors import RoadbedError
from roadbed.scheduler.base import Job, Placement
from roadbed.scheduler.core import Scheduler
from roadbed.scheduler.events import (
    Event,
    Exited,
    Migrate,
    Moved,
    NodeDown,
    NodeUp,
    Resize,
    Start,
    Started,
    Stop,
    Submit,
    Withdraw,
)
from roadbed.twin.kernel import Handle, Kernel

_PASS = 9  # priority of a pass among the events of one moment: last


class Times(msgspec.Struct, frozen=True, kw_only=True):
    """How long the edge takes. start_s: from the decision until work is done. stop_s: from being told until gone, never
    longer than the grace. move_s: of a resize or a migration."""

    start_s: float = 0.0
    stop_s: float = 5.0
    move_s: float = 10.0


class Span(msgspec.Struct, frozen=True):
    """A job held its placement. useful_s: seconds of its work that were done in it and not lost."""

    id: str
    start_s: float
    end_s: float
    placement: Placement
    useful_s: float


class Record:
    """One job's life. work_s: what it takes at its smallest size. end_s is inf while it is not over.

    lost_s: work done and thrown away. ready_s: from the decision to start until it is of use; below 0 = as the world
    says. watch: told True when its processes run, False when they are gone.
    """

    __slots__ = (
        "end_s", "first_start_s", "job", "lost_s", "num_moves", "num_starts", "num_stops", "queued_s", "ready_s",
        "saved_s", "submit_s", "waiting_since_s", "watch", "work_s",
    )  # fmt: skip

    def __init__(
        self, job: Job, work_s: float, ready_s: float = -1.0, watch: Callable[[bool], None] | None = None
    ) -> None:
        self.job = job
        self.ready_s = ready_s
        self.work_s = work_s
        self.watch = watch
        self.submit_s = self.waiting_since_s = job.submit_s
        self.first_start_s = self.end_s = math.inf
        self.saved_s = self.lost_s = self.queued_s = 0.0
        self.num_starts = self.num_stops = self.num_moves = 0


class _Live:
    """A job that holds devices. since_s: its work went on from then; inf while nothing is done."""

    __slots__ = ("held_s", "placement", "rate", "ready", "record", "saved_at_s", "since_s", "stopping", "timer")

    def __init__(self, record: Record, placement: Placement, now: float) -> None:
        self.record = record
        self.placement = placement
        self.rate = len(placement.slots) / record.job.gang.num
        self.held_s = now
        self.saved_at_s = record.saved_s  # work saved when this span began
        self.since_s = math.inf
        self.timer: Handle | None = None
        self.stopping = False
        self.ready = False


class World:
    """Machines, jobs and one scheduler on one kernel. spans, waits: in the order they ended."""

    def __init__(self, scheduler: Scheduler, kernel: Kernel, times: Times | None = None) -> None:
        self.scheduler = scheduler
        self.kernel = kernel
        self.times = times or Times()
        self.records: dict[str, Record] = {}
        self.live: dict[str, _Live] = {}
        self.spans: list[Span] = []
        self.waits: list[tuple[float, float]] = []
        self.refused: dict[str, str] = {}
        self.num_left = 0  # finite jobs that are not over
        self.num_passes = 0
        self.loan_stops = 0
        self._pass: Handle | None = None
        self._wake: Handle | None = None
        self._wake_s = math.inf

    def load(self, jobs: Sequence[tuple[Job, float]]) -> None:
        """Jobs to be submitted at their time, with the seconds of work each takes (finite)."""
        for job, work_s in jobs:
            self.num_left += 1
            self.kernel.at(job.submit_s, _later(self.submit, Record(job, work_s)))

    def submit(self, record: Record) -> bool:
        """Submits now; False when the scheduler refuses, with why in `refused`."""
        now = self.kernel.now
        record.submit_s = record.waiting_since_s = now
        try:
            self.scheduler.handle(Submit(record.job), now)
        except RoadbedError as error:
            self.refused[record.job.id] = error.message
            self._over(record)
            return False
        self.records[record.job.id] = record
        self._ask()
        return True

    def withdraw(self, id_: str) -> None:
        """Its owner wants it no more."""
        waiting = id_ not in self.live
        self.tell(Withdraw(id_))
        if waiting:
            self.records.pop(id_)

    def tell(self, event: Event) -> None:
        """A fact for the scheduler, which is asked before time goes on."""
        self.scheduler.handle(event, self.kernel.now)
        self._ask()

    def fail(self, name: str, repair_s: float) -> None:
        """A node is lost now and comes back later."""
        self.tell(NodeDown(name))
        self.kernel.after(repair_s, lambda: self.tell(NodeUp(name)))

    def _ask(self) -> None:
        if self._pass is None:
            self._pass = self.kernel.after(0.0, self._decide, _PASS)

    def _decide(self) -> None:
        self._pass = None
        now = self.kernel.now
        self.num_passes += 1
        for decision in self.scheduler.decide(now):
            match decision:
                case Start():
                    self._start(decision, now)
                case Stop():
                    self._stop(decision, now)
                case Resize() | Migrate():
                    self._move(decision, now)
        wake_s = self.scheduler.wake_s(now)
        if wake_s is not None and wake_s != self._wake_s:
            if self._wake is not None:
                self.kernel.cancel(self._wake)
            self._wake_s = wake_s
            self._wake = self.kernel.at(max(now, wake_s), self._woken, _PASS)

    def _woken(self) -> None:
        self._wake, self._wake_s = None, math.inf
        self._ask()

    def _start(self, decision: Start, now: float) -> None:
        record = self.records[decision.id]
        record.num_starts += 1
        record.first_start_s = min(record.first_start_s, now)
        record.queued_s += now - record.waiting_since_s
        self.waits.append((record.waiting_since_s, now))
        live = self.live[decision.id] = _Live(record, decision.placement, now)
        ready_s = self.times.start_s if record.ready_s < 0 else record.ready_s
        if ready_s > 0:
            live.timer = self.kernel.after(ready_s, lambda: self._go(live))
        else:
            self._go(live)

    def _go(self, live: _Live) -> None:
        """Its processes run: work is done from now on."""
        now, record = self.kernel.now, live.record
        self.scheduler.handle(Started(record.job.id), now)
        self._resume(live, now)
        live.ready = True
        if record.watch:
            record.watch(True)

    def _resume(self, live: _Live, now: float) -> None:
        live.since_s = now
        live.timer = None
        left_s = (live.record.work_s - live.record.saved_s) / live.rate
        if left_s < math.inf:
            live.timer = self.kernel.after(max(0.0, left_s), lambda: self._finish(live))

    def _finish(self, live: _Live) -> None:
        record, now = live.record, self.kernel.now
        record.saved_s = record.work_s
        self._close(live, now)
        record.end_s = now
        self._over(record)
        self.tell(Exited(record.job.id, "finished"))

    def _stop(self, decision: Stop, now: float) -> None:
        live = self.live[decision.id]
        record = live.record
        if live.stopping:  # told again, to go at once
            if live.timer is not None:
                self.kernel.cancel(live.timer)
        else:
            live.stopping = True
            record.num_stops += decision.requeue
            self.loan_stops += decision.reason == "loan_return"
            self._pause(live, now, keeps_all=False)
        at_s = max(now, min(decision.kill_at_s, now + self.times.stop_s))
        live.timer = self.kernel.at(at_s, lambda: self._gone(live, decision.requeue))

    def _gone(self, live: _Live, requeue: bool) -> None:
        record, now = live.record, self.kernel.now
        self._close(live, now)
        if requeue:
            record.waiting_since_s = now
        else:
            record.end_s = now
            self._over(record)
        self.tell(Exited(record.job.id, "stopped", record.saved_s))

    def _move(self, decision: Resize | Migrate, now: float) -> None:
        live = self.live[decision.id]
        live.record.num_moves += 1
        self._pause(live, now, keeps_all=live.record.job.checkpoint_s <= 0)
        live.timer = self.kernel.after(self.times.move_s, lambda: self._moved(live, decision.placement))

    def _moved(self, live: _Live, placement: Placement) -> None:
        now, record = self.kernel.now, live.record
        self._span(live, now)
        live.placement = placement
        live.rate = len(placement.slots) / record.job.gang.num
        live.held_s, live.saved_at_s = now, record.saved_s
        self._resume(live, now)
        self.tell(Moved(record.job.id))

    def _pause(self, live: _Live, now: float, *, keeps_all: bool) -> None:
        """No work is done from now on; what the last checkpoint does not hold is lost."""
        if live.timer is not None:
            self.kernel.cancel(live.timer)
            live.timer = None
        record = live.record
        done_s = record.saved_s + max(0.0, now - live.since_s) * live.rate
        live.since_s = math.inf
        if not keeps_all and record.work_s < math.inf:
            every = record.job.checkpoint_s
            kept_s = max(record.saved_s, math.floor(done_s / every + 1e-9) * every) if every > 0 else 0.0
            record.lost_s += max(0.0, done_s - kept_s)
            done_s = kept_s
        record.saved_s = done_s

    def _close(self, live: _Live, now: float) -> None:
        del self.live[live.record.job.id]
        if live.timer is not None:
            self.kernel.cancel(live.timer)
        self._span(live, now)
        if live.ready and live.record.watch:
            live.record.watch(False)

    def _span(self, live: _Live, now: float) -> None:
        record = live.record
        useful_s = record.saved_s - live.saved_at_s if record.work_s < math.inf else now - live.held_s
        self.spans.append(Span(record.job.id, live.held_s, now, live.placement, useful_s))

    def _over(self, record: Record) -> None:
        if record.work_s < math.inf:
            self.num_left -= 1
            if not self.num_left:
                self.kernel.stop()


def _later(call: Callable[[Record], object], record: Record) -> Callable[[], None]:
    def run() -> None:
        call(record)

    return run
