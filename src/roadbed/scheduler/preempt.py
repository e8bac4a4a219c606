"""Who makes room: the cheapest set of jobs whose leaving really gives a waiting gang its place.

Running jobs are cut into pieces that can leave: each process an elastic job has above its minimum, and the job itself.
Pieces are given back in a what-if, node by node (the node that can host a process most cheaply first, within one domain
where the gang must stay in one), until the planner finds the place; then the place is taken and every piece, dearest
first, is tried back in: what still fits beside it was not needed. So freed devices are never scattered where the gang
can't use them, nobody is stopped for nothing, and elastic jobs shrink before anybody dies.

Greedy, not optimal: of the domains only the cheapest few are looked at, and sets are not compared exhaustively.
"""

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from roadbed.scheduler.base import Gang, Level, Placement, Shape, Slot
from roadbed.scheduler.book import Book, Run
from roadbed.scheduler.gang import Planner

MAX_DOMAINS = 8
MAX_PLANS = 48


@dataclass(frozen=True, eq=False)
class Piece:
    """Slots that can leave together. stops: the job ends with them. cost: device-seconds of work lost."""

    run: Run
    slots: tuple[Slot, ...]
    stops: bool
    cost: float

    @property
    def rank(self) -> tuple[bool, int, float, float, int]:
        """Who leaves first: surplus before jobs, low priority before high, cheap before dear, young before old."""
        return (self.stops, self.run.job.priority, self.cost, -self.run.since_s, self.run.seq)


@dataclass
class Choice:
    """A place and who must leave for it: jobs that end, and slots by which elastic jobs shrink."""

    placement: Placement
    stops: list[Run] = field(default_factory=list)
    shrinks: dict[str, list[Slot]] = field(default_factory=dict)
    cost: float = 0.0

    @property
    def rank(self) -> tuple[int, float]:
        return (len(self.stops), self.cost)


class Rules(Protocol):
    """What the quotas say."""

    def allows(self, piece: Piece, given: dict[str, list[int]]) -> bool:
        """May this piece leave too, after what each quota has given already? Adds it there if so."""
        ...

    def admits(self, given: Sequence[Piece]) -> bool:
        """Do the quotas admit the gang once these pieces have left?"""
        ...


May = Callable[[Run, bool], bool]
"""May this run be asked to leave: its surplus (False), all of it (True)?"""


def pieces_of(book: Book, may: May, now: float) -> list[Piece]:
    """What could leave now, in order of rank. Jobs started in this very pass, on their way out, on the move or within
    `min_run_s` can't."""
    found: list[Piece] = []
    for run in book.runs.values():
        if run.stopping or run.moving or (not run.started and run.since_s >= now):
            continue
        job, slots = run.job, run.placement.slots
        gang = job.gang
        surplus = max(0, len(slots) - gang.num) if not gang.topology.slices else 0
        if surplus and may(run, False):
            each = run.cost(now) / len(slots)
            found.extend(Piece(run, (slot,), False, each) for slot in reversed(slots[gang.num :]))
        if job.preemptible and now >= run.since_s + job.min_run_s and may(run, True):
            found.append(Piece(run, slots[: len(slots) - surplus], True, run.cost(now)))
    found.sort(key=_rank)
    return found


def choose(book: Book, planner: Planner, gang: Gang, pieces: Sequence[Piece], rules: Rules) -> Choice | None:
    """The cheapest choice found that gives the gang a place the quotas admit; None: there is none. Changes nothing."""
    best: Choice | None = None
    level = gang.topology.required
    for domain in _domains(book, gang, pieces, level):
        found = _within(book, planner, gang, domain, rules)
        if found is not None and (best is None or found.rank < best.rank):
            best = found
    return best


