"""Quotas: checked as a tree, never divided under work, never deleted under it."""

import pytest

from roadbed.control.placement import Node, node_info
from roadbed.control.pool import LivePool
from roadbed.control.services.apply import apply, plan
from roadbed.control.services.quota import remove_quota
from roadbed.control.store import Store
from roadbed.control.store.quota import list_quotas
from roadbed.errors import ConflictError, NotFoundError, SpecError
from roadbed.hardware.machine import Machine
from roadbed.spec.load import applicable, load_text

POOL = LivePool([node_info(Node(cpu=2.0, memory_bytes=8 * 2**30), Machine(num_cpus=2, memory_mib=8192), "local")])
TREE = "kind: quota\nname: a\nresources: {cpu: 2..}\n---\nkind: quota\nname: b\nparent: a\nresources: {cpu: 1..}\n"


def wish(store: Store, text: str) -> None:
    apply(store, applicable(load_text(text)), POOL, "test")


def test_a_tree_is_stored_and_changed_one_by_one(any_store: Store) -> None:
    wish(any_store, TREE)
    wish(any_store, TREE)
    with any_store.read() as connection:
        assert [(row.name, row.spec.parent) for row in list_quotas(connection)] == [("a", None), ("b", "a")]
    (planned,) = plan(any_store, applicable(load_text("kind: quota\nname: a\nresources: {cpu: 3..}\n")), POOL)
    assert planned.change == "update"
    assert [change.field for change in planned.fields] == ["resources.cpu.min"]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("kind: quota\nname: c\nparent: nobody\n", "nobody"),
        ("kind: quota\nname: a\nparent: b\n", "its own ancestor: a → b → a"),
        ("kind: quota\nname: c\nparent: a\nresources: {cpu: 9..}\n", "has 2 cpu guaranteed, its children 10"),
    ],
)
def test_a_broken_tree_changes_nothing(store: Store, text: str, words: str) -> None:
    wish(store, TREE)
    with pytest.raises(SpecError, match=words):
        wish(store, text)
    with store.read() as connection:
        assert [row.name for row in list_quotas(connection)] == ["a", "b"]


def test_what_is_used_is_neither_divided_nor_deleted(store: Store) -> None:
    wish(store, TREE + "---\nkind: task\nname: t\ncommand: x\nquota: a/b\n")
    with pytest.raises(ConflictError, match="its parent 'b' has work of its own"):
        wish(store, "kind: quota\nname: c\nparent: b\n")
    with pytest.raises(ConflictError, match="quota 'a' has b below it"):
        remove_quota(store, "a", "test")
    with pytest.raises(ConflictError, match="quota 'b' is used by task t"):
        remove_quota(store, "b", "test")
    with pytest.raises(NotFoundError, match="there is no quota 'x'; quotas: a, b"):
        remove_quota(store, "x", "test")
    wish(store, "kind: quota\nname: free\n")
    assert remove_quota(store, "free", "test").name == "free"
