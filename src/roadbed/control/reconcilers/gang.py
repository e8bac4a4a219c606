"""What happens next to one task, from its row, its processes and what the scheduler decided. Pure.

    queued ──granted──▶ starting ──all run──▶ running ──all ranks 0──▶ finished
      ▲                    │  any rank fails, a limit, a stop, a preemption │
      └── preempted, retry ┴──────────────▶ stopping ◀──────────────────────┘
                                              │ last process gone
                                              ▼
                            failed · stopped · queued again · starting elsewhere (moved)

A gang lives and dies together: one rank that fails stops the others. A task that was preempted or lost its machine goes
back to the queue without that counting as a failure; a failure is retried as often as the task allows, after a pause.
"""

from collections.abc import Sequence

import msgspec

from roadbed.control.store.task import TaskRow
from roadbed.runtime.base import ProcessStatus
from roadbed.scheduler.base import Placement
from roadbed.scheduler.events import Migrate, Resize, Stop

BACKOFF_FIRST_S = 1.0
BACKOFF_MAX_S = 60.0
STOP_AGAIN_S = 5.0


class Facts(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of one task now. processes: those of its attempt, by rank; a lost one is missing."""

    processes: dict[int, ProcessStatus] = {}
    granted: Placement | None = None
    stop: Stop | None = None
    move: Resize | Migrate | None = None


class Step(msgspec.Struct, frozen=True, kw_only=True):
    """What to do: the row to write, the event that tells of it, then the runtime's part.

    start: ranks' processes are to be started. stop: running ranks are to be stopped within grace_s. exited: tell the
    scheduler, with this outcome. started, moved: tell the scheduler.
    """

    row: TaskRow
    code: str = ""
    message: str = ""
    start: bool = False
    stop: bool = False
    exited: str = ""
    started: bool = False
    moved: bool = False


def step(row: TaskRow, facts: Facts, now: float) -> Step | None:
    """The next step of one task, None when there is nothing to do."""
    match row.state:
        case "queued":
            return _queued(row, facts, now)
        case "starting" | "running":
            return _alive(row, facts, now)
        case "stopping":
            return _stopping(row, facts, now)
        case _:
            return None


def _queued(row: TaskRow, facts: Facts, now: float) -> Step | None:
    if row.wanted == "stop":
        ended = _change(row, now, state="stopped", reason="stopped", message="stopped while it waited", ended_at=now)
        return Step(row=ended, code="task.stopped", message="stopped while it waited")
    if facts.granted is None:
        return None
    return _start(row, facts.granted, now, row.num_failures)


def _start(row: TaskRow, placement: Placement, now: float, num_failures: int) -> Step:
    num = len(placement.slots)
    started = _change(
        row, now, state="starting", reason="", message="", outcome="", attempt=row.attempt + 1, placement=placement,
        exit_codes=[None] * num, started_at=now, ended_at=None, retry_at=None, num_failures=num_failures,
    )  # fmt: skip
    words = f"attempt {started.attempt}: {num} process{'' if num == 1 else 'es'}"
    return Step(row=started, code="task.placed", message=words, start=True)


def _alive(row: TaskRow, facts: Facts, now: float) -> Step | None:
    num = len(row.exit_codes)
    codes = [_exit_code(facts.processes.get(rank)) for rank in range(num)]
    lost = [rank for rank in range(num) if rank not in facts.processes]
    bad = next((rank for rank, code in enumerate(codes) if code not in (None, 0)), None)
    limit_s = row.spec.max_duration
    if lost:
        return _stop(row, codes, now, "preempted", "lost", f"rank {lost[0]} was lost with its machine or agent")
    if bad is not None:
        return _stop(row, codes, now, "failed", "exited", f"rank {bad} {_how(facts.processes[bad])}")
    if all(code == 0 for code in codes):
        ended = _change(row, now, state="finished", reason="", message="", exit_codes=codes, ended_at=now)
        ran_s = now - (row.started_at or now)
        return Step(row=ended, code="task.finished", message=f"finished after {ran_s:.1f} s", exited="finished")
    if row.wanted == "stop":
        return _stop(row, codes, now, "stopped", "stopped", "asked to stop")
    if limit_s is not None and row.started_at is not None and now - row.started_at > limit_s:
        return _stop(row, codes, now, "failed", "max_duration", f"ran longer than max_duration, {limit_s:g} s")
    if facts.stop is not None:
        words = f"{facts.stop.reason}: gives way to {facts.stop.by}" if facts.stop.by else facts.stop.reason
        return _stop(row, codes, now, "preempted", facts.stop.reason, words)
    if facts.move is not None:
        moved = _stop(row, codes, now, "moved", facts.move.reason, f"{facts.move.reason}: goes on elsewhere")
        return msgspec.structs.replace(moved, row=msgspec.structs.replace(moved.row, placement=facts.move.placement))
    if row.state == "starting":
        return Step(row=running_row(row, now), code="task.running", message="all ranks run", started=True)
    return None


def _stop(row: TaskRow, codes: list[int | None], now: float, outcome: str, reason: str, message: str) -> Step:
    stopping = _change(row, now, state="stopping", outcome=outcome, reason=reason, message=message, exit_codes=codes)
    return Step(
        row=stopping, code=f"task.{'stopping' if outcome != 'failed' else 'failing'}", message=message, stop=True
    )


def _stopping(row: TaskRow, facts: Facts, now: float) -> Step | None:
    alive = [status for status in facts.processes.values() if status.state != "exited"]
    if alive:
        lost = now - row.since > STOP_AGAIN_S and any(status.state == "running" for status in alive)
        return Step(row=msgspec.structs.replace(row, since=now), stop=True) if lost else None
    codes = [code if code is not None else _exit_code(facts.processes.get(r)) for r, code in enumerate(row.exit_codes)]
    if row.wanted == "stop":
        ended = _change(row, now, state="stopped", reason="stopped", exit_codes=codes, ended_at=now, placement=None)
        return Step(row=ended, code="task.stopped", message=row.message, exited="stopped")
    match row.outcome:
        case "moved" if row.placement is not None:
            again = _start(row, row.placement, now, row.num_failures)
            return msgspec.structs.replace(again, moved=True, code="task.moved")
        case "failed":
            return _failed(row, codes, now)
        case _:
            back = _change(
                row, now, state="queued", placement=None, exit_codes=codes, ended_at=now,
                num_preemptions=row.num_preemptions + 1,
            )  # fmt: skip
            return Step(row=back, code="task.preempted", message=row.message, exited="stopped")


def _failed(row: TaskRow, codes: list[int | None], now: float) -> Step:
    num = row.num_failures + 1
    if num > row.spec.retries:
        ended = _change(
            row, now, state="failed", exit_codes=codes, ended_at=now, num_failures=num, placement=None
        )  # fmt: skip
        return Step(row=ended, code="task.failed", message=row.message, exited="failed")
    wait_s = min(BACKOFF_MAX_S, BACKOFF_FIRST_S * 2.0 ** min(num - 1, 10))
    back = _change(
        row, now, state="queued", placement=None, exit_codes=codes, ended_at=now, num_failures=num,
        retry_at=now + wait_s,
    )  # fmt: skip
    words = f"{row.message}; retry {num} of {row.spec.retries} in {wait_s:g} s"
    return Step(row=back, code="task.retried", message=words, exited="failed")


def running_row(row: TaskRow, now: float) -> TaskRow:
    """All its ranks run."""
    return _change(row, now, state="running")


def ranks(row: TaskRow, listed: Sequence[ProcessStatus]) -> dict[int, ProcessStatus]:
    """The processes of this attempt, by rank."""
    found: dict[int, ProcessStatus] = {}
    for status in listed:
        labels = status.labels
        if labels.get("generation") == str(row.generation) and labels.get("attempt") == str(row.attempt):
            found[int(labels["rank"])] = status
    return found


def _change(row: TaskRow, now: float, **fields: object) -> TaskRow:
    return msgspec.structs.replace(row, since=now, **fields)


def _exit_code(status: ProcessStatus | None) -> int | None:
    """Negative for a signal; None while it runs or where it is not known."""
    if status is None or status.state != "exited":
        return None
    return -status.signal if status.signal is not None else status.exit_code


def _how(status: ProcessStatus) -> str:
    if status.signal is not None:
        return f"was ended by signal {status.signal}"
    return f"ended with exit code {status.exit_code}"
