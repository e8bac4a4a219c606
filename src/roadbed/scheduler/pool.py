"""What the parts of the scheduler share: the machines, who waits, what runs, what is reserved.

The parts (admission, making room) are functions of this and a time; only the Scheduler hears events.
"""

import math
from collections.abc import Sequence

import msgspec

from roadbed.errors import UsageError
from roadbed.scheduler.accounts import QuotaTree
from roadbed.scheduler.backfill import Reservation
from roadbed.scheduler.base import WHOLE, Gang, Job
from roadbed.scheduler.book import Book, Run
from roadbed.scheduler.forecast import Durations
from roadbed.scheduler.gang import Planner
from roadbed.scheduler.loans import Loans
from roadbed.scheduler.order import Kind, Queue, Waiter
from roadbed.scheduler.planner import units
from roadbed.scheduler.quota import Quota, Vector
from roadbed.scheduler.state import State

DEFAULT_QUOTA = Quota(name="default")
IMPOSSIBLE = "impossible"
_MAX_KINDS = 2048
QUOTA_NEVER = "quota_max_too_small"
HINT = "roadbed schema task"


class Config(msgspec.Struct, frozen=True, kw_only=True):
    """Switches of the whole scheduler.

    preempt: may anybody be stopped for somebody else. fair_preemption: to even out fair shares above guarantees too.
    retry_s: pause before a blocked job looks for victims again, doubled up to 20-fold while there are none.
    refresh_s: age at which a reservation is made anew.
    conservative_jobs: reservations of one quota under conservative backfill. gap_depth: jobs of one kind looked at for
    one that is short enough for a gap. lead_s: how long before it is needed lent capacity is asked back. defrag_*: see
    defrag.py, 0 moves = off. grow_s: least time between two growths of an elastic job, 0 = never grow.
    """

    risk_limit: float = 0.5
    preempt: bool = True
    fair_preemption: bool = False
    retry_s: float = 30.0
    refresh_s: float = 600.0
    conservative_jobs: int = 8
    gap_depth: int = 64
    lead_s: float = 120.0
    defrag_moves: int = 0
    defrag_cost_device_s: float = 3600.0
    grow_s: float = 300.0


