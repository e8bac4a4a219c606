"""A small deterministic machine for the reconciler to look after: processes, engines, models, and a clock.

It keeps the rules real ones keep: a name runs once, a process takes its time to become ready, a stop ends it, and
nothing of it depends on the code under test except the rows that `transition` writes.
"""

from dataclasses import dataclass, field

import msgspec

from roadbed.control.placement import Node, node_info
from roadbed.control.pool import LivePool
from roadbed.control.reconcilers.actions import (
    Action,
    Adopt,
    CreateReplica,
    Fail,
    Forget,
    ModelFact,
    Pull,
    Ready,
    Start,
    Stop,
    StopUnknown,
    World,
)
from roadbed.control.reconcilers.ask import ask
from roadbed.control.reconcilers.decide import decide
from roadbed.control.reconcilers.transition import create_row, move, tell
from roadbed.control.store.replica import ReplicaRow
from roadbed.control.store.service import ServiceRow
from roadbed.engine.base import Capacity
from roadbed.hardware.machine import Machine
from roadbed.runtime.base import ProcessStatus
from roadbed.spec.service import Service

CAPACITY = Capacity(max_concurrency=4, kv_tokens=16384, context_tokens=4096, capabilities=("chat",))
LOAD_S = 2.0
PULL_S = 3.0


def service_row(spec: Service, *, num_desired: int | None = None, now: float = 0.0) -> ServiceRow:
    return ServiceRow(
        name=spec.name, spec=spec, generation=1, launch_generation=1,
        num_desired=spec.replicas.min if num_desired is None else num_desired, created_at=now, updated_at=now,
    )  # fmt: skip


