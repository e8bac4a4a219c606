"""Nouns of the scheduler: what is asked for (shape, gang, job), where it may go (placement), what is decided.

All are immutable values: a job can be kept, compared, written to a store and replayed. Sizes are integers — thousandths
of a device and of a core, MiB — so that sums are exact and a replay ends in the same state to the last unit.
"""

from typing import Literal

import msgspec

Level = Literal["island", "server", "segment", "pod"]
LEVELS: tuple[Level, ...] = ("server", "island", "segment", "pod")  # from the narrowest; "island" may span servers
Mode = Literal["pack", "spread"]

WHOLE = 1000  # milli-accelerators of one device


class Shape(msgspec.Struct, frozen=True, kw_only=True):
    """What one process asks of one node. Hashable: score caches and the target workload are keyed by it.

    milli: of each of num_devices devices, 1..1000; fractions never add up across devices.
    chips: allow-list, sorted; () = any. min/max_device_mib: bounds on a device's memory, 0 = none.
    labels: (key, value) pairs a node must carry, sorted.
    """

    num_devices: int = 0
    milli: int = WHOLE
    cpu_milli: int = 0
    memory_mib: int = 0
    chips: tuple[str, ...] = ()
    min_device_mib: int = 0
    max_device_mib: int = 0
    labels: tuple[tuple[str, str], ...] = ()

    @property
    def total_milli(self) -> int:
        return self.num_devices * self.milli


class Topology(msgspec.Struct, frozen=True, kw_only=True):
    """How close a gang must be. required: all processes in one domain of that level, or it waits. preferred: tried
    first, then wider. slices: (devices in each, level), from the narrowest: each so many consecutive devices of the
    rank order lie in one domain of the level."""

    required: Level | None = None
    preferred: Level | None = None
    slices: tuple[tuple[int, Level], ...] = ()


class Gang(msgspec.Struct, frozen=True, kw_only=True):
    """num equal processes, placed together or not at all. max_num > num: elastic, may grow to it and shrink to num."""

    shape: Shape
    num: int = 1
    max_num: int = 0
    topology: Topology = Topology()
    mode: Mode = "pack"

    @property
    def most(self) -> int:
        return max(self.num, self.max_num)

    @property
    def total_milli(self) -> int:
        """Milli-accelerators of the smallest size."""
        return self.num * self.shape.total_milli


class Job(msgspec.Struct, frozen=True, kw_only=True):
    """One workload in the queue: a training job, a task, one replica of a service.

    priority: 1..9, 9 first. duration_s: declared limit or learned expectation, 0 = unknown. checkpoint_s: how often it
    saves its work (0 = never: all of it is lost when preempted). grace_s: between being asked to stop and being killed.
    min_run_s: protected from preemption for so long after it starts.
    """

    id: str
    gang: Gang
    quota: str = "default"
    priority: int = 5
    submit_s: float = 0.0
    preemptible: bool = True
    duration_s: float = 0.0
    checkpoint_s: float = 0.0
    grace_s: float = 30.0
    min_run_s: float = 0.0


class Slot(msgspec.Struct, frozen=True):
    """Where one process runs: a node's index and its device indices there."""

    node: int
    devices: tuple[int, ...] = ()


class Placement(msgspec.Struct, frozen=True):
    """Slots in rank order: ranks of one communication group are contiguous within island, then server, segment, pod."""

    slots: tuple[Slot, ...]


class Step(msgspec.Struct, frozen=True):
    """One line of the funnel: how many nodes were still candidates after a constraint."""

    reason: str  # stable code, see docs/design/scheduler.md
    left: int
    text: str  # "with chip H100"


class Funnel(msgspec.Struct, frozen=True):
    """Why a gang has no place now: the constraints in order, with what each left over. The last step left nothing."""

    steps: tuple[Step, ...]

    @property
    def reason(self) -> str:
        return self.steps[-1].reason if self.steps else "fits"

    def __str__(self) -> str:
        return " → ".join(f"{step.left:,} {step.text}" for step in self.steps)
