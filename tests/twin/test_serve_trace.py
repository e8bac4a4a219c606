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


def test_prefixes_are_apart_for_each_adapter_and_model() -> None:
    trace = Trace("t", 4)
    for at, (adapter, model) in enumerate([("", ""), ("law", ""), ("law", ""), ("", "m"), ("law", "m")]):
        trace.add(5.0 - at, 8, 1, [1, 2], adapter=adapter, model=model)
    assert list(trace.blocks[0]) == [1, 2]
    assert trace.blocks[1] == trace.blocks[2]
    assert len({block for blocks in trace.blocks for block in blocks}) == 8
    assert (trace.adapters, trace.models) == (("law",), ("m",))
    trace.in_order()
    assert trace.adapter == ["law", "", "law", "law", ""]
    assert trace.model == ["m", "m", "", "", ""]
    first = trace.taken(2)
    assert (first.adapter, first.model) == (["law", ""], ["m", "m"])
