"""What agent and clients say to each other: one JSON object per line, one reply per request, in order.

Plain lines can be read with `nc -U` and need no library on either side; the price is base64 around log bytes. A line
is bounded, an unknown or broken one is answered with an error, and one connection carries one request at a time, so a
client that wants two answers at once opens two connections.
"""

import contextlib
import os
import re
from collections.abc import Iterator
from pathlib import Path

import msgspec

from roadbed.errors import ConflictError, NotFoundError, RoadbedError, RuntimeFailure, UsageError
from roadbed.runtime.base import ProcessSpec, ProcessStatus

MAX_REQUEST_BYTES = 2**20
MAX_REPLY_BYTES = 16 * 2**20
MAX_TAIL_BYTES = 4 * 2**20
CONTROL = "control"
"""Name of the one process the agent restarts by itself."""
RESERVED = frozenset({"agent", "sentinel"})

_NAME = re.compile(r"[a-z0-9](?:[a-z0-9._-]{0,61}[a-z0-9])?")


class Start(msgspec.Struct, frozen=True, tag_field="op", tag="start", forbid_unknown_fields=True):
    spec: ProcessSpec


class Stop(msgspec.Struct, frozen=True, tag_field="op", tag="stop", forbid_unknown_fields=True):
    name: str
    grace_s: float | None = None


class List(msgspec.Struct, frozen=True, tag_field="op", tag="list", forbid_unknown_fields=True):
    pass


class Forget(msgspec.Struct, frozen=True, tag_field="op", tag="forget", forbid_unknown_fields=True):
    name: str


class LogTail(msgspec.Struct, frozen=True, tag_field="op", tag="log_tail", forbid_unknown_fields=True):
    name: str
    num_bytes: int = 16_384


class Ping(msgspec.Struct, frozen=True, tag_field="op", tag="ping", forbid_unknown_fields=True):
    pass


class Shutdown(msgspec.Struct, frozen=True, tag_field="op", tag="shutdown", forbid_unknown_fields=True):
    """Stop every process, then the agent; answered when all processes are gone."""


Request = Start | Stop | List | Forget | LogTail | Ping | Shutdown
_decoder = msgspec.json.Decoder(Request)


class AgentInfo(msgspec.Struct, frozen=True, kw_only=True):
    """The agent's answer to a ping. Times are Unix seconds."""

    pid: int
    version: str
    started_at: float
    home: str
    num_processes: int
    num_control_restarts: int


class ErrorBody(msgspec.Struct, frozen=True, kw_only=True):
    code: str
    message: str
    hint: str | None = None
    field: str | None = None


class Reply(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Either `error` or `result` (whose type follows from the request)."""

    error: ErrorBody | None = None
    result: msgspec.Raw = msgspec.Raw(b"null")


Result = ProcessStatus | list[ProcessStatus] | AgentInfo | bytes | None

_ERRORS: dict[str, type[RoadbedError]] = {
    kind.code: kind for kind in (UsageError, NotFoundError, ConflictError, RuntimeFailure)
}


def encode_ok(result: Result) -> bytes:
    """A whole reply line."""
    return msgspec.json.encode(Reply(result=msgspec.Raw(msgspec.json.encode(result)))) + b"\n"


def encode_error(error: RoadbedError) -> bytes:
    """A whole reply line."""
    body = ErrorBody(code=error.code, message=error.message, hint=error.hint, field=error.field)
    return msgspec.json.encode(Reply(error=body)) + b"\n"


def decode_request(line: bytes) -> Request:
    """Raises UsageError on anything that is not exactly one request."""
    try:
        request: Request = _decoder.decode(line)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise UsageError(f"not a request of the agent: {error}") from error
    return request


def decode_reply(line: bytes) -> msgspec.Raw:
    """The result, still encoded. Raises the error the agent sent, or RuntimeFailure on a broken line."""
    try:
        reply = msgspec.json.decode(line, type=Reply)
    except msgspec.DecodeError as error:
        raise RuntimeFailure(f"the agent sent something that is not a reply: {error}") from error
    if reply.error is not None:
        kind = _ERRORS.get(reply.error.code, RuntimeFailure)
        raise kind(reply.error.message, hint=reply.error.hint, field=reply.error.field)
    return reply.result


def check_process_name(name: str) -> str:
    """Names become directory names: 1-63 of a-z 0-9 . _ -, beginning and ending with a letter or digit.

    Raises UsageError. (The same rule as spec names, without importing pydantic into the agent.)
    """
    if not _NAME.fullmatch(name) or name in RESERVED:
        raise UsageError(
            f"{name[:80]!r} is not a process name: use 1-63 of a-z, 0-9, '.', '_', '-', ends alphanumeric",
            field="name",
        )
    return name


@contextlib.contextmanager
def short_path(path: Path) -> Iterator[str]:
    """The path through /proc, so that a deep ROADBED_HOME does not hit the 107 bytes a socket address may have."""
    directory = os.open(path.parent, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{directory}/{path.name}"
    finally:
        os.close(directory)