class Pool:
    """The shared state. loosened: how often a reservation was dropped, which is worth another try for the bound."""

    def __init__(self, state: State, planner: Planner, quotas: Sequence[Quota], config: Config) -> None:
        self.state = state
        self.planner = planner
        self.config = config
        self.down: set[int] = set()
        self.tree = QuotaTree(quotas or (DEFAULT_QUOTA,), self.capacity())
        self.durations = Durations()
        self.book = Book(state, self.tree, self.durations)
        self.queues: dict[str, Queue] = {}
        self.orphans: dict[str, Waiter] = {}  # waiting in a quota that is not there (any more)
        self.waiting: dict[str, Waiter] = {}
        self.kinds: dict[Gang, Kind] = {}
        self.reservations: dict[str, Reservation] = {}
        self.reserved: dict[str, set[str]] = {}  # their ids by quota
        self.loans = Loans(config.lead_s)
        self.loosened = 0
        self.eta_error = 0.5  # running mean of |actual − expected| ÷ expected wait
        self.make_queues()

    @property
    def loose(self) -> int:
        """Version of free capacity and reservations together; both only grow."""
        return self.book.version + self.loosened

    def capacity(self) -> dict[str, int]:
        """Thousandths by resource of the nodes that are not down."""
        found = {"gpu": 0, "cpu": 0}
        for at, node in enumerate(self.state.nodes):
            if at not in self.down:
                found["gpu"] += node.num_devices * WHOLE
                found["cpu"] += node.cpu_milli
                if node.num_devices:
                    found[node.chip] = found.get(node.chip, 0) + node.num_devices * WHOLE
        return found

    def request(self, job: Job) -> Vector:
        """What a job asks of the quotas before it is known where it goes."""
        shape, num = job.gang.shape, job.gang.num
        by_chip = {shape.chips[0]: job.gang.total_milli} if len(shape.chips) == 1 else {}
        return self.tree.vector(job.gang.total_milli, num * shape.cpu_milli, by_chip)

    def enqueue(self, waiter: Waiter) -> None:
        """A job joins its quota's queue, at the place its arrival gives it."""
        job = waiter.job
        waiter.kind = self.kind_of(job.gang)
        waiter.kind.num_waiting += 1
        self.waiting[job.id] = waiter
        queue = self.queues.get(job.quota)
        if queue is None:
            self.orphans[job.id] = waiter
            return
        bucket = queue.add(waiter)
        if not bucket.amount:
            bucket.amount = self.request(job)
            bucket.idle = self.hindrance(job, waiter.kind, bucket.amount)
            queue.reorder()
        self.tree.want(job.quota, bucket.amount, 1)

    def dequeue(self, waiter: Waiter) -> None:
        """A job leaves its queue, and its reservation with it."""
        job, kind = waiter.job, waiter.kind
        del self.waiting[job.id]
        kind.num_waiting -= 1
        if self.orphans.pop(job.id, None) is None:
            bucket = self.queues[job.quota].remove(waiter)
            self.tree.want(job.quota, bucket.amount, -1)
        self.drop_reservation(job.id, job.quota)

    def add_reservation(self, made: Reservation, quota: str) -> None:
        self.reservations[made.id] = made
        self.reserved.setdefault(quota, set()).add(made.id)

    def drop_reservation(self, id_: str, quota: str) -> None:
        """Of a job of that quota, if it has one."""
        if self.reservations.pop(id_, None) is not None:
            self.reserved[quota].discard(id_)
            self.loosened += 1

    def kind_of(self, gang: Gang) -> Kind:
        """The one record all jobs with this gang share."""
        kind = self.kinds.get(gang)
        if kind is None:
            if len(self.kinds) >= _MAX_KINDS:  # a stream of ever new gangs must not grow memory
                self.kinds = {each.gang: each for each in self.kinds.values() if each.num_waiting}
            kind = self.kinds[gang] = Kind(gang)
            kind.possible = self.planner.possible(gang)
        return kind

    def waiter_of(self, run: Run, saved_s: float) -> Waiter:
        """A run as it waits again: with its old arrival, so it has its old place."""
        return Waiter(run.job, self.kind_of(run.job.gang), run.seq, run.waited_since_s, saved_s)

    def hindrance(self, job: Job, kind: Kind, amount: Vector) -> str:
        """Why a job can't run at all in this cluster and quota as they are, "" if it can."""
        if not kind.possible:
            return IMPOSSIBLE
        return QUOTA_NEVER if self.tree.never(job.quota, amount) else ""

    def make_queues(self) -> None:
        """Queues for the tree's leaves; who waits is sorted into them anew."""
        waiters = sorted(self.waiting.values(), key=_seq)
        self.queues = {name: Queue(node.quota) for name, node in self.tree.nodes.items() if not node.children}
        self.orphans = {}
        self.waiting = {}
        for waiter in waiters:
            waiter.kind.num_waiting -= 1
            self.enqueue(waiter)

    def nodes_changed(self) -> None:
        """Nodes came or went: what is possible at all is asked anew."""
        self.tree.resize(self.capacity())
        for kind in self.kinds.values():
            kind.possible = self.planner.possible(kind.gang)
        for queue in self.queues.values():
            queue.fresh = True
            for bucket in queue.buckets.values():
                bucket.idle = self.hindrance(bucket.waiters[0].job, bucket.kind, bucket.amount)
            queue.reorder()
        self.book.version += 1

    def replace_quotas(self, quotas: Sequence[Quota], now: float) -> None:
        """Another tree; every account is made up anew from what runs. UsageError if it is broken: nothing changes."""
        before = self.tree
        tree = QuotaTree(quotas or (DEFAULT_QUOTA,), self.capacity())
        tree.inherit(before, now)
        self.tree = self.book.tree = tree
        for run in self.book.runs.values():
            run.amount = self.book.amount(run.job, run.placement.slots)
            if run.charged:
                tree.charge(run.job.quota, run.amount, run.job.preemptible, 1, now)
        for claim in self.book.claims.values():
            job = claim.waiter.job
            tree.charge(job.quota, self.book.amount(job, claim.placement.slots), job.preemptible, 1, now)
        self.reservations.clear()
        self.reserved.clear()
        self.make_queues()
        self.loans.keep(tree, now)
        self.book.version += 1


