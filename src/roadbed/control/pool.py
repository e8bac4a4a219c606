"""The one scheduler of this platform, kept in step with the store.

The store says what is wanted and what holds devices; the scheduler decides in memory and can be rebuilt from the store
at any time: `sync` tells it what it does not know yet (submit, adopt, forget) and is a no-op otherwise. What it decides
waits here until the reconciler of the noun has written it down and carried it out. Thread-safe: reconcilers call from
the loop, the API from threads.
"""

import threading
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager

import msgspec

from roadbed.errors import NotFoundError, RoadbedError
from roadbed.scheduler.base import Funnel, Gang, Job, Placement
from roadbed.scheduler.core import Scheduler
from roadbed.scheduler.events import (
    Adopt,
    Cordon,
    Decision,
    Exited,
    Migrate,
    Moved,
    Outcome,
    Quotas,
    Resize,
    Risk,
    Start,
    Started,
    Stop,
    Submit,
    Withdraw,
)
from roadbed.scheduler.explain import Waiting
from roadbed.scheduler.funnel import CORDONED
from roadbed.scheduler.planner import TreePlanner
from roadbed.scheduler.policies.roadbed import Roadbed
from roadbed.scheduler.pool import Config
from roadbed.scheduler.quota import Quota, Standing
from roadbed.scheduler.state import State
from roadbed.scheduler.target import Target
from roadbed.spec.inventory import NodeInfo

TOO_LARGE = "too_large"
NO_CAPACITY = "no_capacity"
_QUEUE_REASONS = {"queued", "reserved", "victims_leaving"}


class Claimed(msgspec.Struct, frozen=True):
    """One job as the store has it. placement: what it holds, None while it waits."""

    job: Job
    placement: Placement | None = None
    since_s: float = 0.0


class Reason(msgspec.Struct, frozen=True):
    """Why a job waits: a stable code and a sentence."""

    code: str
    message: str


