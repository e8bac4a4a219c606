"""What an action does to a replica's row, and the event that tells of it. Pure: the executor and the tests share it."""

from typing import Any

import msgspec

from roadbed.control.reconcilers.actions import (
    Adopt,
    CreateReplica,
    Drain,
    Fail,
    Pull,
    Ready,
    Retry,
    RowAction,
    Start,
    Stop,
    Wait,
)
from roadbed.control.store.replica import ReplicaRow
from roadbed.control.store.service import ServiceRow


class Story(msgspec.Struct, frozen=True, kw_only=True):
    """The event an action leaves: a stable code, a sentence, numbers."""

    code: str
    message: str
    data: dict[str, Any] = {}


def create_row(action: CreateReplica, service: ServiceRow, slot: int, now: float) -> ReplicaRow:
    """The row of a replica that is about to begin its life."""
    return ReplicaRow(
        id=action.replica,
        service=service.name,
        generation=service.generation,
        spec=service.spec,
        idx=action.idx,
        slot=slot,
        since=now,
        created_at=now,
    )


def move(row: ReplicaRow, action: RowAction, now: float, *, port: int = 0) -> ReplicaRow:
    """The row after the action; `port` is where a started engine will listen."""
    change: dict[str, Any]
    match action:
        case Wait():
            return msgspec.structs.replace(row, reason=action.reason, message=action.message)
        case Adopt():
            return row
        case Pull():
            change = {"state": "pulling", "placement": action.placement or row.placement}
        case Start():
            process = "" if row.is_external else f"service-{row.id}"
            placement = action.placement or row.placement
            change = {"state": "starting", "process": process, "port": port, "retry_at": None, "placement": placement}
        case Ready():
            change = {"state": "ready", "capacity": action.capacity, "ready_at": now}
        case Fail():
            change = {"state": "failed", "reason": action.reason, "message": action.message}
            change |= {"restarts": action.restarts, "retry_at": action.retry_at, "ready_at": None}
        case Retry():
            # What went wrong last stays readable until it is ready again.
            return msgspec.structs.replace(row, state="pending", since=now, retry_at=None)
        case Drain():
            change = {"state": "draining", "reason": "", "message": action.reason}
        case Stop():
            change = {"state": "stopping", "reason": "", "message": action.reason}
    return msgspec.structs.replace(row, since=now, **({"reason": "", "message": ""} | change))


def tell(row: ReplicaRow, action: RowAction, now: float) -> Story:
    """The event of an action on the row as it was before."""
    match action:
        case Wait():
            return Story(code=f"replica.{action.reason}", message=f"waits: {action.message}")
        case Adopt():
            return Story(code="replica.adopted", message="still ready from before; adopted, not restarted")
        case Pull():
            return Story(code="replica.pulling", message=f"fetches its model {action.model}")
        case Start():
            where = "asks the given URL" if row.is_external else f"starts with {action.threads} threads"
            return Story(code="replica.starting", message=where, data={"threads": action.threads})
        case Ready():
            data = {"after_s": round(now - row.since, 3), "capacity": msgspec.to_builtins(action.capacity)}
            return Story(code="replica.ready", message=f"ready after {now - row.since:.1f} s", data=data)
        case Fail():
            again = f"tried again in {action.retry_at - now:.1f} s"
            data = {"reason": action.reason, "restarts": action.restarts, "retry_at": action.retry_at}
            return Story(code="replica.failed", message=f"{action.message}; {again}", data=data)
        case Retry():
            what = f"tried again (failure {row.restarts})" if row.restarts else "started again"
            return Story(code="replica.retried", message=what)
        case Drain():
            return Story(code="replica.draining", message=f"drains: {action.reason}")
        case Stop():
            return Story(code="replica.stopping", message=f"stops: {action.reason}")
