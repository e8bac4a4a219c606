"""What happens to the scheduler (events) and what it answers (decisions), as values that can be stored and replayed.

Every event and every decision has a tag, so a journal is a list of JSON lines. An event that was refused (it raised) is
no part of a journal: it changed nothing. Reason codes are stable; docs/design/scheduler.md lists them.
"""

from typing import Literal

import msgspec

from roadbed.scheduler.base import Job, Placement, Shape
from roadbed.scheduler.quota import Quota

Outcome = Literal["finished", "failed", "stopped"]
StartReason = Literal["fits", "backfill", "freed"]
StopReason = Literal["priority", "reclaim", "loan_return", "node_down", "drain", "withdrawn"]
ResizeReason = Literal["grow", "priority", "reclaim", "loan_return"]
MigrateReason = Literal["drain", "risk", "defrag"]


class _Event(msgspec.Struct, frozen=True, tag=str.lower):
    pass


class Submit(_Event, frozen=True):
    """A job joins the end of its quota's queue."""

    job: Job


class Withdraw(_Event, frozen=True):
    """Its owner wants it no more: out of the queue, or stopped if it runs."""

    id: str


class Adopt(_Event, frozen=True):
    """A job that runs already, told to a new scheduler after a restart. started_s: when its processes started."""

    job: Job
    placement: Placement
    started_s: float


class Started(_Event, frozen=True):
    """All processes of a placement run."""

    id: str


class Moved(_Event, frozen=True):
    """A Resize or Migrate was carried out: what the job left is free."""

    id: str


class Exited(_Event, frozen=True):
    """No process of the job runs any more. A job that was told to stop and has not finished goes back to the queue.

    saved_s: seconds of its work that are kept, where the edge knows; below 0 they are estimated from `checkpoint_s`.
    """

    id: str
    outcome: Outcome = "finished"
    saved_s: float = -1.0


class NodeDown(_Event, frozen=True):
    """A node is lost: what it ran is stopped at once and queued again."""

    name: str


class NodeUp(_Event, frozen=True):
    name: str


class Cordon(_Event, frozen=True):
    """A node takes nothing new. drain: its jobs move at their next checkpoint; what is left at drain_by_s > 0 stops."""

    name: str
    on: bool = True
    drain: bool = False
    drain_by_s: float = 0.0


class Risk(_Event, frozen=True):
    """Predicted probability that a node fails soon; from `Config.risk_limit` on it is treated as being drained."""

    name: str
    score: float


class Quotas(_Event, frozen=True):
    """Replaces the quota tree."""

    quotas: tuple[Quota, ...]


class Demand(_Event, frozen=True):
    """Replicas a service needs now, each of `shape`, in quota `owner`; what it does not need of its guarantee is lent.

    samples: earlier (or planned) needs as (at_s, replicas), from which the need ahead is forecast.
    """

    owner: str
    num_needed: int
    shape: Shape
    samples: tuple[tuple[float, float], ...] = ()


Event = Submit | Withdraw | Adopt | Started | Moved | Exited | NodeDown | NodeUp | Cordon | Risk | Quotas | Demand


class Start(msgspec.Struct, frozen=True, tag="start"):
    """Start a job's processes, one per slot in rank order. return_by_s: it is on lent capacity until then; 0 = not."""

    id: str
    placement: Placement
    reason: StartReason = "fits"
    return_by_s: float = 0.0


class Stop(msgspec.Struct, frozen=True, tag="stop"):
    """Ask a job to stop now and kill it at kill_at_s. by: the job or quota it gives way to, or the node. Its devices
    are taken until `Exited`. requeue: it will wait again, with its old place in the queue."""

    id: str
    reason: StopReason
    by: str
    kill_at_s: float
    requeue: bool = True


class Resize(msgspec.Struct, frozen=True, tag="resize"):
    """Go on with these slots instead of the old ones, which are free at `Moved`."""

    id: str
    placement: Placement
    old: Placement
    reason: ResizeReason
    by: str = ""


class Migrate(msgspec.Struct, frozen=True, tag="migrate"):
    """Go on elsewhere, from the last checkpoint. cost_device_s: work done since that is done again."""

    id: str
    placement: Placement
    old: Placement
    reason: MigrateReason
    by: str = ""
    cost_device_s: float = 0.0


Decision = Start | Stop | Resize | Migrate


class Entry(msgspec.Struct, frozen=True):
    """One line of a journal: an event that was accepted, or (None) a call of `decide`."""

    now: float
    event: Event | None = None
