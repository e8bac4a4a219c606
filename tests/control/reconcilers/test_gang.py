"""One task, one step at a time: a gang lives and dies together, and every end leads where it should."""

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from roadbed.control.reconcilers.gang import Facts, Step, ranks, step
from roadbed.control.store.task import ENDED, TaskRow
from roadbed.runtime.base import ProcessStatus
from roadbed.scheduler.base import Placement, Slot
from roadbed.scheduler.events import Resize, Stop
from roadbed.spec.task import Task

PAIR = Placement((Slot(0), Slot(0)))


def task(**fields: object) -> TaskRow:
    spec = Task.model_validate({"name": "t", "command": "x", "processes": 2, **fields})
    return TaskRow(name="t", spec=spec, submitted_at=0.0)


def process(row: TaskRow, rank: int, code: int | None = None, signal: int | None = None) -> ProcessStatus:
    ended = code is not None or signal is not None
    return ProcessStatus(
        name=row.process(rank), pid=1, state="exited" if ended else "running", started_at=0.0, exit_code=code,
        signal=signal,
        labels={"rank": str(rank), "generation": str(row.generation), "attempt": str(row.attempt)},
    )  # fmt: skip


def placed(row: TaskRow, now: float = 1.0) -> TaskRow:
    found = step(row, Facts(granted=PAIR), now)
    assert found is not None
    assert found.start
    return found.row


def after(row: TaskRow, *codes: int | None, now: float = 2.0, **facts: object) -> Step | None:
    processes = {rank: process(row, rank, code) for rank, code in enumerate(codes)}
    return step(row, Facts(processes=processes, **facts), now)  # type: ignore[arg-type]


def test_it_waits_until_it_is_granted_a_place_then_starts_all_ranks() -> None:
    assert step(task(), Facts(), 1.0) is None
    row = placed(task())
    assert (row.state, row.attempt, row.exit_codes, row.placement) == ("starting", 1, [None, None], PAIR)
    running = after(row, None, None)
    assert running is not None
    assert (running.row.state, running.started, running.code) == ("running", True, "task.running")


def test_all_ranks_at_zero_is_finished() -> None:
    done = after(placed(task()), 0, 0)
    assert done is not None
    assert (done.row.state, done.exited, done.row.exit_codes) == ("finished", "finished", [0, 0])
    assert after(placed(task()), 0, None) is not None  # one still runs: nothing but "running"


def test_one_rank_that_fails_takes_the_others_with_it() -> None:
    row = placed(task())
    failing = after(row, 3, None)
    assert failing is not None
    assert (failing.row.state, failing.row.outcome, failing.stop) == ("stopping", "failed", True)
    assert "rank 0 ended with exit code 3" in failing.message
    assert after(failing.row, 3, None) is None
    gone = step(failing.row, Facts(processes={0: process(row, 0, 3), 1: process(row, 1, signal=15)}), 3.0)
    assert gone is not None
    assert (gone.row.state, gone.row.exit_codes, gone.exited) == ("failed", [3, -15], "failed")


def test_retries_pause_longer_each_time_and_then_end() -> None:
    row, waits = task(retries=2), []
    for _ in range(2):
        failing = after(placed(row), 1, 1)
        assert failing is not None
        back = after(failing.row, 1, 1, now=10.0)
        assert back is not None
        assert (back.row.state, back.code) == ("queued", "task.retried")
        waits.append((back.row.retry_at or 0.0) - 10.0)
        row = back.row
    failing = after(placed(row), 1, 1)
    assert failing is not None
    last = after(failing.row, 1, 1)
    assert last is not None
    assert (last.row.state, last.row.num_failures, waits) == ("failed", 3, [1.0, 2.0])


def test_preemption_is_no_failure_and_leads_back_to_the_queue() -> None:
    row = placed(task())
    stop = Stop("task/t", "priority", "task/other", 32.0)
    stopping = after(row, None, None, stop=stop)
    assert stopping is not None
    assert (stopping.row.outcome, stopping.stop) == ("preempted", True)
    assert stopping.message == "priority: gives way to task/other"
    back = step(stopping.row, Facts(processes={}), 3.0)
    assert back is not None
    assert (back.row.state, back.row.num_preemptions, back.row.num_failures) == ("queued", 1, 0)
    assert back.exited == "stopped"


def test_a_lost_process_is_the_machines_fault() -> None:
    lost = after(placed(task()), None)
    assert lost is not None
    assert (lost.row.outcome, lost.row.reason) == ("preempted", "lost")


def test_a_stop_ends_it_wherever_it_is() -> None:
    asked = msgspec.structs.replace(task(), wanted="stop")
    waiting = step(asked, Facts(), 1.0)
    assert waiting is not None
    assert waiting.row.state == "stopped"
    running = msgspec.structs.replace(placed(task()), wanted="stop")
    stopping = after(running, None, None)
    assert stopping is not None
    assert stopping.stop
    ended = after(stopping.row, 0, 0)
    assert ended is not None
    assert (ended.row.state, ended.exited) == ("stopped", "stopped")


def test_the_time_limit_is_a_failure_with_its_number() -> None:
    late = after(placed(task(max_duration="10s")), None, None, now=12.0)
    assert late is not None
    assert (late.row.reason, late.row.outcome) == ("max_duration", "failed")
    assert "10 s" in late.message


def test_a_move_starts_again_at_the_new_place() -> None:
    row = placed(task())
    wider = Placement((Slot(0), Slot(0), Slot(1)))
    moving = after(row, None, None, move=Resize("task/t", wider, PAIR, "grow"))
    assert moving is not None
    assert (moving.row.outcome, moving.row.placement) == ("moved", wider)
    again = after(moving.row, 0, 0)
    assert again is not None
    assert (again.start, again.moved, again.row.attempt, len(again.row.exit_codes)) == (True, True, 2, 3)


def test_a_stop_that_was_lost_is_said_again() -> None:
    stopping = after(msgspec.structs.replace(placed(task()), wanted="stop"), None, None, now=2.0)
    assert stopping is not None
    assert after(stopping.row, None, None, now=3.0) is None
    again = after(stopping.row, None, None, now=9.0)
    assert again is not None
    assert again.stop


def test_processes_of_earlier_attempts_are_not_its_own() -> None:
    row = placed(task())
    old = msgspec.structs.replace(row, attempt=7)
    assert ranks(row, [process(row, 1), process(old, 0)]).keys() == {1}


@settings(max_examples=150, deadline=None)
@given(
    st.lists(
        st.tuples(st.sampled_from([None, 0, 1]), st.sampled_from([None, 0, 1]), st.booleans(), st.booleans()),
        max_size=40,
    ),
    st.integers(0, 3),
)
def test_no_history_leads_out_of_the_states_or_loses_the_scheduler(
    history: list[tuple[int | None, int | None, bool, bool]], retries: int
) -> None:
    """Whatever its ranks do: devices are taken exactly between a start and an exit, and an end is an end."""
    row, holds, now = task(retries=retries), False, 0.0
    for first, second, granted, preempted in history:
        now += 10.0
        facts = Facts(
            processes={rank: process(row, rank, code) for rank, code in enumerate((first, second))},
            granted=PAIR if granted else None,
            stop=Stop("task/t", "priority", "x", now) if preempted else None,
        )
        found = step(row, facts, now)
        if row.state in ENDED:
            assert found is None
            continue
        if found is None:
            continue
        assert not (found.start and holds)
        assert not (found.exited and not holds)
        holds = (holds or found.start) and not found.exited
        row = found.row
        assert holds == (row.state in ("starting", "running", "stopping"))
        assert row.num_failures <= retries + 1
