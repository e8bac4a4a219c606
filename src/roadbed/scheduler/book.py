"""What runs where: the one place that moves devices between free, taken and held, and charges quotas for it.

A run's devices (`held`) are taken from the decision to start it until its processes are gone. What is freed for
somebody (a claim: a preemptor, a gang that others were moved for) is free for nobody else: the claim holds what is free
of its placement at once, gathers what leaves, and takes its placement whole when the last has left.
"""

import bisect
import heapq
import math
from collections.abc import Iterable, Sequence
from functools import lru_cache

from roadbed.scheduler.accounts import QuotaTree
from roadbed.scheduler.base import Gang, Job, Placement, Shape, Slot
from roadbed.scheduler.forecast import Durations
from roadbed.scheduler.order import Waiter
from roadbed.scheduler.quota import Vector
from roadbed.scheduler.state import State

Taken = tuple[Slot, Shape]


class Run:
    """A job that has devices. placement: where it should run; held: every slot it still has, old ones of a move too.

    since_s: when it was started, by decision until its edge says when. stopping: it was told to stop. leaving: slots
    that go to `claim` when they are free.
    """

    __slots__ = (
        "amount", "charged", "claim", "due_s", "end_s", "held", "job", "leaving", "moving", "placement", "requeue",
        "resized_s", "return_by_s", "saved_s", "seq", "since_s", "started", "stopping", "waited_since_s",
    )  # fmt: skip

    def __init__(self, waiter: Waiter, placement: Placement, now: float) -> None:
        self.job: Job = waiter.job
        self.seq = waiter.seq
        self.waited_since_s = waiter.since_s
        self.saved_s = waiter.saved_s
        self.placement = placement
        self.held: list[Slot] = list(placement.slots)
        self.since_s = now
        self.started = False
        self.end_s = math.inf
        self.stopping = ""
        self.requeue = False
        self.moving = False
        self.claim = ""
        self.leaving: list[Slot] = []
        self.charged = True
        self.amount: Vector = ()
        self.return_by_s = 0.0
        self.resized_s = now
        self.due_s = math.inf  # next checkpoint at which it should leave a bad node

    @property
    def num(self) -> int:
        return len(self.placement.slots)

    def lost_s(self, now: float) -> float:
        """Seconds of work since the last checkpoint, by what the job says of itself."""
        ran = max(0.0, now - self.since_s)
        every = self.job.checkpoint_s
        return ran % every if every > 0 else ran

    def kept_s(self, now: float) -> float:
        """Seconds of its work that a stop now would keep, earlier runs included."""
        every = self.job.checkpoint_s
        return self.saved_s + (max(0.0, now - self.since_s) - self.lost_s(now) if every > 0 else 0.0)

    def cost(self, now: float) -> float:
        """What stopping it now throws away, in device-seconds (core-seconds where it has no devices)."""
        shape = self.job.gang.shape
        each = shape.total_milli or shape.cpu_milli
        return self.lost_s(now) * self.num * each / 1000.0


class Claim:
    """A placement being freed for a job that left the queue for it. waiting_for: runs that have yet to leave."""

    __slots__ = ("freed", "gang", "held", "placement", "waiter", "waiting_for")

    def __init__(self, waiter: Waiter, gang: Gang, placement: Placement) -> None:
        self.waiter = waiter
        self.gang = gang
        self.placement = placement
        self.held: list[Taken] = []
        self.freed: list[Taken] = []
        self.waiting_for: set[str] = set()


