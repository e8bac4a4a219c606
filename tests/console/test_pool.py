"""The pool as it is drawn: cells by what is taken, bars that fit, tasks in the order of their turn."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from roadbed.console.pool import MAX_DEPTH, MAX_NODES, NUM_COLOURS, colours_of, pool_view, task_row
from roadbed.console.reader import PoolReading

NOW = 1000.0


def node(**fields: Any) -> dict[str, Any]:
    said = {
        "name": "n0", "chip": "H100", "num_devices": 2, "free": [1.0, 1.0], "cpu": 8.0, "cpu_free": 6.0,
        "memory_mib": 4096, "memory_free_mib": 3072, "cordoned": False, "drain": False, "schedulable": True,
        "holders": [],
    }  # fmt: skip
    return {**said, **fields}


def holder(name: str, *devices: int, **fields: Any) -> dict[str, Any]:
    return {"noun": "task", "name": name, "quota": "nlp", "devices": list(devices), "num_processes": 1, **fields}


def quota(name: str, parent: str | None = None, **fields: Any) -> dict[str, Any]:
    said = {"strategy": "fifo", "lending": True, "borrowing": False, "resources": {}, "num_waiting": 0}
    return {"name": name, "parent": parent, **said, **fields}


def share(**fields: Any) -> dict[str, Any]:
    return {"used": 0.0, "waiting": 0.0, "min": 0.0, "max": None, "fair": 0.0, **fields}


def task(name: str, state: str, **fields: Any) -> dict[str, Any]:
    said = {
        "spec": {"processes": 2, "workers": None, "quota": None, "priority": 5}, "since": NOW - 5, "message": "",
        "exit_codes": [], "num_failures": 0, "num_preemptions": 0,
    }  # fmt: skip
    return {"name": name, "state": state, **said, **fields}


def entry(name: str, position: int, noun: str = "task") -> dict[str, Any]:
    return {"noun": noun, "name": name, "quota": "default", "position": position, "message": "1 node → 0"}


def test_cells_say_who_has_them() -> None:
    on = [holder("a", 0), holder("b", 1, num_processes=2), holder("c", 1)]
    [shown] = pool_view(PoolReading(nodes=[node(free=[0.0, 0.25], holders=on)]), NOW).nodes
    first, second = shown.cells
    assert (first.taken, first.label) == (1.0, "device 0: taken by task a (nlp)")
    assert (second.taken, second.label) == (0.75, "device 1: 75 % taken by task b ×2 (nlp), task c (nlp)")
    assert first.colour != second.colour
    assert [owner.name for owner in shown.owners] == ["task a", "task b ×2", "task c"]
    assert [owner.colour for owner in shown.owners][:2] == [first.colour, second.colour]
    assert (shown.summary, shown.cpu_text, shown.memory_text) == ("0.25 of 2 devices free", "2 / 8", "1.0 / 4.0")


def test_a_free_device_has_no_owner() -> None:
    [shown] = pool_view(PoolReading(nodes=[node()]), NOW).nodes
    assert {(cell.taken, cell.colour, cell.label.partition(": ")[2]) for cell in shown.cells} == {(0.0, -1, "free")}


@pytest.mark.parametrize(
    ("fields", "word", "out"),
    [
        ({}, "ready", False),
        ({"cordoned": True, "schedulable": False}, "cordoned", True),
        ({"cordoned": True, "drain": True, "schedulable": False}, "draining", True),
        ({"schedulable": False}, "out", True),
    ],
)
def test_machines_that_take_nothing_are_hatched(fields: dict[str, Any], word: str, out: bool) -> None:
    [shown] = pool_view(PoolReading(nodes=[node(**fields)]), NOW).nodes
    assert (shown.word, shown.out) == (word, out)


def test_many_machines_are_counted() -> None:
    page = pool_view(PoolReading(nodes=[node(name=f"n{at}") for at in range(MAX_NODES + 3)]), NOW)
    assert (len(page.nodes), page.num_hidden, page.num_devices) == (MAX_NODES, 3, 2 * (MAX_NODES + 3))


def test_quotas_are_indented_and_their_bars_are_to_scale() -> None:
    lent = share(used=6.0, min=2.0, max=4.0, fair=3.0, waiting=1.0)
    tree = [quota("a"), quota("b", "a", resources={"cpu": lent}, borrowing=True, lending=False)]
    root, child = pool_view(PoolReading(nodes=[node()], quotas=tree), NOW).quotas
    assert (root.depth, child.depth, child.note) == (0, 1, "fifo · lends nothing · borrows")
    [bar] = child.shares
    assert (bar.used_at, bar.min_at, bar.max_at, bar.fair_at, bar.over) == (75.0, 25.0, 50.0, 37.5, True)
    assert bar.text == "6 used · min 2 · max 4 · fair 3 · asked 1"


def test_a_deep_tree_stops_moving_right() -> None:
    tree = [quota("q0"), *(quota(f"q{at}", f"q{at - 1}") for at in range(1, 12))]
    assert [shown.depth for shown in pool_view(PoolReading(quotas=tree), NOW).quotas] == [
        min(at, MAX_DEPTH) for at in range(12)
    ]


@given(*[st.floats(0, 1e6)] * 4, st.none() | st.floats(0, 1e6))
def test_a_bar_never_leaves_its_bed(used: float, low: float, fair: float, cores: float, high: float | None) -> None:
    said = share(used=used, min=low, max=high, fair=fair)
    page = pool_view(PoolReading(nodes=[node(cpu=cores)], quotas=[quota("a", resources={"cpu": said})]), NOW)
    [bar] = page.quotas[0].shares
    assert all(0 <= at <= 100 for at in (bar.used_at, bar.min_at, bar.fair_at, bar.max_at or 0.0))


def test_tasks_stand_in_the_order_of_their_turn() -> None:
    rows = [task("late", "queued"), task("runs", "running", message="old"), task("early", "queued", message="why")]
    queue = [entry("early", 1), entry("chat-1", 2, "replica"), entry("late", 3)]
    page = pool_view(PoolReading(tasks=rows, queue=queue, ended=[task("over", "failed", message="exit 1")]), NOW)
    assert [(row.name, row.position, row.message) for row in page.tasks] == [
        ("runs", "", ""),
        ("early", "1 of 3", "why"),
        ("late", "3 of 3", "1 node → 0"),
    ]
    assert [(row.name, row.tone, row.message) for row in page.ended] == [("over", "bad", "exit 1")]
    assert page.num_waiting == 3


def test_a_task_has_as_many_ranks_as_it_runs_with() -> None:
    elastic = {"processes": None, "workers": {"min": 2, "max": 4}, "quota": "research/nlp", "priority": 7}
    assert task_row(task("t", "queued", spec=elastic), NOW).num_processes == 2
    shown = task_row(task("t", "running", spec=elastic, exit_codes=[None] * 3, num_preemptions=1), NOW)
    assert (shown.num_processes, shown.quota, shown.priority, shown.num_preemptions) == (3, "research/nlp", 7, 1)
    assert task_row(task("t", "queued", spec={**elastic, "workers": None}), NOW).num_processes == 1


@given(st.lists(st.text(max_size=8), unique=True, max_size=20))
def test_colours_are_shared_only_when_there_are_too_few(names: list[str]) -> None:
    found = colours_of(names)
    assert set(found) == set(names)
    assert all(0 <= colour < NUM_COLOURS for colour in found.values())
    assert len(set(found.values())) == min(len(names), NUM_COLOURS)
    assert colours_of(reversed(names)) == found
