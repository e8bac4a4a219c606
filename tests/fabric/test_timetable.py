"""The timetable: what is due when, and that an overtaken forecast is not believed."""

import math

import numpy as np
import pytest

from roadbed.errors import UsageError
from roadbed.fabric.timetable import Timetable


def table_of(*sizes: float, latency_s: float = 0.0, after: list[list[int]] | None = None) -> Timetable:
    table = Timetable()
    add(table, 0, list(sizes), latency_s=latency_s, after=after)
    return table


def add(
    table: Timetable, session: int, sizes: list[float], *, latency_s: float = 0.0, delay_s: float = 0.0,
    after: list[list[int]] | None = None, program: int = -1, now_s: float = 0.0,
) -> None:  # fmt: skip
    num = len(sizes)
    waits = after or [[]] * num
    start = np.cumsum([0, *map(len, waits)], dtype=np.int32)
    flat = np.array([one for some in waits for one in some], np.int32)
    latency, delay = np.full(num, latency_s), np.full(num, delay_s)
    table.add(session, np.array(sizes), latency, delay, (start, flat), program, now_s)


def some(*flows: int) -> np.ndarray:
    return np.array(flows, np.int64)


def test_a_flow_from_start_to_arrival() -> None:
    table = table_of(10.0, latency_s=0.5)
    assert table.next_s() == 0.0
    assert table.starts(0.0).tolist() == [0]
    table.set_rates(some(0), np.array([5.0]), 0.0)
    assert table.next_s() == 2.0
    assert table.drains(1.9).tolist() == []
    assert table.drains(2.0).tolist() == [0]
    assert table.undrained().tolist() == []
    assert table.next_s() == 2.5
    assert table.arrivals(2.5).tolist() == [0]
    assert table.next_s() == math.inf
    assert (table.start_s[0], table.finish_s[0], table.left[0]) == (0.0, 2.5, 0.0)


def test_an_overtaken_forecast_is_skipped() -> None:
    table = table_of(10.0, 10.0)
    table.starts(0.0)
    table.set_rates(some(0, 1), np.array([10.0, 10.0]), 0.0)
    table.set_rates(some(1), np.array([2.5]), 0.5)
    assert table.drains(1.0).tolist() == [0]
    assert table.arrivals(1.0).tolist() == [0]
    assert table.left[1] == 5.0
    assert table.next_s() == 2.5
    assert table.drains(2.5).tolist() == [1]


def test_a_stopped_flow_is_due_never() -> None:
    table = table_of(10.0)
    table.starts(0.0)
    table.set_rates(some(0), np.array([10.0]), 0.0)
    table.set_rates(some(0), np.array([0.0]), 0.5)
    assert table.drains(5.0).tolist() == []
    assert table.next_s() == math.inf
    table.close(5.0)
    assert table.left[0] == 5.0


def test_equal_moments_share_an_entry() -> None:
    table = table_of(*[8.0] * 1000)
    table.starts(0.0)
    table.set_rates(np.arange(1000), np.full(1000, 2.0), 0.0)
    assert len(table._drains) == 1
    assert len(table.drains(4.0)) == 1000


def test_followers_go_when_the_last_has_arrived() -> None:
    table = table_of(1.0, 1.0, 1.0, after=[[], [], [0, 1, 1]])
    assert table.starts(0.0).tolist() == [0, 1]
    table.set_rates(some(0, 1), np.array([1.0, 0.5]), 0.0)
    table.drains(1.0)
    table.arrivals(1.0)
    assert table.starts(1.0).tolist() == []
    table.drains(2.0)
    table.arrivals(2.0)
    assert table.starts(2.0).tolist() == [2]


def test_numbers_are_those_of_the_program() -> None:
    """Two programs in turn: each counts its own, and waits for its own."""
    table = Timetable()
    add(table, 0, [1.0, 1.0], program=0)
    add(table, 2, [1.0], program=1)
    add(table, 3, [1.0], program=0, after=[[1]])
    add(table, 4, [1.0], program=1, after=[[0]])
    assert table.number[:5].tolist() == [0, 1, 0, 2, 1]
    assert table.starts(0.0).tolist() == [0, 1, 2]
    table.set_rates(some(2), np.array([1.0]), 0.0)
    table.drains(1.0)
    table.arrivals(1.0)
    assert table.starts(1.0).tolist() == [4]


def test_who_waits_for_what_is_over_does_not_wait() -> None:
    table = table_of(1.0)
    table.starts(0.0)
    table.set_rates(some(0), np.array([1.0]), 0.0)
    table.drains(1.0)
    table.arrivals(1.0)
    add(table, 1, [1.0], after=[[0]], delay_s=0.5, now_s=2.0)
    assert table.next_s() == 2.5


@pytest.mark.parametrize("waited", [1, 2, -1])
def test_nobody_waits_for_himself_or_the_future(waited: int) -> None:
    with pytest.raises(UsageError, match=rf"flow 1 waits for {waited}") as caught:
        table_of(1.0, 1.0, 1.0, after=[[], [waited], []])
    assert caught.value.field == "after"


def test_arrivals_after_the_end_did_not_happen() -> None:
    table = table_of(1.0, latency_s=5.0)
    table.starts(0.0)
    table.set_rates(some(0), np.array([1.0]), 0.0)
    table.drains(1.0)
    table.close(3.0)
    assert table.finish_s[0] == math.inf
    assert table.left[0] == 0.0


def test_a_moved_flow_answers_for_its_new_session() -> None:
    table = table_of(1.0, 1.0)
    table.move(some(1), 7, np.array([0.25]))
    assert table.flow_of(some(7)).tolist() == [1]
    assert table.session[:2].tolist() == [0, 7]
    assert table.latency_s[1] == 0.25


def test_a_link_less_flow_is_done_at_once() -> None:
    table = table_of(4.0)
    table.starts(1.0)
    table.set_rates(some(0), np.array([math.inf]), 1.0)
    assert table.next_s() == 1.0
    assert table.drains(1.0).tolist() == [0]