class LivePool:
    """now: Unix seconds; a clock that is set back is read as standing still."""

    def __init__(self, nodes: Sequence[NodeInfo], quotas: Sequence[Quota] = (), config: Config | None = None) -> None:
        self.nodes = tuple(nodes)
        self.chips: Collection[str] = {node.chip for node in nodes}
        state = State(nodes)
        planner = TreePlanner(state, Roadbed(state, Target()), "value")
        self.scheduler = Scheduler(state, planner, quotas, config)
        self.state = state
        self.granted: dict[str, Placement] = {}
        """Decided to start, not yet written down by the noun's reconciler."""
        self.stops: dict[str, Stop] = {}
        self.moves: dict[str, Resize | Migrate] = {}
        self._refused: dict[str, tuple[Job, Reason]] = {}
        self._quotas: tuple[Quota, ...] = ()
        self._said: dict[str, tuple[bool, bool, float]] = {}
        self._known: dict[str, set[str]] = {}
        self._now = 0.0
        self._lock = threading.RLock()

    def sync(self, noun: str, items: Mapping[str, Claimed], now: float) -> None:
        """Brings the scheduler to what the store says of all jobs of one noun; keys are job ids."""
        with self._lock:
            now = self._tick(now)
            for gone in self._known.get(noun, set()) - items.keys():
                self._forget(gone, now)
            self._known[noun] = set(items)
            for id_, item in items.items():
                self._follow(id_, item, now)

    def decide(self, now: float) -> None:
        """One pass; its decisions are in `granted`, `stops` and `moves` afterwards."""
        with self._lock:
            for decision in self.scheduler.decide(self._tick(now)):
                self._keep(decision)

    def started(self, id_: str, now: float) -> None:
        """All its processes run."""
        with self._lock:
            if id_ in self.scheduler.pool.book.runs:
                self.scheduler.handle(Started(id_), self._tick(now))

    def moved(self, id_: str, now: float) -> None:
        """A resize or migration was carried out."""
        with self._lock:
            self.moves.pop(id_, None)
            run = self.scheduler.pool.book.runs.get(id_)
            if run is not None and run.moving:
                self.scheduler.handle(Moved(id_), self._tick(now))

    def exited(self, id_: str, outcome: Outcome, now: float) -> bool:
        """No process of it runs any more. True: the scheduler stopped it and has queued it again itself."""
        with self._lock:
            self._drop(id_)
            if id_ not in self.scheduler.pool.book.runs:
                return False
            self.scheduler.handle(Exited(id_, outcome), self._tick(now))
            return id_ in self.scheduler.pool.waiting

    def set_quotas(self, quotas: tuple[Quota, ...], now: float) -> None:
        """Replaces the tree if it differs. Raises UsageError for a broken one."""
        with self._lock:
            if quotas != self._quotas:
                self.scheduler.handle(Quotas(quotas), self._tick(now))
                self._quotas = quotas
                self._refused.clear()

    def set_node(self, name: str, *, cordoned: bool, drain: bool, risk: float, now: float) -> None:
        """What operators and predictors say of a node; told again only when it changes. Raises NotFoundError."""
        with self._lock:
            before = self._said.get(name, (False, False, 0.0))
            if before == (cordoned, drain, risk):
                return
            now = self._tick(now)
            if before[:2] != (cordoned, drain):
                self.scheduler.handle(Cordon(name, cordoned, drain), now)
            if before[2] != risk:
                self.scheduler.handle(Risk(name, risk), now)
            self._said[name] = (cordoned, drain, risk)

    def reason(self, id_: str, now: float) -> Reason | None:
        """Why it waits, cheaply: without what-ifs. None: it does not wait."""
        with self._lock:
            if id_ in self._refused:
                return self._refused[id_][1]
            try:
                waiting = self.scheduler.why(id_, self._tick(now), what_if=False)
            except NotFoundError:
                return None
        return Reason(_code(waiting), _sentence(waiting))

    def why(self, id_: str, now: float) -> Waiting | Reason | None:
        """Why it waits, with who could make room and when it is expected to start."""
        with self._lock:
            if id_ in self._refused:
                return self._refused[id_][1]
            try:
                return self.scheduler.why(id_, self._tick(now))
            except NotFoundError:
                return None

    def queue(self, now: float) -> list[tuple[str, str]]:
        """(quota, job id) of everything that waits, each quota's in order of turn."""
        with self._lock:
            return self.scheduler.queue(self._tick(now))

    def standings(self) -> list[Standing]:
        with self._lock:
            return self.scheduler.standings()

    def how_many(self, gang: Gang, wanted: int, leaving: Collection[str] = ()) -> int:
        """How many such gangs would find room now, if the jobs `leaving` were gone. Changes nothing."""
        with self._lock:
            state, planner, runs = self.state, self.scheduler.pool.planner, self.scheduler.pool.book.runs
            mark = state.mark()
            try:
                for id_ in leaving:
                    if id_ in runs:
                        state.give_all(runs[id_].placement, runs[id_].job.gang.shape)
                for number in range(wanted):
                    placement = planner.plan(gang)
                    if placement is None:
                        return number
                    state.take_all(placement, gang.shape)
            finally:
                state.undo(mark)
            return wanted

    def possible(self, gang: Gang) -> bool:
        """Would it fit if nothing ran and nothing were cordoned? A cordoned machine comes back."""
        with self._lock, self._uncordoned():
            return self.scheduler.pool.planner.possible(gang)

    def never(self, gang: Gang) -> Funnel:
        """Why a gang is not possible; cordons are not the reason."""
        with self._lock, self._uncordoned():
            return self.scheduler.pool.planner.funnel(gang)

    def free(self) -> list[tuple[NodeInfo, list[int], int, int, bool]]:
        """(node, free milli per device, free milli-cores, free MiB, takes new work) of every node."""
        with self._lock:
            state = self.state
            return [
                (
                    node,
                    state.left[at, : node.num_devices].tolist(),
                    int(state.cpu_left[at]),
                    int(state.memory_left[at]),
                    bool(state.schedulable[at]),
                )
                for at, node in enumerate(state.nodes)
            ]

    def holders(self) -> list[tuple[str, Placement, str]]:
        """(job id, where, quota) of everything that holds devices, CPU or memory."""
        with self._lock:
            return [(id_, run.placement, run.job.quota) for id_, run in self.scheduler.pool.book.runs.items()]

    @contextmanager
    def _uncordoned(self) -> Iterator[None]:
        state = self.state
        out = [at for at in range(state.num_nodes) if not state.schedulable[at]]
        for at in out:
            state.set_schedulable(at, True)
        try:
            yield
        finally:
            for at in out:
                state.set_schedulable(at, False)

    def _tick(self, now: float) -> float:
        self._now = max(self._now, now)
        return self._now

    def _follow(self, id_: str, item: Claimed, now: float) -> None:
        pool = self.scheduler.pool
        waits = id_ in pool.waiting or id_ in pool.book.claims
        runs = id_ in pool.book.runs
        if item.placement is not None:
            self.granted.pop(id_, None)
            if not runs:
                if waits:
                    self.scheduler.handle(Withdraw(id_), now)
                self._adopt(item, now)
            return
        if runs and id_ not in self.granted:
            self._forget(id_, now)
            runs = False
        if not runs and not waits:
            self._submit(item.job, now)

    def _submit(self, job: Job, now: float) -> None:
        refused = self._refused.get(job.id)
        if refused is not None and refused[0] == job:
            return
        try:
            self.scheduler.handle(Submit(job), now)
            self._refused.pop(job.id, None)
        except RoadbedError as error:
            self._refused[job.id] = (job, Reason(TOO_LARGE, error.message))

    def _adopt(self, item: Claimed, now: float) -> None:
        assert item.placement is not None
        try:
            self.scheduler.handle(Adopt(item.job, item.placement, item.since_s), now)
        except RoadbedError as error:
            # It runs all the same; the scheduler must not be the one who is surprised.
            self._refused[item.job.id] = (item.job, Reason(NO_CAPACITY, error.message))

    def _forget(self, id_: str, now: float) -> None:
        pool = self.scheduler.pool
        self._drop(id_)
        self._refused.pop(id_, None)
        if id_ in pool.waiting or id_ in pool.book.claims:
            self.scheduler.handle(Withdraw(id_), now)
        elif id_ in pool.book.runs:
            self.scheduler.handle(Withdraw(id_), now)
            self.scheduler.handle(Exited(id_, "stopped"), now)

    def _drop(self, id_: str) -> None:
        self.granted.pop(id_, None)
        self.stops.pop(id_, None)
        self.moves.pop(id_, None)

    def _keep(self, decision: Decision) -> None:
        match decision:
            case Start():
                self.granted[decision.id] = decision.placement
            case Stop():
                self.stops[decision.id] = decision
            case Resize() | Migrate():
                self.moves[decision.id] = decision


def _code(waiting: Waiting) -> str:
    if waiting.reason == "impossible":
        # A cordoned machine comes back; one that is too small does not grow.
        return NO_CAPACITY if waiting.funnel is not None and waiting.funnel.reason == CORDONED else TOO_LARGE
    if waiting.reason.startswith("quota") or waiting.reason in _QUEUE_REASONS:
        return waiting.reason
    return NO_CAPACITY


def _sentence(waiting: Waiting) -> str:
    place = f"; position {waiting.position} of {waiting.num_waiting}" if waiting.num_waiting > 1 else ""
    return f"{waiting.text}: {waiting.funnel}{place}" if waiting.funnel else waiting.text + place
