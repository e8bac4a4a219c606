"""The agent's side of the sentinel: starts it, tells it the live groups, starts it again when it dies."""

import logging
import os
import subprocess
import sys

_log = logging.getLogger(__name__)


class Guard:
    """Keeps one sentinel alive. Not a context manager: it ends with `close()`, or with the agent."""

    def __init__(self, marker: str) -> None:
        self._marker = marker
        self._groups: dict[int, int] = {}
        self._process: subprocess.Popen[bytes] | None = None
        self._pipe = -1

    @property
    def pid(self) -> int:
        return self._process.pid if self._process is not None else 0

    def start(self) -> None:
        """A fresh sentinel that knows every live group."""
        if self._pipe >= 0:
            os.close(self._pipe)
        read_fd, self._pipe = os.pipe2(os.O_CLOEXEC)
        os.set_blocking(self._pipe, False)
        argv = [sys.executable, "-m", "roadbed.runtime.local.sentinel", self._marker]
        try:
            self._process = subprocess.Popen(
                argv, stdin=read_fd, stdout=subprocess.DEVNULL, start_new_session=True, cwd="/"
            )
        finally:
            os.close(read_fd)
        for pgid, ticks in self._groups.items():
            self._tell(f"+{pgid} {ticks}\n")

    def add(self, pgid: int, ticks: int) -> None:
        self._groups[pgid] = ticks
        self._tell(f"+{pgid} {ticks}\n")

    def remove(self, pgid: int) -> None:
        if self._groups.pop(pgid, None) is not None:
            self._tell(f"-{pgid}\n")

    def reap(self) -> None:
        """Called on SIGCHLD: replaces a sentinel that died."""
        if self._process is not None and self._pipe >= 0 and self._process.poll() is not None:
            _log.warning("sentinel died (%s); starting another", self._process.returncode)
            self.start()

    def close(self, timeout_s: float = 5.0) -> None:
        """The sentinel sees end of file, ends what is still listed, and exits."""
        if self._pipe >= 0:
            os.close(self._pipe)
            self._pipe = -1
        if self._process is not None:
            try:
                self._process.wait(timeout_s)
            except subprocess.TimeoutExpired:
                _log.warning("sentinel does not end; killing it")
                self._process.kill()
                self._process.wait()
            self._process = None

    def _tell(self, line: str) -> None:
        if self._pipe < 0:
            return
        try:
            os.write(self._pipe, line.encode())
        except BrokenPipeError:
            _log.warning("sentinel is gone; its successor will be told")  # reap() follows with SIGCHLD
        except BlockingIOError:
            _log.warning("sentinel does not read; replacing it")
            if self._process is not None:
                self._process.kill()