@dataclass
class FakeMachine:
    """`step()` is one pass of the reconciler: read the world, decide, carry out."""

    node: Node = field(default_factory=lambda: Node(cpu=4.0, memory_bytes=8 * 2**30))
    now: float = 1000.0
    services: dict[str, ServiceRow] = field(default_factory=dict)
    rows: dict[str, ReplicaRow] = field(default_factory=dict)
    processes: dict[str, ProcessStatus] = field(default_factory=dict)
    pulls: dict[str, float] = field(default_factory=dict)
    """model → when its pull ends."""
    broken_models: set[str] = field(default_factory=set)
    broken_engines: bool = False
    """Engines die while loading."""
    hung: set[str] = field(default_factory=set)
    busy: set[str] = field(default_factory=set)
    known: set[str] = field(default_factory=set)
    in_flight: dict[str, int] = field(default_factory=dict)
    codes: list[str] = field(default_factory=list)
    num_ports: int = 20_000
    _pool: tuple[Node, LivePool] | None = None

    def scheduler(self) -> LivePool:
        """The real one, made anew when the machine is another."""
        if self._pool is None or self._pool[0] != self.node:
            machine = Machine(num_cpus=4, memory_mib=8192)
            self._pool = (self.node, LivePool([node_info(self.node, machine, "local")]))
        return self._pool[1]

    def world(self) -> World:
        rows = list(self.rows.values())
        asked = ask(self.scheduler(), rows, self.processes, self.now)
        return World(
            node=self.node,
            granted=asked.granted,
            waits=asked.waits,
            evicted=asked.evicted,
            relieves=asked.relieves,
            services=tuple(self.services.values()),
            replicas=tuple(rows),
            processes=dict(self.processes),
            models={row.spec.model: self.model(row.spec.model) for row in rows},
            answers={row.id: CAPACITY for row in rows if row.state == "starting" and self.answers(row)},
            idle=frozenset(row.id for row in rows if row.state == "draining" and row.id not in self.busy),
            hung=frozenset(self.hung),
            known=frozenset(self.known),
            in_flight=dict(self.in_flight),
        )

    def model(self, name: str) -> ModelFact:
        if name not in self.pulls:
            return ModelFact()
        if self.now < self.pulls[name]:
            return ModelFact(state="pulling")
        if name in self.broken_models:
            return ModelFact(state="failed", message="sha256 does not match")
        return ModelFact(state="present", path=f"/models/{name}")

    def answers(self, row: ReplicaRow) -> bool:
        if row.is_external:
            return not self.broken_engines
        process = self.processes.get(row.process)
        return process is not None and process.state == "running" and self.now - process.started_at >= LOAD_S

    def step(self) -> list[Action]:
        if self.broken_engines:
            for process in list(self.processes.values()):
                if self.now - process.started_at >= LOAD_S / 2:
                    self.kill(process.name)
        actions = decide(self.world(), self.now)
        for action in actions:
            self.carry_out(action)
        return actions

    def carry_out(self, action: Action) -> None:
        match action:
            case CreateReplica():
                assert action.replica not in self.rows
                slot = next(slot for slot in range(1000) if slot not in {row.slot for row in self.rows.values()})
                self.rows[action.replica] = create_row(action, self.services[action.service], slot, self.now)
            case Forget():
                del self.rows[action.replica]
                self.known.discard(action.replica)
            case StopUnknown():
                self.kill(action.process)
            case _:
                self._move(action)

    def _move(self, action: Action) -> None:
        assert not isinstance(action, CreateReplica | Forget | StopUnknown)
        before = self.rows[action.replica]
        self.codes.append(tell(before, action, self.now).code)
        self.num_ports += 1
        row = self.rows[before.id] = move(before, action, self.now, port=self.num_ports)
        if isinstance(action, Pull):
            self.pulls.setdefault(action.model, self.now + PULL_S)
            if self.model(action.model).state == "failed":
                self.pulls[action.model] = self.now + PULL_S
        elif isinstance(action, Start) and not row.is_external:
            self.start(row)
        elif isinstance(action, Stop) or (isinstance(action, Fail) and action.stop):
            self.kill(before.process)
        elif isinstance(action, Ready | Adopt):
            self.known.add(row.id)
        if isinstance(action, Fail):
            self.known.discard(row.id)
            self.hung.discard(row.id)

    def start(self, row: ReplicaRow) -> None:
        running = self.processes.get(row.process)
        assert running is None or running.state == "exited", f"{row.process} runs already"
        labels = {"noun": "replica", "service": row.service, "replica": row.id}
        labels |= {"generation": str(row.generation), "port": str(row.port)}
        self.processes[row.process] = ProcessStatus(
            name=row.process, pid=1, state="running", started_at=self.now, labels=labels
        )

    def kill(self, name: str) -> None:
        if name in self.processes and self.processes[name].state == "running":
            self.processes[name] = msgspec.structs.replace(
                self.processes[name], state="exited", exited_at=self.now, signal=9
            )

    def restart_control(self) -> None:
        """All that lives in memory is gone; rows, processes and the model store stay."""
        self.known.clear()
        self.pulls = {name: until for name, until in self.pulls.items() if until <= self.now}

    def settle(self, *, limit_s: float = 900.0, dt_s: float = 0.25) -> None:
        """Steps until nothing is left to do and nothing is on its way."""
        until = self.now + limit_s
        while self.now < until:
            if not self.step() and all(row.state in ("ready", "pending") for row in self.rows.values()):
                return
            self.now += dt_s
        raise AssertionError(f"did not settle: {[(row.id, row.state, row.reason) for row in self.rows.values()]}")

    def states(self, service: str) -> list[str]:
        return sorted(row.state for row in self.rows.values() if row.service == service)

    def apply(self, spec: Service) -> None:
        """As `services/service.py` does: a new generation, a new launch generation if engines depend on the change."""
        before = self.services.get(spec.name)
        if before is None or before.deleted_at is not None:
            fresh = service_row(spec, now=self.now)
            generation = 1 if before is None else before.generation + 1
            self.services[spec.name] = msgspec.structs.replace(
                fresh, generation=generation, launch_generation=generation
            )
            return
        relaunch = (before.spec.model, before.spec.engine, before.spec.resources) != (
            spec.model, spec.engine, spec.resources,
        )  # fmt: skip
        generation = before.generation + 1
        self.services[spec.name] = msgspec.structs.replace(
            before,
            spec=spec,
            generation=generation,
            launch_generation=generation if relaunch else before.launch_generation,
            num_desired=min(max(before.num_desired, spec.replicas.min), spec.replicas.max),
        )
