"""Making room by moving: a few running jobs go elsewhere so that a waiting gang fits. Off unless asked for.

Nobody is moved unless the gang then has its place and everyone who moves has one too, free today; jobs must have
checkpoints, and what is computed again is counted. Bounded in moves and in cost, because every move is a restart.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from roadbed.scheduler.base import Gang, Placement
from roadbed.scheduler.book import Book, Run, Taken, hold
from roadbed.scheduler.gang import Planner
from roadbed.scheduler.preempt import Piece, choose, pieces_of


@dataclass(frozen=True)
class Room:
    """The place of the waiting gang, and who moves where for it."""

    placement: Placement
    moves: tuple[tuple[Run, Placement], ...]
    cost_device_s: float


class _AnyQuota:
    """A move changes nobody's use: no quota has a say."""

    def allows(self, piece: Piece, given: dict[str, list[int]]) -> bool:
        return True

    def admits(self, given: Sequence[Piece]) -> bool:
        return True


def make_room(
    book: Book, planner: Planner, gang: Gang, now: float, *, max_moves: int, max_cost_device_s: float
) -> Room | None:
    """At most max_moves migrations that give the gang a place, None if none are found. Changes nothing."""
    if max_moves < 1:
        return None
    need = gang.total_milli or gang.num * gang.shape.cpu_milli

    def movable(run: Run, all_of_it: bool) -> bool:
        own = run.num * (run.job.gang.shape.total_milli or run.job.gang.shape.cpu_milli)
        return all_of_it and run.started and run.job.checkpoint_s > 0 and own < need

    pieces = [
        piece for piece in pieces_of(book, movable, now) if piece.cost <= max_cost_device_s and not piece.run.claim
    ]
    choice = choose(book, planner, gang, pieces, _AnyQuota()) if pieces else None
    if choice is None or not choice.stops or len(choice.stops) > max_moves:
        return None
    cost = sum(run.cost(now) for run in choice.stops)
    if cost > max_cost_device_s:
        return None
    moves = _elsewhere(book, planner, gang, choice.placement, choice.stops)
    return Room(choice.placement, moves, cost) if moves else None


def _elsewhere(
    book: Book, planner: Planner, gang: Gang, wanted: Placement, runs: list[Run]
) -> tuple[tuple[Run, Placement], ...]:
    """A place for each run in what is free today beside the wanted placement; () if one of them has none."""
    state = book.state
    mark = state.mark()
    held: list[Taken] = []
    moves: list[tuple[Run, Placement]] = []
    try:
        hold(state, wanted.slots, gang.shape, held)
        for run in runs:
            placement = planner.plan(run.job.gang, run.num)
            if placement is None:
                return ()
            state.take_all(placement, run.job.gang.shape)
            moves.append((run, placement))
    finally:
        state.undo(mark)
    return tuple(moves)
