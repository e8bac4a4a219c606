"""The agent: a small daemon that starts, watches, stops and reaps every process of one ROADBED_HOME.

`python -m roadbed.runtime.local.agent --home DIR [--control-argv JSON]`. It keeps `control` alive and does everything
else only when asked over run/agent.sock. One thread, no state on disk: what it knows dies with it, and the sentinel
sees to it that its processes die too, so a fresh agent never has to guess.

Exit codes: 0 stopped on purpose, 4 another agent holds this home, 1 anything else.
"""

import argparse
import asyncio
import fcntl
import logging
import os
import signal
import sys
import time
from pathlib import Path

import msgspec

import roadbed
from roadbed.errors import ConflictError, RoadbedError, RuntimeFailure, UsageError
from roadbed.home import Home
from roadbed.runtime.local import protocol
from roadbed.runtime.local.guard import Guard
from roadbed.runtime.local.keeper import Keeper
from roadbed.runtime.local.logs import RotatingLog
from roadbed.runtime.local.procfs import start_ticks
from roadbed.runtime.local.table import MARKER, ProcessTable

MAX_CONNECTIONS = 256

_log = logging.getLogger(__name__)


class Agent:
    """Everything the daemon is, once it holds the lock. `run()` returns when it was told to stop."""

    def __init__(self, home: Home, control_argv: tuple[str, ...] | None) -> None:
        marker_value = f"{os.getpid()}-{start_ticks(os.getpid())}"
        self._home = home
        self._started_at = time.time()
        self._guard = Guard(f"{MARKER}={marker_value}")
        self._table = ProcessTable(home, self._guard, marker_value)
        env = {"ROADBED_HOME": str(home.root)}
        self._keeper = Keeper(self._table, control_argv, env) if control_argv else None
        self._keeping: asyncio.Task[None] | None = None
        self._stopping = asyncio.Event()
        self._connections: set[asyncio.Task[None]] = set()

    async def run(self, ready_fd: int) -> None:
        """Serves until SIGTERM, SIGINT or a shutdown request; then stops every process and returns."""
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGCHLD, self._on_child)
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stopping.set)
        self._guard.start()
        server = await self._listen()
        if self._keeper is not None:
            self._keeping = asyncio.create_task(self._keeper.run())
        if ready_fd >= 0:
            os.write(ready_fd, b"ok")
            os.close(ready_fd)
        try:
            await self._stopping.wait()
        finally:
            await self._close()
            server.close()
            self._home.agent_socket.unlink(missing_ok=True)
            for task in self._connections:
                task.cancel()
            await asyncio.gather(*self._connections, return_exceptions=True)
            self._guard.close()

    async def _listen(self) -> asyncio.Server:
        path = self._home.agent_socket
        path.unlink(missing_ok=True)  # we hold the lock: whoever bound it is dead
        old_umask = os.umask(0o177)
        try:
            with protocol.short_path(path) as address:
                return await asyncio.start_unix_server(self._accept, address, limit=protocol.MAX_REQUEST_BYTES)
        finally:
            os.umask(old_umask)

    async def _close(self) -> None:
        if self._keeping is not None:
            self._keeping.cancel()
            await asyncio.gather(self._keeping, return_exceptions=True)
            self._keeping = None
        await self._table.close()

    def _on_child(self) -> None:
        self._guard.reap()
        self._table.reap()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._connections.add(task)
        try:
            if len(self._connections) > MAX_CONNECTIONS:
                error = RuntimeFailure(f"the agent has {MAX_CONNECTIONS} connections already; close some")
                writer.write(protocol.encode_error(error))
            else:
                await self._serve(reader, writer)
        except (ConnectionError, asyncio.CancelledError):
            pass  # the client left, or we are stopping: nobody to tell
        finally:
            self._connections.discard(task)
            writer.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            try:
                line = await reader.readline()
            except ValueError:
                error = UsageError(f"a request is longer than {protocol.MAX_REQUEST_BYTES} bytes")
                writer.write(protocol.encode_error(error))
                await writer.drain()
                return  # the rest of the line can't be told from the next request
            if not line.endswith(b"\n"):
                return
            request = None
            try:
                request = protocol.decode_request(line)
                reply = protocol.encode_ok(await self._answer(request))
            except RoadbedError as error:
                reply = protocol.encode_error(error)
            except Exception as error:  # noqa: BLE001 - one broken request must not end every process of the node
                _log.exception("a request of %d bytes failed", len(line))  # its words may hold secrets
                reply = protocol.encode_error(RuntimeFailure(f"the agent failed: {error!r}"))
            writer.write(reply)
            await writer.drain()
            if isinstance(request, protocol.Shutdown):
                self._stopping.set()

    async def _answer(self, request: protocol.Request) -> protocol.Result:
        match request:
            case protocol.Start(spec):
                if spec.name == protocol.CONTROL:
                    raise ConflictError("control is the agent's own to start", hint="roadbed up")
                if not spec.argv or spec.stop_grace_s < 0:
                    raise UsageError(
                        f"{spec.name[:80]}: argv must not be empty, nor stop_grace_s negative", field="argv"
                    )
                return self._table.start(spec).status()
            case protocol.Stop(name, grace_s):
                return await self._table.stop(name, None if grace_s is None else max(0.0, grace_s))
            case protocol.List():
                return self._table.list()
            case protocol.Forget(name):
                self._table.forget(name)
            case protocol.LogTail(name, num_bytes):
                return self._table.log_tail(name, max(0, min(num_bytes, protocol.MAX_TAIL_BYTES)))
            case protocol.Ping():
                return self._info()
            case protocol.Shutdown():
                await self._close()
        return None

    def _info(self) -> protocol.AgentInfo:
        return protocol.AgentInfo(
            pid=os.getpid(),
            version=roadbed.__version__,
            started_at=self._started_at,
            home=str(self._home.root),
            num_processes=self._table.num_live,
            num_control_restarts=self._keeper.num_restarts if self._keeper else 0,
        )


