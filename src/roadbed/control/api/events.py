"""/api/events: why things are as they are, page by page or as they happen (SSE)."""

import asyncio
import itertools
from collections.abc import AsyncIterator
from typing import Annotated, Any

import msgspec
from fastapi import APIRouter, Depends, Query, Request
from fastapi.responses import StreamingResponse
from starlette.concurrency import run_in_threadpool

from roadbed.control.api.common import StateDep, View, errors, require_admin
from roadbed.control.state import State
from roadbed.control.store.event import EventRow, list_events

router = APIRouter(tags=["events"], dependencies=[Depends(require_admin)])

PAGE = 200
HEARTBEAT_S = 10.0
MAX_SEQ = 2**53
_NUMBERS = itertools.count()

Seq = Annotated[int, Query(ge=0, le=MAX_SEQ, description="Only events numbered above this.")]
Word = Annotated[str | None, Query(pattern=r"^[A-Za-z0-9._:/=-]{1,200}$")]


class EventView(View):
    seq: int
    at: float
    actor: str
    noun: str
    name: str
    code: str
    message: str
    data: dict[str, Any]
    cause: int | None


class EventsView(View):
    events: list[EventView]
    next: int
    """Pass as `after` for the page that follows."""


@router.get("/events", response_model=EventsView, responses=errors())
def get_events(
    state: StateDep,
    after: Seq = 0,
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
    noun: Word = None,
    name: Word = None,
    newest: Annotated[bool, Query(description="The last page instead of the first.")] = False,
) -> dict[str, Any]:
    """Oldest first."""
    with state.store.read() as connection:
        rows = list_events(connection, after=after, limit=limit, noun=noun, name=name, newest=newest)
    return {"events": rows, "next": rows[-1].seq if rows else after}


@router.get(
    "/events/stream",
    response_class=StreamingResponse,
    responses={**errors(), 200: {"content": {"text/event-stream": {}}, "description": "Events as they happen"}},
)
async def stream_events(
    request: Request, state: StateDep, after: Seq = 0, noun: Word = None, name: Word = None
) -> StreamingResponse:
    """Server-sent events: `id` is the number, `event` the code, `data` the event as JSON; a comment as heartbeat."""
    last_id = request.headers.get("last-event-id", "")
    start = int(last_id) if last_id.isascii() and last_id.isdigit() and len(last_id) < 16 else after
    return StreamingResponse(_stream(state, start, noun, name), media_type="text/event-stream")


async def _stream(state: State, after: int, noun: str | None, name: str | None) -> AsyncIterator[bytes]:
    listener = f"events-{next(_NUMBERS)}"
    # Events of loops, gateways and usage commit under other topics; none may be missed.
    news = state.signals.listen(listener, "state", "usage")
    try:
        while True:
            news.clear()
            rows = await run_in_threadpool(_page, state, after, noun, name)
            for row in rows:
                yield b"id: %d\nevent: %s\ndata: %s\n\n" % (row.seq, row.code.encode(), msgspec.json.encode(row))
                after = row.seq
            if len(rows) == PAGE:
                continue
            try:
                async with asyncio.timeout(HEARTBEAT_S):
                    await news.wait()
            except TimeoutError:
                yield b": still here\n\n"
    finally:
        state.signals.forget(listener)


def _page(state: State, after: int, noun: str | None, name: str | None) -> list[EventRow]:
    with state.store.read() as connection:
        return list_events(connection, after=after, limit=PAGE, noun=noun, name=name)
