"""How everybody else reaches the agent: `LocalRuntime` (async, for control), `SyncAgent` and `start_agent` (CLI).

One connection per call: a Unix-socket connect costs microseconds, an answer can't be mixed up with another's, and an
agent that was restarted in between is simply found again.
"""

import asyncio
import json
import os
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import TypeVar

import msgspec

from roadbed.errors import NotFoundError, RoadbedError, RuntimeFailure, UnreachableError
from roadbed.home import Home
from roadbed.runtime.base import ProcessSpec, ProcessStatus
from roadbed.runtime.local import protocol
from roadbed.runtime.local.logs import tail

CALL_TIMEOUT_S = 10.0
STOP_TIMEOUT_S = 60.0
START_TIMEOUT_S = 15.0

T = TypeVar("T")


class LocalRuntime:
    """`runtime.base.Runtime` on this machine. Raises UnreachableError when no agent answers."""

    def __init__(self, home: Home) -> None:
        self._home = home

    async def start(self, spec: ProcessSpec) -> ProcessStatus:
        return await self._call(protocol.Start(spec), ProcessStatus)

    async def stop(self, name: str, *, grace_s: float | None = None) -> ProcessStatus:
        """Returns once the process is gone; the time limit covers its grace."""
        return await self._call(protocol.Stop(name, grace_s), ProcessStatus, timeout_s=(grace_s or 0.0) + 120.0)

    async def list(self) -> list[ProcessStatus]:
        return await self._call(protocol.List(), list[ProcessStatus])

    async def forget(self, name: str) -> None:
        await self._call(protocol.Forget(name), type(None))

    async def log_tail(self, name: str, *, num_bytes: int = 16_384) -> bytes:
        return await self._call(protocol.LogTail(name, num_bytes), bytes)

    async def ping(self) -> protocol.AgentInfo:
        return await self._call(protocol.Ping(), protocol.AgentInfo)

    async def _call(self, request: protocol.Request, kind: type[T], timeout_s: float = CALL_TIMEOUT_S) -> T:
        try:
            async with asyncio.timeout(timeout_s):
                with protocol.short_path(self._home.agent_socket) as address:
                    reader, writer = await asyncio.open_unix_connection(address, limit=protocol.MAX_REPLY_BYTES)
                try:
                    writer.write(_line(request))
                    line = await reader.readline()
                finally:
                    writer.close()
                    await writer.wait_closed()
        except (OSError, TimeoutError) as error:
            raise _unreachable(self._home, error) from error
        return _result(self._home, line, kind)


class SyncAgent:
    """The same questions for code without an event loop."""

    def __init__(self, home: Home) -> None:
        self._home = home

    def ping(self) -> protocol.AgentInfo:
        return self._call(protocol.Ping(), protocol.AgentInfo)

    def list(self) -> list[ProcessStatus]:
        return self._call(protocol.List(), list[ProcessStatus])

    def start(self, spec: ProcessSpec) -> ProcessStatus:
        return self._call(protocol.Start(spec), ProcessStatus)

    def forget(self, name: str) -> None:
        self._call(protocol.Forget(name), type(None))

    def stop(self, name: str, *, grace_s: float | None = None) -> ProcessStatus:
        return self._call(protocol.Stop(name, grace_s), ProcessStatus, timeout_s=(grace_s or 0.0) + 120.0)

    def log_tail(self, name: str, *, num_bytes: int = 16_384) -> bytes:
        """Works without an agent too: the log files are still there."""
        try:
            return self._call(protocol.LogTail(name, num_bytes), bytes)
        except UnreachableError:
            directory = self._home.logs / protocol.check_process_name(name)
            if not directory.is_dir():
                raise NotFoundError(f"no log named {name}", hint="roadbed ps", field="name") from None
            return tail(directory, num_bytes)

    def shutdown(self, *, timeout_s: float = STOP_TIMEOUT_S) -> None:
        """Returns once every process and the agent itself are gone. Raises UnreachableError, RuntimeFailure."""
        deadline = time.monotonic() + timeout_s
        pid = self.ping().pid
        self._call(protocol.Shutdown(), type(None), timeout_s=timeout_s)
        while Path(f"/proc/{pid}").exists() and not _is_zombie(pid):
            if time.monotonic() > deadline:
                raise RuntimeFailure(
                    f"the agent (pid {pid}) stopped its processes but is still there", hint=f"kill {pid}"
                )
            time.sleep(0.02)

    def _call(self, request: protocol.Request, kind: type[T], timeout_s: float = CALL_TIMEOUT_S) -> T:
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as link:
                link.settimeout(timeout_s)
                with protocol.short_path(self._home.agent_socket) as address:
                    link.connect(address)
                link.sendall(_line(request))
                with link.makefile("rb") as file:
                    line = file.readline(protocol.MAX_REPLY_BYTES)
        except OSError as error:
            raise _unreachable(self._home, error) from error
        return _result(self._home, line, kind)


def start_agent(home: Home, control_argv: list[str], env: dict[str, str] | None = None) -> protocol.AgentInfo:
    """Starts the detached agent of this home and waits until its socket answers.

    `env` is added to the environment of the agent and so of control; an empty `control_argv` means no control. Raises
    ConflictError naming the pid when one runs already, RuntimeFailure when it can't start.
    """
    read_fd, write_fd = os.pipe2(os.O_CLOEXEC)
    argv = [sys.executable, "-m", "roadbed.runtime.local.agent", "--home", str(home.root), "--detach"]
    argv += ["--ready-fd", str(write_fd), "--control-argv", json.dumps(control_argv)]
    try:
        try:
            launcher = subprocess.Popen(
                argv,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                env={**os.environ, **(env or {})},
                cwd="/",
                pass_fds=(write_fd,),
            )
        finally:
            os.close(write_fd)
        answer = _read_all(read_fd, START_TIMEOUT_S)
        launcher.wait(START_TIMEOUT_S)
    finally:
        os.close(read_fd)
    if answer == b"ok":
        return SyncAgent(home).ping()
    if answer:
        protocol.decode_reply(answer)
    last_words = tail(home.logs / "agent", 2000).decode(errors="replace").strip().splitlines()
    reason = last_words[-1] if last_words else "it left no log"
    raise RuntimeFailure(f"the agent did not start: {reason}", hint=f"tail {home.logs / 'agent' / 'current.log'}")


def _read_all(fd: int, timeout_s: float) -> bytes:
    deadline = time.monotonic() + timeout_s
    os.set_blocking(fd, False)
    parts: list[bytes] = []
    while time.monotonic() < deadline:
        try:
            part = os.read(fd, 4096)
        except BlockingIOError:
            time.sleep(0.002)
            continue
        if not part:
            break
        parts.append(part)
    return b"".join(parts)


def _line(request: protocol.Request) -> bytes:
    return msgspec.json.encode(request) + b"\n"


def _result(home: Home, line: bytes, kind: type[T]) -> T:
    if not line.endswith(b"\n"):
        raise _unreachable(home, "it closed the connection")
    try:
        return msgspec.json.decode(protocol.decode_reply(line), type=kind)
    except msgspec.DecodeError as error:
        raise RuntimeFailure(f"the agent's answer does not fit this version: {error}", hint="roadbed down") from error


def _unreachable(home: Home, reason: object) -> RoadbedError:
    return UnreachableError(f"no agent answers in {home.root}: {reason}", hint="roadbed up")


def _is_zombie(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()[0] == b"Z"
    except OSError:
        return True
