"""The reconciler's rules one by one, by driving a small machine through the situations they are for."""

import msgspec
import pytest

from roadbed.control.placement import Node
from roadbed.control.reconcilers.actions import Drain, Fail, Start, Stop, Wait
from roadbed.control.reconcilers.decide import BACKOFF_MAX_S, START_LIMIT_S, backoff_s
from roadbed.spec.quantity import IntRange
from roadbed.spec.service import OpenAIEngine, Resources, Routing, Service, VllmEngine
from tests.control.reconcilers.world import LOAD_S, PULL_S, FakeMachine

CHAT = Service(name="chat", model="small", replicas=IntRange(min=2, max=4))


def with_changes(spec: Service, **changes: object) -> Service:
    return Service.model_validate(spec.model_dump() | changes)


@pytest.fixture
def machine() -> FakeMachine:
    machine = FakeMachine()
    machine.apply(CHAT)
    return machine


def test_from_nothing_to_ready_in_order(machine: FakeMachine) -> None:
    machine.settle()
    assert machine.states("chat") == ["ready", "ready"]
    assert sorted(machine.rows) == ["chat-0", "chat-1"]
    assert machine.codes[::2] == ["replica.pulling", "replica.starting", "replica.ready"]
    assert machine.now - 1000.0 < PULL_S + LOAD_S + 1.5
    assert machine.step() == []


def test_threads_are_shared_out_and_never_oversubscribed(machine: FakeMachine) -> None:
    machine.pulls["small"] = 0.0
    machine.step()
    assert [action.threads for action in machine.step() if isinstance(action, Start)] == [1, 1]
    machine.node = Node(cpu=9.0, memory_bytes=8 * 2**30)
    machine.rows.clear()
    machine.processes.clear()
    machine.step()
    assert [action.threads for action in machine.step() if isinstance(action, Start)] == [4, 4]


def test_a_killed_replica_comes_back_alone(machine: FakeMachine) -> None:
    machine.settle()
    other = machine.processes["service-chat-1"]
    machine.kill("service-chat-0")
    (failed,) = machine.step()
    assert isinstance(failed, Fail)
    assert (failed.reason, failed.restarts, failed.retry_at) == ("exited", 1, machine.now + 0.5)
    assert failed.message == "its process ended with signal 9"
    machine.settle()
    assert machine.states("chat") == ["ready", "ready"]
    assert machine.processes["service-chat-1"] == other


def test_back_off_doubles_and_is_forgiven_after_a_stable_minute(machine: FakeMachine) -> None:
    assert [backoff_s(n) for n in (1, 2, 3, 4)] == [0.5, 1.0, 2.0, 4.0]
    assert backoff_s(10_000) == BACKOFF_MAX_S
    machine.settle()
    for restarts in (1, 2, 3):
        machine.kill("service-chat-0")
        machine.step()
        assert machine.rows["chat-0"].restarts == restarts
        machine.settle()
    machine.now += 61.0
    machine.kill("service-chat-0")
    machine.step()
    assert machine.rows["chat-0"].restarts == 1


def test_control_that_restarts_adopts_and_restarts_nothing(machine: FakeMachine) -> None:
    machine.settle()
    before = dict(machine.processes)
    machine.codes.clear()
    machine.restart_control()
    machine.settle()
    assert machine.processes == before
    assert machine.codes == ["replica.adopted", "replica.adopted"]


def test_control_that_was_away_while_a_replica_died(machine: FakeMachine) -> None:
    machine.settle()
    machine.restart_control()
    del machine.processes["service-chat-1"]
    machine.step()
    assert machine.rows["chat-1"].reason == "lost"
    machine.settle()
    assert machine.states("chat") == ["ready", "ready"]
    assert machine.rows["chat-1"].restarts == 0  # down and up is no failure


def test_a_replica_that_vanished_under_our_eyes_is_a_failure(machine: FakeMachine) -> None:
    machine.settle()
    del machine.processes["service-chat-1"]
    machine.step()
    assert (machine.rows["chat-1"].reason, machine.rows["chat-1"].restarts) == ("lost", 1)


def test_control_that_died_in_the_middle_of_a_pull_pulls_again(machine: FakeMachine) -> None:
    machine.step()
    machine.step()
    assert machine.states("chat") == ["pulling", "pulling"]
    machine.restart_control()
    machine.settle()
    assert machine.states("chat") == ["ready", "ready"]


