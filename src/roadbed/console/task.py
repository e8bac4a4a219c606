"""The page of one task: why it is as it is, what happened, and the last words of its ranks.

Asked of the control API when somebody opens it; it does not update itself, because a log that moves can't be read.
"""

from typing import Any

import msgspec

from roadbed.console.pool import TaskRow, task_row
from roadbed.console.view import EventView, duration, event_view
from roadbed.control.client import ControlClient
from roadbed.errors import RoadbedError

MAX_RANKS = 16
LOG_BYTES = 16_384
NUM_EVENTS = 100


class Log(msgspec.Struct, frozen=True):
    name: str
    text: str


class TaskPage(msgspec.Struct, frozen=True, kw_only=True):
    """What `task.html` places. starts_in: "" where nothing can be said."""

    task: TaskRow
    story: dict[str, Any]
    starts_in: str
    logs: list[Log]
    events: list[EventView]


def read_task(client: ControlClient, name: str, now: float) -> TaskPage:
    """Blocks; for a thread. Raises NotFoundError, UnreachableError."""
    row = client.task(name)
    story = client.explain_task(name, events=NUM_EVENTS)
    expected = (story["waiting"] or {}).get("expected_at")
    starts_in = "" if expected is None else f"{duration(expected - now)} ± {duration(story['waiting']['error_s'])}"
    return TaskPage(
        task=task_row(row, now),
        story=story,
        starts_in=starts_in,
        logs=[Log(process, _tail(client, process)) for process in row["processes"][:MAX_RANKS]],
        events=[event_view(event) for event in sorted(story["events"], key=lambda event: -event["seq"])],
    )


def _tail(client: ControlClient, process: str) -> str:
    try:
        return b"".join(client.logs(process, num_bytes=LOG_BYTES)).decode("utf-8", "replace")
    except RoadbedError as error:
        return error.message  # a rank that could not be started never wrote anything