class Book:
    """Runs, by id in the order they began, and the claims on what they leave.

    version: grows whenever something became free, so that what was refused is worth another try. num_taken: grows
    whenever something was taken; together they tell whether a plan made before still holds.
    """

    def __init__(self, state: State, tree: QuotaTree, durations: Durations) -> None:
        self.state = state
        self.tree = tree
        self.durations = durations
        self.runs: dict[str, Run] = {}
        self.claims: dict[str, Claim] = {}
        self.on_node: dict[int, dict[str, None]] = {}
        self.ends: list[tuple[float, int, str]] = []  # (expected end, arrival, id), sorted
        self.stoppable: dict[str, list[int]] = {}  # by quota: preemptible runs of each priority
        self.elastic: dict[str, None] = {}
        self.version = 0
        self.num_taken = 0

    def amount(self, job: Job, slots: Sequence[Slot]) -> Vector:
        """What those processes of the job use, as the quota tree counts it."""
        shape, names = job.gang.shape, self.tree.chip_at
        by_chip: dict[str, int] = {}
        if names and shape.num_devices:
            for slot in slots:
                chip = self.state.nodes[slot.node].chip
                by_chip[chip] = by_chip.get(chip, 0) + shape.total_milli
        return self.tree.vector(shape.total_milli * len(slots), shape.cpu_milli * len(slots), by_chip)

    def start(self, waiter: Waiter, placement: Placement, now: float) -> Run:
        """Takes the placement. ValueError if it is not free (any more); nothing is changed then."""
        run = Run(waiter, placement, now)
        self.state.take_all(placement, run.job.gang.shape)
        self.num_taken += 1
        run.amount = self.amount(run.job, placement.slots)
        self.tree.charge(run.job.quota, run.amount, run.job.preemptible, 1, now)
        self._enter(run, now)
        return run

    def _enter(self, run: Run, now: float) -> None:
        job = run.job
        self.runs[job.id] = run
        if job.preemptible:
            self.stoppable.setdefault(job.quota, [0] * 10)[job.priority] += 1
        if job.gang.most > job.gang.num:
            self.elastic[job.id] = None
        for slot in run.held:
            self.on_node.setdefault(slot.node, {})[run.job.id] = None
        self.expect(run, now)

    def expect(self, run: Run, now: float) -> None:
        """Works out anew when the run will end."""
        self._unexpect(run)
        run.end_s = self.expected_end_s(run, now)
        bisect.insort(self.ends, (run.end_s, run.seq, run.job.id))

    def expected_end_s(self, run: Run, now: float) -> float:
        """When a run is expected to be over; one that overran is expected to run on for as long again as it overran."""
        job, ran = run.job, max(0.0, now - run.since_s)
        whole = job.duration_s
        if run.stopping:
            return now + 60.0  # it should be gone by now
        if whole <= 0:
            whole = self.durations.quantile(job.quota, job.gang.total_milli, 0.75, ran + run.saved_s)
        end = run.since_s + max(0.0, whole - run.saved_s)
        return end if end > now else now + max(1.0, now - end)

    def remaining_s(self, waiter: Waiter) -> float:
        """How long a waiting job would run, by its declaration or by what its like did."""
        job = waiter.job
        whole = job.duration_s or self.durations.quantile(job.quota, job.gang.total_milli, 0.75, waiter.saved_s)
        return max(1.0, whole - waiter.saved_s)

    def expect_overdue(self, now: float) -> None:
        """Expects anew the runs that should have ended by now; overruns double, so that is rare for any one run."""
        if not self.ends or self.ends[0][0] > now:
            return
        late = bisect.bisect_right(self.ends, (now, math.inf, ""))
        due = self.ends[:late]
        del self.ends[:late]
        for _, seq, id_ in due:
            run = self.runs[id_]
            run.end_s = self.expected_end_s(run, now)
            bisect.insort(self.ends, (run.end_s, seq, id_))

    def upcoming(self, now: float) -> list[tuple[float, int, str]]:
        """Expected ends in order, those of overdue runs expected anew. Changes nothing: asking must not decide."""
        late = bisect.bisect_right(self.ends, (now, math.inf, ""))
        if not late:
            return self.ends
        runs = self.runs
        again = sorted((self.expected_end_s(runs[id_], now), seq, id_) for _, seq, id_ in self.ends[:late])
        return list(heapq.merge(again, self.ends[late:]))

    def expect_at(self, run: Run, end_s: float) -> None:
        """It is known when the run will end: it was told to."""
        self._unexpect(run)
        run.end_s = end_s
        bisect.insort(self.ends, (run.end_s, run.seq, run.job.id))

    def stop(self, run: Run, reason: str = "left") -> None:
        """It was told to stop: nobody else can ask it to."""
        if not run.stopping:
            run.stopping = reason
            if run.job.preemptible:
                self.stoppable[run.job.quota][run.job.priority] -= 1
            self.elastic.pop(run.job.id, None)

    def uncharge(self, run: Run, now: float) -> None:
        """Its quota no longer pays for it: what it has is spoken for."""
        if run.charged:
            self.tree.charge(run.job.quota, run.amount, run.job.preemptible, -1, now)
            run.charged = False

    def leave(self, run: Run, now: float) -> None:
        """All its processes are gone: what it held is free, or goes to whom it was stopped for."""
        self.uncharge(run, now)
        self.stop(run)
        del self.runs[run.job.id]
        self._unexpect(run)
        self._free(run, run.held)
        self._left(run)

    def moved(self, run: Run) -> None:
        """A resize or a migration is done: what the placement no longer names is free, or goes to the claim."""
        old = list(run.held)
        for slot in run.placement.slots:
            old.remove(slot)
        run.held = list(run.placement.slots)
        run.moving = False
        self._free(run, old)
        for slot in run.held:  # a node may be left with some of its slots
            self.on_node.setdefault(slot.node, {})[run.job.id] = None
        self._left(run)

    def move(self, run: Run, placement: Placement, now: float) -> None:
        """Begins a resize or migration: takes the new slots at once, the old are held until `moved`."""
        old = list(run.held)
        new = []
        for slot in placement.slots:
            if slot in old:
                old.remove(slot)
            else:
                new.append(slot)
        self.state.take_all(Placement(tuple(new)), run.job.gang.shape)
        self.num_taken += 1
        run.held.extend(new)
        run.moving = True
        run.placement = placement
        run.resized_s = now
        for slot in new:
            self.on_node.setdefault(slot.node, {})[run.job.id] = None
        self._recharge(run, now)

    def _recharge(self, run: Run, now: float) -> None:
        charged = run.charged
        self.uncharge(run, now)
        run.amount = self.amount(run.job, run.placement.slots)
        if charged:
            self.tree.charge(run.job.quota, run.amount, run.job.preemptible, 1, now)
            run.charged = True

    def claim(self, waiter: Waiter, gang: Gang, placement: Placement, now: float) -> Claim:
        """Reserves a placement that is about to be freed: holds what is free of it and charges the quota for it."""
        claim = Claim(waiter, gang, placement)
        hold(self.state, placement.slots, gang.shape, claim.held)
        self.num_taken += 1
        self.tree.charge(
            waiter.job.quota, self.amount(waiter.job, placement.slots), waiter.job.preemptible, 1, now
        )  # fmt: skip
        self.claims[waiter.job.id] = claim
        return claim

    def drop_claim(self, claim: Claim, now: float) -> None:
        """Lets go of everything gathered; those still leaving then leave for nobody."""
        job = claim.waiter.job
        del self.claims[job.id]
        self.tree.charge(job.quota, self.amount(job, claim.placement.slots), job.preemptible, -1, now)
        for slot, shape in [*claim.held, *claim.freed]:
            self.state.give(slot, shape)
        for run_id in claim.waiting_for:
            self.runs[run_id].claim = ""
        self.version += 1

    def _free(self, run: Run, slots: Iterable[Slot]) -> None:
        claim = self.claims.get(run.claim) if run.claim else None
        leaving = list(run.leaving)
        shape = run.job.gang.shape
        for slot in slots:
            nodes = self.on_node.get(slot.node)
            if nodes is not None:
                nodes.pop(run.job.id, None)
            if claim is not None and slot in leaving:
                leaving.remove(slot)
                claim.freed.append((slot, shape))
            else:
                self.state.give(slot, shape)
        self.version += 1

    def _left(self, run: Run) -> None:
        claim = self.claims.get(run.claim) if run.claim else None
        if claim is not None:
            claim.waiting_for.discard(run.job.id)
        run.claim = ""
        run.leaving = []

    def _unexpect(self, run: Run) -> None:
        at = bisect.bisect_left(self.ends, (run.end_s, run.seq, run.job.id))
        if at < len(self.ends) and self.ends[at][2] == run.job.id:
            del self.ends[at]


def hold(state: State, slots: Iterable[Slot], shape: Shape, into: list[Taken]) -> None:
    """Takes what is free now of the slots — some devices, part of the CPU — so that nobody else does."""
    most, most_cpu, most_memory = shape.milli, shape.cpu_milli, shape.memory_mib
    for slot in slots:
        node = slot.node
        cpu, memory = state.host_free(node)
        cpu, memory = min(cpu, most_cpu), min(memory, most_memory)
        by_size: dict[int, list[int]] = {}
        row = state.left[node].tolist() if slot.devices else []
        for device in slot.devices:
            size = row[device]
            if size:
                by_size.setdefault(size if size < most else most, []).append(device)
        if not by_size and (cpu or memory):
            by_size[0] = []
        for size, devices in by_size.items():
            part = _part(len(devices), size, cpu, memory)
            piece = slot if len(devices) == len(slot.devices) else Slot(node, tuple(devices))
            state.take_free(piece, part)
            into.append((piece, part))
            cpu = memory = 0


@lru_cache(4096)
def _part(num_devices: int, milli: int, cpu_milli: int, memory_mib: int) -> Shape:
    return Shape(num_devices=num_devices, milli=milli, cpu_milli=cpu_milli, memory_mib=memory_mib)