def test_processes_nobody_owns_are_stopped(machine: FakeMachine) -> None:
    machine.settle()
    stray = msgspec.structs.replace(machine.processes["service-chat-0"], name="service-old-7")
    machine.processes["service-old-7"] = stray
    namesake = machine.processes["service-chat-1"]
    machine.processes["service-chat-1"] = msgspec.structs.replace(namesake, labels=namesake.labels | {"port": "1"})
    machine.step()
    assert machine.processes["service-old-7"].state == "exited"
    assert machine.processes["service-chat-1"].state == "exited"
    assert machine.rows["chat-1"].reason == "lost"


def test_stuck_and_hung_replicas_are_stopped_and_tried_again(machine: FakeMachine) -> None:
    machine.settle()
    machine.hung.add("chat-0")
    machine.step()
    assert machine.rows["chat-0"].reason == "hung"
    assert machine.processes["service-chat-0"].state == "exited"
    machine.settle()
    machine.kill("service-chat-0")
    machine.step()
    machine.now += 1.0
    machine.step()
    machine.step()
    assert machine.rows["chat-0"].state == "starting"
    late = msgspec.structs.replace(machine.processes["service-chat-0"], started_at=machine.now + START_LIMIT_S)
    machine.processes["service-chat-0"] = late
    machine.now += START_LIMIT_S + 1.0
    machine.step()
    assert machine.rows["chat-0"].reason == "stuck"
    assert machine.rows["chat-0"].message == f"not ready within {START_LIMIT_S:g} s"


def test_a_model_that_cannot_be_fetched_is_said_and_tried_again(machine: FakeMachine) -> None:
    machine.broken_models.add("small")
    for _ in range(40):
        machine.step()
        machine.now += 0.25
    row = machine.rows["chat-0"]
    assert row.restarts > 1
    assert "replica.failed" in machine.codes
    machine.broken_models.clear()
    machine.settle()
    assert machine.states("chat") == ["ready", "ready"]


def test_scaling_down_drains_before_it_stops(machine: FakeMachine) -> None:
    machine.settle()
    machine.services["chat"] = msgspec.structs.replace(machine.services["chat"], num_desired=1)
    machine.busy.add("chat-1")
    machine.step()
    assert machine.rows["chat-1"].state == "draining"
    machine.now += 1.0
    machine.step()
    assert machine.rows["chat-1"].state == "draining"
    machine.now += CHAT.drain_timeout
    machine.step()
    assert machine.rows["chat-1"].state == "stopping"
    machine.settle()
    assert sorted(machine.rows) == ["chat-0"]


def test_an_idle_replica_is_not_stopped_before_gateways_have_looked(machine: FakeMachine) -> None:
    machine.settle()
    machine.services["chat"] = msgspec.structs.replace(machine.services["chat"], num_desired=1)
    machine.step()
    machine.now += 0.4
    assert machine.step() == []
    machine.now += 0.1
    machine.step()
    assert machine.rows["chat-1"].state == "stopping"


def test_deleting_ends_everything(machine: FakeMachine) -> None:
    machine.settle()
    machine.services["chat"] = msgspec.structs.replace(machine.services["chat"], deleted_at=machine.now)
    machine.settle()
    assert machine.rows == {}
    assert all(process.state == "exited" for process in machine.processes.values())


def test_rolling_with_room_keeps_all_wanted_ready(machine: FakeMachine) -> None:
    machine.settle()
    machine.apply(with_changes(CHAT, engine={"kind": "llamacpp", "parallel": 2}))
    for _ in range(200):
        machine.step()
        ready = [row for row in machine.rows.values() if row.state == "ready"]
        assert len(ready) >= 2
        assert len([row for row in machine.rows.values() if row.state not in ("draining", "stopping")]) <= 3
        machine.now += 0.1
    assert {row.generation for row in machine.rows.values()} == {2}
    assert machine.step() == []


def test_rolling_without_room_goes_one_at_a_time(machine: FakeMachine) -> None:
    machine.node = Node(cpu=2.0, memory_bytes=8 * 2**30)
    machine.settle()
    machine.apply(with_changes(CHAT, engine={"kind": "llamacpp", "parallel": 2}))
    least = 2
    for _ in range(200):
        machine.step()
        least = min(least, len([row for row in machine.rows.values() if row.state == "ready"]))
        machine.now += 0.1
    assert least == 1
    assert {row.generation for row in machine.rows.values()} == {2}
    assert machine.states("chat") == ["ready", "ready"]


def test_a_spec_that_can_never_fit_does_not_take_the_old_one_down(machine: FakeMachine) -> None:
    machine.settle()
    machine.apply(with_changes(CHAT, resources=Resources(cpu=64.0).model_dump()))
    for _ in range(100):
        machine.step()
        machine.now += 0.5
    ready = [row for row in machine.rows.values() if row.state == "ready"]
    assert [row.generation for row in ready] == [1, 1]
    assert {row.reason for row in machine.rows.values() if row.state == "pending"} == {"too_large"}


