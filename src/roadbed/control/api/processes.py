"""GET /api/processes/{name}/logs: the last words of a process, and the next ones."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path as FilePath
from typing import Annotated

from fastapi import APIRouter, Depends, Path, Query
from fastapi.responses import Response, StreamingResponse
from starlette.concurrency import run_in_threadpool

from roadbed.control.api.common import StateDep, errors, require_admin
from roadbed.control.state import State
from roadbed.errors import NotFoundError
from roadbed.runtime.base import ProcessStatus

router = APIRouter(tags=["processes"], dependencies=[Depends(require_admin)])

FOLLOW_S = 0.25
MAX_TAIL_BYTES = 2**20
CHUNK_BYTES = 2**16


@router.get(
    "/processes/{name}/logs",
    response_class=Response,
    responses={**errors(404), 200: {"content": {"text/plain": {}}, "description": "Output, as it was written"}},
)
async def get_logs(
    state: StateDep,
    name: Annotated[str, Path(pattern=r"^[a-z0-9][a-z0-9._-]{0,99}$")],
    num_bytes: Annotated[int, Query(alias="bytes", ge=1, le=MAX_TAIL_BYTES)] = 65_536,
    follow: Annotated[bool, Query(description="Keep sending what is written, until the process ends.")] = False,
) -> Response:
    """The tail of a process's output; works after it ended."""
    tail = await state.runtime.log_tail(name, num_bytes=num_bytes)
    if not follow:
        return Response(tail, media_type="text/plain; charset=utf-8")
    status = await _status(state, name)
    return StreamingResponse(_follow(state, name, tail, status), media_type="text/plain; charset=utf-8")


async def _status(state: State, name: str) -> ProcessStatus:
    for status in await state.runtime.list():
        if status.name == name:
            return status
    raise NotFoundError(f"no process {name!r} runs; without follow its log is still there", hint=f"roadbed logs {name}")


async def _follow(state: State, name: str, tail: bytes, status: ProcessStatus) -> AsyncIterator[bytes]:
    path = FilePath(status.log_path)
    inode, offset = await run_in_threadpool(_end_of, path)
    yield tail
    while True:
        running = any(found.name == name and found.state != "exited" for found in await state.runtime.list())
        chunk, inode, offset = await run_in_threadpool(_read_on, path, inode, offset)
        if chunk:
            yield chunk
        elif not running:
            return
        else:
            await asyncio.sleep(FOLLOW_S)


def _end_of(path: FilePath) -> tuple[int, int]:
    try:
        stat = path.stat()
    except FileNotFoundError:
        return 0, 0
    return stat.st_ino, stat.st_size


def _read_on(path: FilePath, inode: int, offset: int) -> tuple[bytes, int, int]:
    """What was appended since; a rotated log begins again at its new file."""
    try:
        with path.open("rb") as file:
            found, size = _end_of(path)
            if found != inode or size < offset:
                inode, offset = found, 0
            file.seek(offset)
            chunk = file.read(CHUNK_BYTES)
    except FileNotFoundError:
        return b"", 0, 0
    return chunk, inode, offset + len(chunk)
