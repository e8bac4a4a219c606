from array import array

from hypothesis import given
from hypothesis import strategies as st

from roadbed.twin.serve_trace import Trace


def made(times: list[float]) -> Trace:
    trace = Trace("t")
    for at, time_s in enumerate(times):
        trace.add(time_s, at + 1, 1, [at], f"s{at}", 1 + at % 9)
    return trace


@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=50))
def test_order_moves_whole_rows(times: list[float]) -> None:
    trace = made(times).in_order(range(2, len(times) + 2))
    order = sorted(range(len(times)), key=times.__getitem__)
    assert trace.arrival_s[0] == 0
    assert list(trace.arrival_s) == sorted(trace.arrival_s)
    assert list(trace.prompt_tokens) == [at + 1 for at in order]
    assert [list(blocks) for blocks in trace.blocks] == [[at] for at in order]
    assert trace.session == [f"s{at}" for at in order]
    assert list(trace.priority) == [1 + at % 9 for at in order]


def test_what_is_odd_is_said_with_its_row() -> None:
    trace = made([5.0, 4.0, 4.0, *(6.0 + at for at in range(100)), 9000.0]).in_order(range(2, 106))
    assert trace.notes == [
        "t:3: before the row above it; 1 such rows, sorted",
        "t:4: arrives with another request; 1 such rows, kept",
        "t:105: nothing for 8895 s before it; 1 such holes, kept",
    ]


def test_without_lines_nothing_is_noted() -> None:
    assert made([5.0, 4.0, 4.0]).in_order().notes == []


def test_taken_is_the_first_of_them() -> None:
    trace = made([0.0, 1.0, 2.0]).in_order()
    few = trace.taken(2)
    assert len(few) == 2
    assert few.prompt_tokens == array("q", [1, 2])
    assert len(trace) == 3
