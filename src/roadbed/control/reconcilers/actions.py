"""The vocabulary of the service reconciler: the world as it is read, and the actions that may follow from it."""

from typing import Literal

import msgspec

from roadbed.control.placement import Node
from roadbed.control.store.replica import ReplicaRow
from roadbed.control.store.service import ServiceRow
from roadbed.engine.base import Capacity
from roadbed.runtime.base import ProcessStatus
from roadbed.scheduler.base import Placement

FailReason = Literal["exited", "lost", "stuck", "hung", "refused", "unreachable", "model", "start"]


class ModelFact(msgspec.Struct, frozen=True, kw_only=True):
    """What the model store has of one model."""

    state: Literal["absent", "pulling", "present", "failed"] = "absent"
    path: str = ""
    message: str = ""


class World(msgspec.Struct, frozen=True, kw_only=True):
    """Everything `decide` may know. Sets and maps are keyed by replica id unless said otherwise."""

    node: Node
    services: tuple[ServiceRow, ...] = ()
    """Deleted ones included while they have replicas."""
    replicas: tuple[ReplicaRow, ...] = ()
    processes: dict[str, ProcessStatus] = {}
    """Processes labelled as replicas, by process name."""
    models: dict[str, ModelFact] = {}
    """By the model text of the spec."""
    answers: dict[str, Capacity] = {}
    """Starting replicas whose engine answered."""
    refusals: dict[str, str] = {}
    """Starting replicas whose engine said it never will."""
    idle: frozenset[str] = frozenset()
    """Draining replicas with nothing running."""
    hung: frozenset[str] = frozenset()
    """Ready replicas that failed too many health checks in a row."""
    known: frozenset[str] = frozenset()
    """Ready replicas this control process has seen ready or adopted."""
    in_flight: dict[str, int] = {}
    """Requests at each replica now."""
    granted: dict[str, Placement] = {}
    """Pending replicas the scheduler has found a place for."""
    waits: dict[str, tuple[str, str]] = {}
    """Why pending replicas have no place: code and sentence."""
    evicted: frozenset[str] = frozenset()
    """Replicas the scheduler wants off their node."""
    relieves: frozenset[tuple[str, str]] = frozenset()
    """(pending replica, ready replica): the first would find a place if the second left."""


class CreateReplica(msgspec.Struct, frozen=True, tag=True):
    service: str
    replica: str
    idx: int


class Wait(msgspec.Struct, frozen=True, tag=True):
    """Stays pending, for a reason that is new."""

    replica: str
    reason: str
    message: str


class Pull(msgspec.Struct, frozen=True, tag=True):
    replica: str
    model: str
    placement: Placement | None = None


class Start(msgspec.Struct, frozen=True, tag=True):
    replica: str
    threads: int
    placement: Placement | None = None


class Ready(msgspec.Struct, frozen=True, tag=True):
    replica: str
    capacity: Capacity


class Adopt(msgspec.Struct, frozen=True, tag=True):
    """Was ready before this control process began, and still is."""

    replica: str


class Fail(msgspec.Struct, frozen=True, tag=True):
    """`stop`: its process is still there and must go."""

    replica: str
    reason: FailReason
    message: str
    restarts: int
    retry_at: float
    stop: bool = False


class Retry(msgspec.Struct, frozen=True, tag=True):
    replica: str


class Drain(msgspec.Struct, frozen=True, tag=True):
    replica: str
    reason: str


class Stop(msgspec.Struct, frozen=True, tag=True):
    replica: str
    reason: str


class Forget(msgspec.Struct, frozen=True, tag=True):
    replica: str


class StopUnknown(msgspec.Struct, frozen=True, tag=True):
    """A process labelled as a replica that no row owns."""

    process: str


Action = CreateReplica | Wait | Pull | Start | Ready | Adopt | Fail | Retry | Drain | Stop | Forget | StopUnknown
"""What `decide` may ask for."""

RowAction = Wait | Pull | Start | Ready | Adopt | Fail | Retry | Drain | Stop
"""Those that move the row of one replica."""
