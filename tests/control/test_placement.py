"""Room is given once, and a refusal names its numbers."""

from hypothesis import given
from hypothesis import strategies as st

from roadbed.control.placement import Node, Room, threads_per_replica
from roadbed.spec.service import Resources

GIB = 2**30


def test_refusals_tell_never_from_not_now() -> None:
    room = Room(Node(cpu=2.0, memory_bytes=4 * GIB))
    assert room.refuse(Resources(cpu=2.0, memory=4 * GIB)) is None
    room.take(Resources(cpu=1.5, memory=1 * GIB))
    now = room.refuse(Resources(cpu=1.0))
    never = room.refuse(Resources(memory=5 * GIB))
    assert now is not None
    assert never is not None
    assert (now.reason, never.reason) == ("no_capacity", "too_large")
    assert now.message == "needs 1 core and 1.0 GiB; free are 0.5 cores and 3.0 GiB of 2 cores and 4.0 GiB"
    assert never.message == "needs 1 core and 5.0 GiB; the whole node has 2 cores and 4.0 GiB"


@given(st.lists(st.builds(Resources, cpu=st.floats(0.1, 4), memory=st.integers(0, 3 * GIB)), max_size=30))
def test_what_is_placed_never_passes_the_node(needs: list[Resources]) -> None:
    node = Node(cpu=8.0, memory_bytes=8 * GIB)
    room = Room(node)
    placed = []
    for need in needs:
        if room.refuse(need) is None:
            room.take(need)
            placed.append(need)
    assert sum(need.cpu for need in placed) <= node.cpu + 0.001 * len(placed)
    assert sum(need.memory for need in placed) <= node.memory_bytes
    for need in placed:
        room.give_back(need)
    assert room.refuse(Resources(cpu=7.9, memory=8 * GIB)) is None


def test_threads() -> None:
    node = Node(cpu=2.0, memory_bytes=GIB)
    assert [threads_per_replica(node, n) for n in (0, 1, 2)] == [1, 1, 1]
    assert [threads_per_replica(Node(17.0, GIB), n) for n in (1, 2, 5, 40)] == [16, 8, 3, 1]
