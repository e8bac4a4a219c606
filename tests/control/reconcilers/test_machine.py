"""Whatever happens to the machine, in whatever order: the invariants of docs/design/control.md hold, and it heals."""

from typing import Any

import msgspec
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from roadbed.control.placement import Node
from roadbed.control.store.replica import LEAVING
from roadbed.spec.quantity import IntRange
from roadbed.spec.service import LlamaCppEngine, OpenAIEngine, Resources, Service
from tests.control.reconcilers.world import FakeMachine

ENGINES = [
    LlamaCppEngine(),
    LlamaCppEngine(parallel=2),
    OpenAIEngine(urls=[f"http://127.0.0.1:{n}" for n in range(1, 5)]),
]
specs = st.builds(
    Service,
    name=st.sampled_from(["chat", "code"]),
    model=st.sampled_from(["small", "large"]),
    engine=st.sampled_from(ENGINES),
    replicas=st.sampled_from([IntRange(min=0, max=2), IntRange(min=1, max=3), IntRange(min=2, max=4)]),
    resources=st.sampled_from([Resources(), Resources(cpu=2.0), Resources(cpu=0.5, memory=3 * 2**30)]),
    priority=st.integers(1, 9),
)


class Machine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.machine = FakeMachine()

    @initialize(cpu=st.sampled_from([1.0, 2.0, 4.0, 8.0]), spec=specs)
    def begin(self, cpu: float, spec: Service) -> None:
        self.machine.node = Node(cpu=cpu, memory_bytes=8 * 2**30)
        self.machine.apply(spec)

    @rule(spec=specs)
    def apply(self, spec: Service) -> None:
        self.machine.apply(spec)

    @rule(data=st.data())
    def scale(self, data: Any) -> None:
        service = data.draw(st.sampled_from(sorted(self.machine.services.values(), key=lambda row: row.name)))
        count = data.draw(st.integers(service.spec.replicas.min, service.spec.replicas.max))
        self.machine.services[service.name] = msgspec.structs.replace(service, num_desired=count)

    @rule(name=st.sampled_from(["chat", "code"]))
    def delete(self, name: str) -> None:
        service = self.machine.services.get(name)
        if service is not None:
            self.machine.services[name] = msgspec.structs.replace(service, deleted_at=self.machine.now)

    @rule(seconds=st.sampled_from([0.1, 0.5, 1.0, 5.0, 61.0, 400.0]))
    def wait(self, seconds: float) -> None:
        self.machine.now += seconds

    @precondition(lambda self: self.machine.processes)
    @rule(data=st.data())
    def kill_a_process(self, data: Any) -> None:
        self.machine.kill(data.draw(st.sampled_from(sorted(self.machine.processes))))

    @precondition(lambda self: self.machine.processes)
    @rule(data=st.data())
    def lose_a_process(self, data: Any) -> None:
        del self.machine.processes[data.draw(st.sampled_from(sorted(self.machine.processes)))]

    @precondition(lambda self: any(row.state == "ready" for row in self.machine.rows.values()))
    @rule(data=st.data())
    def hang(self, data: Any) -> None:
        ready = sorted(row.id for row in self.machine.rows.values() if row.state == "ready")
        self.machine.hung.add(data.draw(st.sampled_from(ready)))

    @rule(broken=st.booleans())
    def break_engines(self, broken: bool) -> None:
        self.machine.broken_engines = broken

    @rule(models=st.sets(st.sampled_from(["small", "large"])))
    def break_models(self, models: set[str]) -> None:
        self.machine.broken_models = models

    @rule()
    def restart_control(self) -> None:
        ready = {row.id: self.machine.processes.get(row.process) for row in self.machine.rows.values()}
        self.machine.restart_control()
        assert {row.id: self.machine.processes.get(row.process) for row in self.machine.rows.values()} == ready

    @rule(steps=st.integers(1, 6))
    def reconcile(self, steps: int) -> None:
        for _ in range(steps):
            self.machine.step()
            self.machine.now += 0.1
            self.check()

    @invariant()
    def check(self) -> None:
        machine = self.machine
        rows = list(machine.rows.values())
        assert len({row.slot for row in rows}) == len(rows)
        running = [process for process in machine.processes.values() if process.state == "running"]
        used_cpu = used_bytes = 0.0
        for process in running:
            row = machine.rows.get(process.labels["replica"])
            if row is not None and row.process == process.name:
                used_cpu += row.spec.resources.cpu
                used_bytes += row.spec.resources.memory
        assert used_cpu <= machine.node.cpu + 1e-6
        assert used_bytes <= machine.node.memory_bytes

    @rule()
    def bounded(self) -> None:
        """A moment with nothing happening: never more than one beyond what is wanted stays."""
        for _ in range(3):
            self.machine.step()
        for service in self.machine.services.values():
            staying = [r for r in self.machine.rows.values() if r.service == service.name and r.state not in LEAVING]
            wanted = 0 if service.deleted_at is not None else service.num_desired
            ready_old = [r for r in staying if r.state == "ready" and r.generation < service.launch_generation]
            assert len(staying) <= max(wanted + 1, len(ready_old) + wanted)

    def teardown(self) -> None:
        machine = self.machine
        machine.broken_engines, machine.broken_models = False, set()
        machine.hung.clear()
        machine.settle()
        for service in machine.services.values():
            rows = [row for row in machine.rows.values() if row.service == service.name]
            wanted = 0 if service.deleted_at is not None else service.num_desired
            # A new spec that finds no room must not take the old replicas down; they stay beside the waiting one.
            waiting = [row for row in rows if row.state == "pending" and row.reason in ("no_capacity", "too_large")]
            old = [row for row in rows if row.generation < service.launch_generation]
            assert len(rows) == wanted or (waiting and len(rows) == wanted + 1)
            assert not old or waiting
            assert all(row.state == "ready" for row in rows if row not in waiting)
        owned = {row.process for row in machine.rows.values()}
        assert all(process.name in owned for process in machine.processes.values() if process.state == "running")


TestMachine = Machine.TestCase
TestMachine.settings = settings(max_examples=60, stateful_step_count=25, deadline=None)
