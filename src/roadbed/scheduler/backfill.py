"""Gaps: when and where a blocked job will start, and what may run until then without delaying it.

A reservation is made on real devices: running jobs are given back, in a what-if, in the order in which they are
expected to end, until the planner finds the whole gang a place. So nodes that are full today count, with the hour they
become free. A job that ends before the reservation starts may use anything; one that does not must be placed with what
is free of the reserved devices held back. Reservations are as good as the expected ends they rest on; they are made
anew when they are old.
"""

from collections.abc import Callable, Sequence

import msgspec

from roadbed.scheduler.base import WHOLE, Gang, Placement, Shape
from roadbed.scheduler.book import Book, Run, Taken, hold
from roadbed.scheduler.gang import Planner
from roadbed.scheduler.state import State


class Reservation(msgspec.Struct, frozen=True):
    """From start_s to end_s this place is for this job. made_s: when that was worked out. borrowed: with it the job's
    quota is above its guarantee, so work within a guarantee need not heed it."""

    id: str
    start_s: float
    end_s: float
    placement: Placement
    shape: Shape
    made_s: float
    nodes: frozenset[int]
    borrowed: bool = False


def reserve(
    book: Book, planner: Planner, id_: str, gang: Gang, runs_s: float, earlier: Sequence[Reservation], now: float
) -> Reservation | None:
    """When and where a gang that runs for runs_s will fit, beside earlier reservations; None: not even when all of
    today's jobs have ended. Changes nothing. O(log jobs) plans."""
    state = book.state
    leaving = [(end_s, run) for end_s, _, name in book.upcoming(now) if not (run := book.runs[name]).claim]

    def give(first: int, last: int) -> None:
        for _, run in leaving[first:last]:
            for slot in run.held:
                state.give(slot, run.job.gang.shape)

    def probe(count: int) -> Placement | None:
        return at(leaving[count - 1][0] if count else now)

    def at(at_s: float) -> Placement | None:
        bound = [each for each in earlier if each.end_s > at_s and at_s + runs_s > each.start_s]
        return plan_beside(book, planner, gang, bound)

    whole = state.mark()
    try:
        # Not before enough could be free: those ends need no probe.
        high = _enough(book, gang, leaving)
        low, step = max(0, high - 1), 1
        give(0, high)
        placement = probe(high)
        while placement is None:
            if high == len(leaving):
                return _after(id_, gang, runs_s, earlier, now, at)
            low, high = high, min(len(leaving), high + step)
            step *= 2
            tried = state.mark()
            give(low, high)
            placement = probe(high)
            if placement is None:
                state.keep(tried)
            else:
                state.undo(tried)
        while high - low > 1:
            middle = (low + high) // 2
            tried = state.mark()
            give(low, middle)
            sooner = probe(middle)
            if sooner is None:
                state.keep(tried)
                low = middle
            else:
                state.undo(tried)
                high, placement = middle, sooner
    finally:
        state.undo(whole)
    start_s = max(now, leaving[high - 1][0]) if high else now
    nodes = frozenset(slot.node for slot in placement.slots)
    return Reservation(id_, start_s, start_s + runs_s, placement, gang.shape, now, nodes)


def _enough(book: Book, gang: Gang, leaving: Sequence[tuple[float, Run]]) -> int:
    """How many must have ended before the gang could fit, topology and reservations aside; a lower bound."""
    if gang.shape.num_devices and gang.shape.milli == WHOLE:
        return _enough_whole(book.state, gang, leaving)
    devices = bool(gang.total_milli)
    need = gang.total_milli if devices else gang.num * gang.shape.cpu_milli
    free = int(book.state.left.sum() if devices else book.state.cpu_left.sum())
    for count, (_, run) in enumerate(leaving):
        if free >= need:
            return count
        shape = run.job.gang.shape
        free += len(run.held) * (shape.total_milli if devices else shape.cpu_milli)
    return len(leaving)


def _enough_whole(state: State, gang: Gang, leaving: Sequence[tuple[float, Run]]) -> int:
    """As _enough, node by node: whole devices of different nodes do not add up."""
    if not state.lacks_devices(gang.shape, gang.num):
        return 0
    each, whole = gang.shape.num_devices, state.whole
    freed: dict[int, int] = {}
    room = sum(num * (free // each) for free, num in enumerate(state.num_with))
    for count, (_, run) in enumerate(leaving, 1):
        for slot in run.held:
            before = freed.get(slot.node)
            if before is None:
                before = int(whole[slot.node])
            after = freed[slot.node] = before + len(slot.devices)
            room += after // each - before // each
        if room >= gang.num:
            return count
    return len(leaving)


def _after(
    id_: str,
    gang: Gang,
    runs_s: float,
    earlier: Sequence[Reservation],
    now: float,
    at: Callable[[float], Placement | None],
) -> Reservation | None:
    """When everything that runs today has ended and only earlier reservations are in the way: after one of them."""
    for end_s in sorted({each.end_s for each in earlier if each.end_s > now}):
        placement = at(end_s)
        if placement is not None:
            nodes = frozenset(slot.node for slot in placement.slots)
            return Reservation(id_, end_s, end_s + runs_s, placement, gang.shape, now, nodes)
    return None


def plan_beside(book: Book, planner: Planner, gang: Gang, bound: Sequence[Reservation]) -> Placement | None:
    """A place for the gang that leaves alone what is free of the reserved devices now. Changes nothing."""
    placement = planner.plan(gang)
    if placement is None or not bound or not clashes(book.state, placement, gang.shape, bound):
        return placement
    return plan_apart(book, planner, gang, bound)


def plan_apart(book: Book, planner: Planner, gang: Gang, bound: Sequence[Reservation]) -> Placement | None:
    """As plan_beside, where the place the planner would choose is known to clash."""
    state = book.state
    mark = state.mark()
    held: list[Taken] = []
    try:
        for each in bound:
            hold(state, each.placement.slots, each.shape, held)
        return planner.plan(gang)
    finally:
        state.undo(mark)


def clashes(state: State, placement: Placement, shape: Shape, bound: Sequence[Reservation]) -> bool:
    """Might the placement use what is reserved? Certain of devices; of CPU and memory as if none of it were in use."""
    for node in {slot.node for slot in placement.slots}:
        over = [each for each in bound if node in each.nodes]
        if not over:
            continue
        mine = [slot for slot in placement.slots if slot.node == node]
        devices = {device for slot in mine for device in slot.devices}
        cpu = int(state.cpu_left[node]) - len(mine) * shape.cpu_milli
        memory = int(state.memory_left[node]) - len(mine) * shape.memory_mib
        for each in over:
            for slot in each.placement.slots:
                if slot.node == node:
                    cpu -= each.shape.cpu_milli
                    memory -= each.shape.memory_mib
                    if cpu < 0 or memory < 0 or not devices.isdisjoint(slot.devices):
                        return True
    return False
