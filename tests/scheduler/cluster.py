"""Small clusters, jobs and an edge that carries decisions out, for the tests of this room."""

from collections.abc import Sequence
from typing import Any

from roadbed.scheduler.base import Gang, Job, Shape, Topology
from roadbed.scheduler.core import Scheduler
from roadbed.scheduler.events import (
    Decision,
    Entry,
    Event,
    Exited,
    Migrate,
    Moved,
    Resize,
    Start,
    Started,
    Stop,
    Submit,
)
from roadbed.scheduler.planner import TreePlanner
from roadbed.scheduler.policies.bestfit import BestFit
from roadbed.scheduler.pool import Config
from roadbed.scheduler.quota import Quota
from roadbed.scheduler.state import State
from roadbed.spec.inventory import NodeInfo


def nodes(num: int = 4, devices: int = 8, chip: str = "H100", per_segment: int = 2, first: int = 0) -> list[NodeInfo]:
    """num equal nodes n000…, per_segment of them in a segment, two segments in a pod."""
    return [
        NodeInfo(
            name=f"n{at:03d}",
            cpu_milli=64_000,
            memory_mib=512_000,
            chip=chip if devices else "",
            num_devices=devices,
            device_memory_mib=80_000,
            pod=f"pod-{at // (2 * per_segment)}",
            segment=f"pod-{at // (2 * per_segment)}/seg-{at // per_segment}",
        )
        for at in range(first, first + num)
    ]


def scheduler(
    infos: Sequence[NodeInfo] | None = None, quotas: Sequence[Quota] = (), config: Config | None = None
) -> Scheduler:
    """A scheduler with the real planner on an empty cluster."""
    state = State(list(nodes()) if infos is None else infos)
    return Scheduler(state, TreePlanner(state, BestFit()), quotas, config)


def job(
    id_: str, devices: int = 1, num: int = 1, *, milli: int = 1000, chips: tuple[str, ...] = (), max_num: int = 0,
    topology: Topology | None = None, cpu: int = 1000, **more: Any,
) -> Job:  # fmt: skip
    """A gang of num processes of `devices` each."""
    shape = Shape(num_devices=devices, milli=milli, cpu_milli=cpu, memory_mib=1000, chips=chips)
    gang = Gang(shape=shape, num=num, max_num=max_num, topology=topology or Topology())
    return Job(id=id_, gang=gang, **more)


class Edge:
    """Carries decisions out at once (or, with `slow`, only when told to) and keeps the journal."""

    def __init__(self, of: Scheduler, *, slow: bool = False) -> None:
        self.scheduler = of
        self.slow = slow
        self.journal: list[Entry] = []
        self.decided: list[list[Decision]] = []
        self.running: dict[str, float] = {}
        self.stopping: dict[str, Stop] = {}
        self.moving: dict[str, None] = {}

    def tell(self, event: Event, now: float) -> None:
        self.scheduler.handle(event, now)
        self.journal.append(Entry(now, event))

    def submit(self, now: float, *jobs: Job) -> list[Decision]:
        for each in jobs:
            self.tell(Submit(each), now)
        return self.decide(now)

    def exit(self, now: float, id_: str, **more: Any) -> list[Decision]:
        self.tell(Exited(id_, **more), now)
        self._gone(id_)
        return self.decide(now)

    def moved(self, now: float, id_: str) -> None:
        self.tell(Moved(id_), now)
        self.moving.pop(id_, None)

    def decide(self, now: float) -> list[Decision]:
        """One pass; what it decided is carried out, and passes follow until nothing is decided any more."""
        found: list[Decision] = []
        for _ in range(100):
            fresh = self.scheduler.decide(now)
            self.journal.append(Entry(now))
            self.decided.append(fresh)
            found += fresh
            for decision in fresh:
                self._note(decision, now)
            if self.slow or not fresh:
                return found
            for id_ in list(self.stopping):
                self.tell(Exited(id_, "stopped"), now)
                self._gone(id_)
            for id_ in list(self.moving):
                self.moved(now, id_)
        raise AssertionError("a hundred passes at one moment, and still something to decide")

    def _note(self, decision: Decision, now: float) -> None:
        match decision:
            case Start():
                assert decision.id not in self.running
                self.running[decision.id] = now
                if not self.slow:
                    self.tell(Started(decision.id), now)
            case Stop():
                self.stopping[decision.id] = decision
            case Resize() | Migrate():
                self.moving[decision.id] = None

    def _gone(self, id_: str) -> None:
        self.running.pop(id_, None)
        self.stopping.pop(id_, None)
        self.moving.pop(id_, None)


def starts(decisions: Sequence[Decision]) -> list[str]:
    return [each.id for each in decisions if isinstance(each, Start)]


def stops(decisions: Sequence[Decision]) -> list[tuple[str, str]]:
    return [(each.id, each.reason) for each in decisions if isinstance(each, Stop)]