def test_routing_and_slo_restart_nothing(machine: FakeMachine) -> None:
    machine.settle()
    before = dict(machine.processes)
    machine.apply(with_changes(CHAT, routing=Routing(policy="round_robin").model_dump(), priority=1))
    machine.settle()
    assert machine.processes == before


def test_no_capacity_is_said_once_with_numbers_and_heals_when_there_is(machine: FakeMachine) -> None:
    machine.node = Node(cpu=1.0, memory_bytes=8 * 2**30)
    machine.step()
    waits = [action for action in machine.step() if isinstance(action, Wait)]
    assert [(wait.reason, wait.message) for wait in waits] == [
        (
            "no_capacity",
            "it has no place now: 1 node → 0 with 1 core and 1.0 GiB free (of one, at most 0 cores and 7.0 GiB are)",
        )
    ]
    assert not any(isinstance(action, Wait) for _ in range(10) for action in machine.step())
    machine.settle()
    assert machine.states("chat") == ["pending", "ready"]
    machine.node = Node(cpu=2.0, memory_bytes=8 * 2**30)
    machine.settle()
    assert machine.states("chat") == ["ready", "ready"]


def test_a_smaller_wish_gives_up_the_least_useful(machine: FakeMachine) -> None:
    machine.apply(with_changes(CHAT, replicas="1..4"))
    machine.services["chat"] = msgspec.structs.replace(machine.services["chat"], num_desired=3)
    machine.settle()
    machine.services["chat"] = msgspec.structs.replace(machine.services["chat"], num_desired=4)
    machine.step()
    starting = {row.id for row in machine.rows.values() if row.state != "ready"}
    assert len(starting) == 1
    machine.in_flight = {"chat-0": 1, "chat-1": 0, "chat-2": 5}
    machine.services["chat"] = msgspec.structs.replace(machine.services["chat"], num_desired=2)
    actions = machine.step()
    assert {action.replica for action in actions if isinstance(action, Drain)} == {"chat-1"}
    assert {action.replica for action in actions if isinstance(action, Stop)} == starting
    machine.settle()
    assert {row.id for row in machine.rows.values()} == {"chat-0", "chat-2"}


def test_priority_goes_first_when_room_is_short() -> None:
    machine = FakeMachine(node=Node(cpu=1.0, memory_bytes=8 * 2**30))
    machine.apply(Service(name="a", model="small", priority=2))
    machine.apply(Service(name="b", model="small", priority=7))
    machine.settle()
    assert (machine.states("a"), machine.states("b")) == (["pending"], ["ready"])


def test_external_engines_take_no_room_and_no_process() -> None:
    machine = FakeMachine(node=Node(cpu=1.0, memory_bytes=2**30))
    engine = OpenAIEngine(urls=["http://127.0.0.1:1", "http://127.0.0.1:2"])
    machine.apply(Service(name="far", model="m", engine=engine, replicas=IntRange(min=2, max=2)))
    machine.settle()
    assert machine.states("far") == ["ready", "ready"]
    assert sorted(row.idx for row in machine.rows.values()) == [0, 1]
    assert machine.processes == {}
    machine.broken_engines = True
    machine.hung.add("far-0")
    machine.step()
    assert machine.rows["far-0"].reason == "unreachable"
    machine.broken_engines = False
    machine.settle()
    assert machine.states("far") == ["ready", "ready"]


def test_rolling_external_engines_uses_each_url_once_per_generation() -> None:
    machine = FakeMachine()
    engine = OpenAIEngine(urls=["http://127.0.0.1:1", "http://127.0.0.1:2"])
    far = Service(name="far", model="m", engine=engine, replicas=IntRange(min=2, max=2))
    machine.apply(far)
    machine.settle()
    machine.apply(with_changes(far, engine=engine.model_dump() | {"max_concurrency": 3}))
    machine.settle()
    assert sorted((row.generation, row.idx) for row in machine.rows.values()) == [(2, 0), (2, 1)]


def test_vllm_brings_its_own_start_limit() -> None:
    machine = FakeMachine()
    machine.apply(Service(name="big", model="m", engine=VllmEngine(start_timeout=900.0)))
    machine.pulls["m"] = 0.0
    machine.step()
    machine.step()
    process = machine.processes["service-big-0"]
    machine.processes["service-big-0"] = msgspec.structs.replace(process, started_at=machine.now + 10_000)
    machine.now += 800.0
    assert machine.step() == []
    machine.now += 101.0
    machine.step()
    assert machine.rows["big-0"].reason == "stuck"
