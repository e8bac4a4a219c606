"""One child of the agent from start to exit: its output pump, its stop timer, its exact end.

The group is killed while its leader is still a zombie: as long as the leader is not reaped its number belongs to
nobody else, so no signal of ours can reach a stranger.
"""

import asyncio
import logging
import os
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

from roadbed.errors import RuntimeFailure
from roadbed.runtime.base import ProcessSpec, ProcessState, ProcessStatus
from roadbed.runtime.local.logs import RotatingLog, tail
from roadbed.runtime.local.procfs import start_ticks

READ_BYTES = 2**16
KILL_WAIT_S = 10.0
"""How long a process may take to vanish after SIGKILL (it can hang in the kernel on a dead device)."""

_log = logging.getLogger(__name__)


class Process:
    """A running or exited child. All methods run on the agent's loop."""

    def __init__(self, spec: ProcessSpec, process: subprocess.Popen[bytes], output_fd: int, log_dir: Path) -> None:
        self.spec = spec
        self.pid = process.pid
        self.ticks = start_ticks(process.pid) or 0
        self.started_at = time.time()
        self.started_monotonic_s = time.monotonic()
        self.exited = asyncio.Event()
        self._process = process
        self._loop = asyncio.get_running_loop()
        self._state: ProcessState = "running"
        self._exited_at: float | None = None
        self._output = RotatingLog(log_dir)
        self._num_output_bytes = 0
        self._kill_timer: asyncio.TimerHandle | None = None
        self._output_fd = output_fd
        self._output.write(f"--- {spec.name} started, pid {self.pid}, {_utc(self.started_at)}\n".encode())
        self._loop.add_reader(output_fd, self._pump)

    @property
    def state(self) -> ProcessState:
        return self._state

    def status(self) -> ProcessStatus:
        """What `list` says of it; exit code and signal exclude each other."""
        code = self._process.returncode
        return ProcessStatus(
            name=self.spec.name,
            pid=self.pid,
            state=self._state,
            started_at=self.started_at,
            exited_at=self._exited_at,
            exit_code=code if code is not None and code >= 0 else None,
            signal=-code if code is not None and code < 0 else None,
            labels=self.spec.labels,
            log_path=str(self._output.path),
        )

    def log_tail(self, num_bytes: int) -> bytes:
        """Output of this run only: an earlier run's last words must not explain this one's end."""
        return tail(self._output.directory, min(num_bytes, self._num_output_bytes))

    async def stop(self, grace_s: float | None) -> None:
        """SIGTERM, grace, SIGKILL; returns once it is gone. Called again, the shorter grace wins."""
        grace_s = self.spec.stop_grace_s if grace_s is None else grace_s
        if self.exited.is_set():
            return
        if self._state == "running":
            self._state = "stopping"
            self._signal(signal.SIGTERM)
        due = self._loop.time() + grace_s
        if self._kill_timer is None or due < self._kill_timer.when():
            if self._kill_timer is not None:
                self._kill_timer.cancel()
            self._kill_timer = self._loop.call_at(due, self._signal, signal.SIGKILL)
        try:
            async with asyncio.timeout(grace_s + KILL_WAIT_S):
                await self.exited.wait()
        except TimeoutError:
            raise RuntimeFailure(
                f"{self.spec.name} (pid {self.pid}) is still there {KILL_WAIT_S:.0f} s after SIGKILL",
                hint=f"ps -o pid,stat,wchan:32,args -p {self.pid}",
            ) from None

    def reap(self, on_exit: Callable[["Process"], None]) -> None:
        """Looks whether the child ended; if so ends its group, saves its last output and calls `on_exit`."""
        if self.exited.is_set() or os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None:
            return
        self._signal(signal.SIGKILL)  # what the leader left behind
        self._process.poll()
        self._exited_at = time.time()
        self._state = "exited"
        if self._kill_timer is not None:
            self._kill_timer.cancel()
        while self._pump():
            pass
        self._close_output()
        self._output.close()
        self.exited.set()
        on_exit(self)

    def _signal(self, number: signal.Signals) -> None:
        try:
            os.killpg(self.pid, number)
        except (ProcessLookupError, PermissionError) as error:
            _log.info("%s: %s not delivered: %s", self.spec.name, number.name, error)

    def _pump(self) -> bool:
        """Moves one piece of output into the log; False when there is nothing more at the moment."""
        if self._output_fd < 0:
            return False
        try:
            data = os.read(self._output_fd, READ_BYTES)
        except BlockingIOError:
            return False
        if not data:
            self._close_output()
            return False
        self._num_output_bytes += len(data)
        self._output.write(data)
        return True

    def _close_output(self) -> None:
        if self._output_fd >= 0:
            self._loop.remove_reader(self._output_fd)
            os.close(self._output_fd)
            self._output_fd = -1


def _utc(at: float) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(at))