def take_lock(home: Home) -> int:
    """The held lock's descriptor, with our pid written into it. Raises ConflictError naming the holder."""
    fd = os.open(home.agent_lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        holder = os.read(fd, 32).decode("ascii", "replace").strip() or "unknown"
        os.close(fd)
        raise ConflictError(
            f"Roadbed already runs in {home.root} (agent pid {holder})", hint="roadbed status, or roadbed down"
        ) from None
    os.ftruncate(fd, 0)
    os.pwrite(fd, f"{os.getpid()}\n".encode(), 0)
    return fd


class _LogStream:
    """What logging writes to: the agent's own rotated log."""

    def __init__(self, log: RotatingLog) -> None:
        self._log = log

    def write(self, text: str) -> None:
        self._log.write(text.encode())

    def flush(self) -> None:
        pass


def _arguments(argv: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="roadbed-agent", description="Runs the processes of one ROADBED_HOME.")
    parser.add_argument("--home", required=True, type=Path)
    parser.add_argument("--control-argv", help="JSON array: command line of the process to keep alive")
    parser.add_argument("--detach", action="store_true", help="fork into the background")
    parser.add_argument("--ready-fd", type=int, default=-1, help='descriptor told "ok" once the socket answers')
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> int:
    """Runs the agent of one home, detached if asked; returns the exit code. `--ready-fd` hears ok or the error."""
    arguments = _arguments(sys.argv[1:] if argv is None else argv)
    home = Home(arguments.home.resolve())
    if arguments.detach:
        if os.fork():
            os._exit(0)
        os.setsid()
    try:
        control = arguments.control_argv
        control_argv = msgspec.json.decode(control, type=tuple[str, ...]) if control else None
        home.create()
        lock_fd = take_lock(home)
    except (RoadbedError, OSError, msgspec.DecodeError) as error:
        message = error if isinstance(error, RoadbedError) else RuntimeFailure(f"the agent can't start: {error}")
        if arguments.ready_fd >= 0:
            os.write(arguments.ready_fd, protocol.encode_error(message))
        sys.stderr.write(f"error[{message.code}]: {message}\n")
        return message.exit_code
    stream = _LogStream(RotatingLog(home.logs / "agent"))
    logging.basicConfig(stream=stream, level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    try:
        asyncio.run(Agent(home, control_argv).run(arguments.ready_fd))
    except Exception:
        _log.exception("the agent failed")
        raise
    finally:
        os.close(lock_fd)
    return 0


if __name__ == "__main__":
    sys.exit(main())
