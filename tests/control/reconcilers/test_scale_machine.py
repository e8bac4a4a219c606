"""The loop closed: demand, the real scaler, the real service reconciler on the real scheduler, a machine that obeys.

Whatever the demand was and whenever control was restarted: enough in the end, nothing when nobody asks, awake again for
the first who does.
"""

import math

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from roadbed.control.placement import Node
from roadbed.control.scaling import Scaler, Seen, bounds_of
from roadbed.spec.service import Service
from tests.control.reconcilers.world import FakeMachine

STEP_S = 1.0
AT_ONCE = 4
"""Requests one replica runs together."""
SPEC = Service.model_validate(
    {
        "name": "chat", "model": "small", "replicas": "0..4", "resources": {"cpu": 1},
        "scaling": {"target": 2, "idle": "30s", "cold_start": "2s"},
    }
)  # fmt: skip


class Loop:
    """Time, demand and one service."""

    def __init__(self, cpu: float) -> None:
        self.machine = FakeMachine(node=Node(cpu=cpu, memory_bytes=64 * 2**30))
        self.machine.apply(SPEC)
        self.scaler = self.fresh()
        self.most = min(4, int(cpu))
        self.num_changes = 0

    def fresh(self) -> Scaler:
        return Scaler("roadbed", bounds_of(SPEC, None, []), 5.0)

    def restart_control(self) -> None:
        self.machine.restart_control()
        self.scaler = self.fresh()

    @property
    def num_ready(self) -> int:
        return sum(row.state == "ready" for row in self.machine.rows.values())

    def run(self, seconds: float, demand: int) -> None:
        """`demand` requests want to run all the time: what finds no slot waits in the gateway."""
        machine = self.machine
        for _ in range(math.ceil(seconds / STEP_S)):
            running = min(demand, self.num_ready * AT_ONCE)
            row = machine.services["chat"]
            seen = Seen(at=machine.now, num_desired=row.num_desired, amount=running, num_waiting=demand - running)
            decided = self.scaler.look(seen)
            if decided is not None and decided.num_replicas != row.num_desired:
                machine.services["chat"] = msgspec.structs.replace(row, num_desired=decided.num_replicas)
                self.num_changes += 1
            if self.moving:
                machine.step()
            machine.now += STEP_S

    @property
    def moving(self) -> bool:
        """Whether the reconciler has anything to do: a pass over a world as wished does nothing."""
        rows, wanted = self.machine.rows.values(), self.machine.services["chat"].num_desired
        return len(rows) != wanted or any(row.state != "ready" for row in rows)


demands = st.lists(st.tuples(st.sampled_from([3, 20, 90]), st.integers(0, 12), st.booleans()), max_size=5)


@given(demands, st.sampled_from([2.0, 8.0]), st.integers(1, 12))
@settings(max_examples=30, deadline=None)
def test_enough_in_the_end_nothing_when_idle_and_awake_again(
    past: list[tuple[int, int, bool]], cpu: float, demand: int
) -> None:
    loop = Loop(cpu)
    for seconds, wanted, restart in past:
        loop.run(seconds, wanted)
        if restart:
            loop.restart_control()

    loop.run(800, demand)  # the forecast remembers ten minutes
    enough = min(math.ceil(demand / 2), loop.most)
    assert enough <= loop.num_ready <= enough + 1
    before = loop.num_changes
    loop.run(60, demand)
    assert loop.num_changes == before, "a steady demand moves nothing"
    number = loop.machine.services["chat"].num_desired
    loop.restart_control()
    loop.run(12, demand)
    assert loop.machine.services["chat"].num_desired == number

    loop.run(150, 0)
    assert (loop.machine.rows, loop.machine.services["chat"].num_desired) == ({}, 0)
    loop.run(200, 0)
    assert loop.num_ready == 0, "nothing wakes it but a request"
    loop.run(10, 1)
    assert loop.num_ready >= 1


@given(st.integers(1, 12), st.integers(1, 30))
@settings(max_examples=10, deadline=None)
def test_the_number_is_not_given_up_while_somebody_asks(demand: int, silence_s: int) -> None:
    """Silences shorter than the idle time take nobody's last replica away."""
    loop = Loop(8.0)
    for _ in range(6):
        loop.run(20, demand)
        loop.run(min(silence_s, 25), 0)
        assert loop.num_ready >= 1
