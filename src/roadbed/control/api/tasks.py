"""/api/tasks: what runs to an end."""

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query

from roadbed.control.api.common import ACTOR, NamePath, StateDep, View, errors, require_admin
from roadbed.control.api.events import EventView
from roadbed.control.services.pool import TaskStory, explain_task
from roadbed.control.services.task import delete_task, require_task, stop_task
from roadbed.control.store.task import TaskRow, list_tasks

router = APIRouter(tags=["tasks"], dependencies=[Depends(require_admin)])
MAX_TASKS = 10_000


class SlotView(View):
    node: str
    devices: list[int]
    process: str
    """Name of its process and log."""


class TaskView(View):
    name: str
    spec: dict[str, Any]
    generation: int
    state: str
    wanted: str
    reason: str
    message: str
    attempt: int
    num_failures: int
    num_preemptions: int
    exit_codes: list[int | None]
    """Per rank; negative for a signal, null while it runs."""
    slots: list[SlotView]
    """Where each rank runs, in rank order."""
    processes: list[str]
    """Names of the last attempt's processes and logs, in rank order; their logs stay when they have ended."""
    since: float
    submitted_at: float
    started_at: float | None
    ended_at: float | None
    retry_at: float | None
    created_at: float


class TasksView(View):
    tasks: list[TaskView]


class StepView(View):
    left: int
    text: str


class WhyView(View):
    reason: str
    message: str
    position: int
    num_waiting: int
    funnel: list[StepView]
    victims: list[str]
    expected_at: float | None
    error_s: float


class TaskStoryView(View):
    task: str
    state: str
    summary: str
    waiting: WhyView | None
    events: list[EventView]


@router.get("/tasks", response_model=TasksView, responses=errors())
def get_tasks(
    state: StateDep,
    all: Annotated[bool, Query(description="Those that have ended too.")] = True,
    limit: Annotated[int, Query(ge=1, le=MAX_TASKS)] = 1000,
) -> dict[str, Any]:
    """The newest tasks, oldest submission first."""
    with state.store.read() as connection:
        rows = list_tasks(connection, active=not all, limit=limit)
    return {"tasks": [view(state, row) for row in rows]}


@router.get("/tasks/{name}", response_model=TaskView, responses=errors(404))
def get_one_task(state: StateDep, name: NamePath) -> dict[str, Any]:
    with state.store.read() as connection:
        return view(state, require_task(connection, name))


@router.get("/tasks/{name}/explain", response_model=TaskStoryView, responses=errors(404))
def get_explain_task(
    state: StateDep, name: NamePath, events: Annotated[int, Query(ge=1, le=1000)] = 50
) -> dict[str, Any]:
    """Why it is as it is: the constraints that left it no place, who could make room, when it may start."""
    story: TaskStory = explain_task(state, name, num_events=events)
    waiting = None
    if story.waiting is not None:
        fields = {field: getattr(story.waiting, field) for field in story.waiting.__struct_fields__}
        waiting = {**fields, "funnel": [{"left": left, "text": text} for left, text in story.waiting.funnel]}
    return {
        "task": story.task,
        "state": story.state,
        "summary": story.summary,
        "waiting": waiting,
        "events": story.events,
    }


@router.post("/tasks/{name}/stop", response_model=TaskView, responses=errors(404))
def post_stop(state: StateDep, name: NamePath) -> dict[str, Any]:
    """SIGTERM, its grace period, SIGKILL; it is not queued again."""
    return view(state, stop_task(state.store, name, ACTOR))


@router.delete("/tasks/{name}", response_model=TaskView, responses=errors(404, 409))
def remove_task(state: StateDep, name: NamePath) -> dict[str, Any]:
    """Takes an ended task off the lists; its logs stay."""
    return view(state, delete_task(state.store, name, ACTOR))


def view(state: StateDep, row: TaskRow) -> dict[str, Any]:
    """A task as answers show it: its row, and where each rank runs."""
    fields = {field: getattr(row, field) for field in row.__struct_fields__}
    slots = row.placement.slots if row.placement is not None else ()
    nodes = state.pool.nodes
    where = [
        {"node": nodes[slot.node].name, "devices": list(slot.devices), "process": row.process(rank)}
        for rank, slot in enumerate(slots)
    ]
    processes = [row.process(rank) for rank in range(len(row.exit_codes))]
    spec = row.spec.model_dump(mode="json", by_alias=True)
    return {**fields, "spec": spec, "slots": where, "processes": processes}