def check_job(job: Job, state: State, tree: QuotaTree) -> None:
    """UsageError naming the field that no cluster of these machines could ever serve, or that makes no sense."""
    if not job.id:
        raise UsageError("a job needs an id", hint=HINT, field="id")
    gang, shape = job.gang, job.gang.shape
    for field, value in (
        ("num_devices", shape.num_devices), ("cpu_milli", shape.cpu_milli), ("memory_mib", shape.memory_mib),
        ("min_device_mib", shape.min_device_mib), ("max_device_mib", shape.max_device_mib),
        ("max_num", gang.max_num),
    ):  # fmt: skip
        _check_amount(job, field, value)
    if gang.num < 1:
        raise UsageError(f"job {job.id!r}: {gang.num} processes", hint=HINT, field="num")
    if not 1 <= shape.milli <= WHOLE:
        raise UsageError(f"job {job.id!r}: milli {shape.milli} is not 1..{WHOLE}", hint=HINT, field="milli")
    _check_slices(job)
    known = set(state.chips)
    if shape.num_devices and shape.chips and not known & set(shape.chips):
        there = ", ".join(chip for chip in state.chips if chip) or "none"
        words = f"job {job.id!r}: no node has {' or '.join(shape.chips)}; there is {there}"
        raise UsageError(words, hint="roadbed nodes", field="chips")
    if gang.total_milli > state.total_milli:
        words = f"job {job.id!r}: {gang.total_milli / WHOLE:g} devices of {state.total_milli / WHOLE:g} there are"
        raise UsageError(words, hint="roadbed nodes", field="num")
    check_wishes(job, tree)


def check_wishes(job: Job, tree: QuotaTree) -> None:
    """As check_job, of all but the gang: what is left to check of a job whose like there was."""
    if not job.id:
        raise UsageError("a job needs an id", hint=HINT, field="id")
    _check_amount(job, "duration_s", job.duration_s)
    _check_amount(job, "checkpoint_s", job.checkpoint_s)
    _check_amount(job, "grace_s", job.grace_s)
    _check_amount(job, "min_run_s", job.min_run_s)
    if not 1 <= job.priority <= 9:
        raise UsageError(f"job {job.id!r}: priority {job.priority} is not 1..9", hint=HINT, field="priority")
    if job.quota not in tree.nodes:
        words = f"job {job.id!r}: there is no quota {job.quota!r}; there is {', '.join(sorted(tree.nodes))}"
        raise UsageError(words, hint="roadbed quota", field="quota")
    if not tree.is_leaf(job.quota):
        below = ", ".join(child.quota.name for child in tree.nodes[job.quota].children)
        words = f"job {job.id!r}: quota {job.quota!r} is divided; use one of {below}"
        raise UsageError(words, hint="roadbed quota", field="quota")


def _check_amount(job: Job, field: str, value: float) -> None:
    if not 0 <= value < math.inf:
        raise UsageError(f"job {job.id!r}: {field} is {value}", hint=HINT, field=field)


def _check_slices(job: Job) -> None:
    gang = job.gang
    try:
        unit = units(gang)
    except ValueError as error:
        raise UsageError(f"job {job.id!r}: {error}", hint=HINT, field="slices") from error
    for size in unit.values():
        if gang.num % size:
            words = f"job {job.id!r}: {gang.num} processes are not whole slices of {size}"
            raise UsageError(words, hint=HINT, field="slices")


def _seq(waiter: Waiter) -> int:
    return waiter.seq