def _domains(book: Book, gang: Gang, pieces: Sequence[Piece], level: Level | None) -> list[list[list[Piece]]]:
    """For each domain worth a try its pieces in batches, one per node, cheapest node first; cheapest domain first."""
    nodes: dict[int, list[Piece]] = {}
    for piece in pieces:
        for node in dict.fromkeys(slot.node for slot in piece.slots):
            nodes.setdefault(node, []).append(piece)
    bids: dict[Hashable, list[tuple[bool, int, float, int]]] = {}
    batches: dict[int, list[Piece]] = {}
    for node, here in nodes.items():
        batch = _to_host_one(book, gang.shape, node, here)
        if batch is not None:
            batches[node] = batch
            bid = (any(p.stops for p in batch), max(p.run.job.priority for p in batch), sum(p.cost for p in batch))
            bids.setdefault(_domain(book, node, level), []).append((*bid, node))
    found = []
    for bid_list in bids.values():
        bid_list.sort()
        asked = bid_list[: gang.num]
        domain = {node for *_, node in bid_list}
        rest = [[piece] for piece in pieces if any(slot.node in domain for slot in piece.slots)]
        cost = (any(stops for stops, *_ in asked), sum(cost for _, _, cost, _ in asked) / len(asked), asked[0][3])
        found.append((cost, [batches[node] for *_, node in bid_list] + rest))
    if not found:  # the gang fits already and only its quota is in the way, or nothing helps
        return [[[piece] for piece in pieces]]
    found.sort(key=_cost)
    return [batch for _, batch in found[:MAX_DOMAINS]]


def _to_host_one(book: Book, shape: Shape, node: int, pieces: Sequence[Piece]) -> list[Piece] | None:
    """The first pieces whose leaving lets the node host one more process; None: even all of them do not."""
    state = book.state
    if not state.schedulable[node]:
        return None
    left = state.left[node].tolist()
    cpu, memory = int(state.cpu_left[node]), int(state.memory_left[node])
    for at, piece in enumerate(pieces):
        theirs = piece.run.job.gang.shape
        for slot in piece.slots:
            if slot.node == node:
                cpu, memory = cpu + theirs.cpu_milli, memory + theirs.memory_mib
                for device in slot.devices:
                    left[device] += theirs.milli
        devices = sum(each >= shape.milli for each in left)
        if cpu >= shape.cpu_milli and memory >= shape.memory_mib and devices >= shape.num_devices:
            return list(pieces[: at + 1])
    return None


def _domain(book: Book, node: int, level: Level | None) -> Hashable:
    info = book.state.nodes[node]
    if level is None:
        return ""
    if level == "segment":
        return info.segment
    if level == "pod":
        return info.pod
    return info.island if level == "island" and info.island else node


def _within(
    book: Book, planner: Planner, gang: Gang, batches: Sequence[Sequence[Piece]], rules: Rules
) -> Choice | None:
    """Gives back batch after batch until the gang has a place, then takes back what was not needed."""
    state = book.state
    whole = state.mark()
    try:
        given: list[Piece] = []
        seen: set[int] = set()
        taken: dict[str, list[int]] = {}
        plans, at, pause = 0, 0, 1
        placement: Placement | None = None
        while placement is None and plans < MAX_PLANS:
            if at >= len(batches):
                return None
            stop = min(len(batches), at + pause)
            for batch in batches[at:stop]:
                for piece in batch:
                    if id(piece) not in seen and rules.allows(piece, taken):
                        seen.add(id(piece))
                        _give(book, piece)
                        given.append(piece)
            at, pause = stop, 1 if stop < 16 else pause + 1 + pause // 4
            if not state.lacks_devices(gang.shape, gang.num) and rules.admits(given):
                plans += 1
                placement = planner.plan(gang)
        if placement is None:
            return None
        state.take_all(placement, gang.shape)
        return _needed(book, placement, given, rules)
    finally:
        state.undo(whole)


def _needed(book: Book, placement: Placement, given: Sequence[Piece], rules: Rules) -> Choice:
    """Everybody who still fits beside the placement comes back, the dearest first."""
    needed = list(given)
    for piece in sorted(given, key=_rank, reverse=True):
        try:
            book.state.take_all(Placement(piece.slots), piece.run.job.gang.shape)
        except ValueError:  # its devices are what the gang needs
            continue
        fewer = [each for each in needed if each is not piece]
        if rules.admits(fewer):
            needed = fewer
        else:
            _give(book, piece)
    choice = Choice(placement, cost=sum(piece.cost for piece in needed))
    choice.stops = [piece.run for piece in needed if piece.stops]
    ending = {run.job.id for run in choice.stops}
    for piece in needed:
        if piece.run.job.id not in ending:
            choice.shrinks.setdefault(piece.run.job.id, []).extend(piece.slots)
    return choice


def _give(book: Book, piece: Piece) -> None:
    for slot in piece.slots:
        book.state.give(slot, piece.run.job.gang.shape)


def _rank(piece: Piece) -> tuple[bool, int, float, float, int]:
    return piece.rank


def _cost(item: tuple[tuple[bool, float, int], list[list[Piece]]]) -> tuple[bool, float, int]:
    return item[0]
