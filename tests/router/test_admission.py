import pytest
from hypothesis import given
from hypothesis import strategies as st

from roadbed.router.admission import AGEING_S, Waiting, WaitQueue
from roadbed.router.base import Features


def waiting(name: str, *, at: float = 0.0, priority: int = 5, deadline: float = 100.0) -> Waiting:
    features = Features(
        request_id=name, blocks=[], block_tokens=64.0, prompt_tokens=1, output_tokens=1, priority=priority
    )
    return Waiting(features=features, arrived_at=at, deadline=deadline)


def drain(queue: WaitQueue) -> list[str]:
    names = []
    while (first := queue.pop()) is not None:
        names.append(first.features.request_id)
    return names


def test_priority_then_deadline_then_arrival() -> None:
    queue = WaitQueue(10)
    queue.push(waiting("late", deadline=90))
    queue.push(waiting("soon", deadline=20))
    queue.push(waiting("again", deadline=90))
    queue.push(waiting("urgent", priority=1, deadline=99))
    assert drain(queue) == ["urgent", "soon", "late", "again"]


def test_nobody_is_overtaken_forever() -> None:
    queue = WaitQueue(100)
    queue.push(waiting("patient", at=0.0, priority=9))
    for index in range(20):
        queue.push(waiting(f"vip{index}", at=index * AGEING_S, priority=1))
    order = drain(queue)
    assert order.index("patient") <= 9


def test_full_and_repeated_pushes_are_the_callers_mistake() -> None:
    queue = WaitQueue(1)
    queue.push(waiting("a"))
    with pytest.raises(ValueError, match="cannot queue"):
        queue.push(waiting("b"))
    roomy = WaitQueue(5)
    roomy.push(waiting("a"))
    with pytest.raises(ValueError, match="cannot queue"):
        roomy.push(waiting("a"))


def test_who_is_put_back_keeps_its_turn() -> None:
    queue = WaitQueue(5)
    queue.push(waiting("a"))
    queue.push(waiting("b"))
    first = queue.pop()
    assert first is not None
    queue.push(first)
    assert drain(queue) == ["a", "b"]


def test_deadlines_take_out_exactly_those_due() -> None:
    queue = WaitQueue(5)
    queue.push(waiting("a", deadline=5))
    queue.push(waiting("b", deadline=3))
    queue.push(waiting("c", deadline=9))
    queue.remove("b")
    assert [entry.features.request_id for entry in queue.expire(5.0)] == ["a"]
    assert drain(queue) == ["c"]


def test_last_is_who_would_be_popped_last() -> None:
    queue = WaitQueue(5)
    for name, priority in (("a", 5), ("b", 9), ("c", 1)):
        queue.push(waiting(name, priority=priority))
    last = queue.last()
    assert last is not None
    assert last.features.request_id == drain(queue)[-1] == "b"
    assert queue.last() is None


@given(st.lists(st.tuples(st.sampled_from(["push", "pop", "remove"]), st.integers(0, 9), st.integers(1, 9))))
def test_order_and_bounds_against_a_sorted_list(steps: list[tuple[str, int, int]]) -> None:
    queue = WaitQueue(6)
    oracle: list[Waiting] = []
    for number, (what, which, priority) in enumerate(steps):
        oracle.sort(key=lambda w: (w.level(), w.deadline, w.sequence))
        if what == "push" and not queue.full:
            entry = waiting(f"q{number}", at=number / 3, priority=priority, deadline=100 + which)
            queue.push(entry)
            oracle.append(entry)
        elif what == "pop":
            assert queue.pop() == (oracle.pop(0) if oracle else None)
        elif what == "remove" and which < len(oracle):
            assert queue.remove(oracle[which].features.request_id) == oracle.pop(which)
        assert len(queue) == len(oracle) <= 6
        assert len(queue._order) <= 2 * len(queue) + 65


@given(st.lists(st.tuples(st.integers(1, 9), st.floats(0, 60)), max_size=30), st.integers(0, 40), st.data())
def test_who_goes_before_a_newcomer_is_counted(rows: list[tuple[int, float]], level: int, data: st.DataObject) -> None:
    queue = WaitQueue(100)
    for index, (priority, at) in enumerate(rows):
        queue.push(waiting(str(index), at=at, priority=priority, deadline=at + 50))
    left = {str(index): waiting("", at=at, priority=priority).level() for index, (priority, at) in enumerate(rows)}
    for _ in range(data.draw(st.integers(0, 10))):
        if data.draw(st.booleans()):
            taken = queue.pop()
            if taken is not None:
                del left[taken.features.request_id]
        else:
            name = str(data.draw(st.integers(0, 40)))
            assert (queue.remove(name) is not None) == (left.pop(name, None) is not None)
    for gone in queue.expire(data.draw(st.floats(0, 120))):
        del left[gone.features.request_id]
    assert queue.num_before(level) == sum(other <= level for other in left.values())


def test_size_never_puts_a_request_off_beyond_its_own_deadline() -> None:
    long, hurried = waiting("long"), waiting("hurried")
    long.cost_s = hurried.cost_s = 3.0
    hurried.features.deadline = 10.0
    assert long.level() > hurried.level()
    hurried.features.deadline = 500.0
    assert long.level() == hurried.level()
    hurried.features.deadline = 0.5
    assert hurried.level() == waiting("at once").level(), "nor ahead of those who came before it"
