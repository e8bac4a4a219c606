"""Tasks as wishes: planned before stored, idempotent while they run, run again when they have ended."""

import msgspec
import pytest

from roadbed.control.placement import Node, node_info
from roadbed.control.pool import LivePool
from roadbed.control.services.apply import apply, plan
from roadbed.control.services.task import delete_task, require_task, stop_task
from roadbed.control.store import Store
from roadbed.control.store.event import list_events
from roadbed.control.store.task import TaskRow, get_task, update_task
from roadbed.errors import ConflictError, NotFoundError, UsageError
from roadbed.hardware.machine import Machine
from roadbed.spec.load import applicable, load_text

POOL = LivePool([node_info(Node(cpu=2.0, memory_bytes=8 * 2**30), Machine(num_cpus=2, memory_mib=8192), "local")])
TASK = "kind: task\nname: t\ncommand: x\n"


def wish(store: Store, text: str) -> None:
    apply(store, applicable(load_text(text)), POOL, "test")


def move(store: Store, **fields: object) -> TaskRow:
    with store.write() as connection:
        row = get_task(connection, "t")
        assert row is not None
        row = msgspec.structs.replace(row, **fields)
        update_task(connection, row)
    return row


def test_apply_is_idempotent_while_it_runs_and_runs_again_afterwards(any_store: Store) -> None:
    wish(any_store, TASK)
    wish(any_store, TASK)
    assert move(any_store, state="running").generation == 1
    wish(any_store, TASK)
    with pytest.raises(ConflictError, match="task 't' is running; what runs can't be changed"):
        wish(any_store, TASK + "priority: 9\n")
    move(any_store, state="finished")
    wish(any_store, TASK + "priority: 9\n")
    with any_store.read() as connection:
        row = require_task(connection, "t")
        codes = [event.code for event in list_events(connection, noun="task", name="t")]
    assert (row.generation, row.state, row.spec.priority) == (2, "queued", 9)
    assert codes == ["task.submitted", "task.submitted"]


def test_a_plan_says_what_would_happen_and_does_nothing(store: Store) -> None:
    (planned,) = plan(store, applicable(load_text(TASK)), POOL)
    assert (planned.change, planned.effects) == ("create", ["runs 1 process"])
    with store.read() as connection:
        assert get_task(connection, "t") is None


@pytest.mark.parametrize(
    ("text", "error", "words"),
    [
        ("processes: 3\n", UsageError, "can never run on the machines here"),
        ("resources: {accelerators: 'H100:1'}\n", UsageError, "can never run on the machines here: 1 node"),
        ("quota: nobody\n", NotFoundError, "there is no quota 'nobody'; there is default"),
    ],
)
def test_what_could_only_wait_for_ever_is_refused(store: Store, text: str, error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        wish(store, TASK + text)


def test_a_file_may_bring_a_quota_and_its_work(store: Store) -> None:
    text = "kind: quota\nname: a\n---\nkind: quota\nname: b\nparent: a\n---\n"
    with pytest.raises(NotFoundError, match="no quota 'a'"):
        plan(store, applicable(load_text(text + TASK + "quota: a\n")), POOL)
    wish(store, text + TASK + "quota: a/b\n")
    with pytest.raises(UsageError, match="quota: 'a' is divided; use one of b"):
        wish(store, TASK.replace("name: t", "name: u") + "quota: a\n")


def test_stop_and_delete(store: Store) -> None:
    wish(store, TASK)
    with pytest.raises(ConflictError, match="task 't' is queued"):
        delete_task(store, "t", "test")
    assert stop_task(store, "t", "test").wanted == "stop"
    assert stop_task(store, "t", "test").wanted == "stop"
    move(store, state="stopped")
    delete_task(store, "t", "test")
    with store.read() as connection, pytest.raises(NotFoundError, match="there is no task 't'; tasks: none"):
        require_task(connection, "t")
    wish(store, TASK)
    with store.read() as connection:
        assert require_task(connection, "t").generation == 2
