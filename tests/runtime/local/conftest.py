"""A real agent in a home of its own, ended with everything it runs whatever a test did to it."""

import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from roadbed.errors import RoadbedError
from roadbed.home import Home
from roadbed.runtime.local.client import SyncAgent, start_agent


def eventually(check: Callable[[], object], timeout_s: float = 10.0) -> None:
    """Waits for real processes: returns when `check()` is true, fails after the deadline."""
    deadline = time.monotonic() + timeout_s
    while not check():
        assert time.monotonic() < deadline, "did not happen in time"
        time.sleep(0.01)


def alive(pid: int) -> bool:
    """Runs, and is not a zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()[0] not in (b"Z", b"X")
    except OSError:
        return False


def num_open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path / "home")


@pytest.fixture
def start(home: Home) -> Iterator[Callable[..., SyncAgent]]:
    """Starts the agent of `home`; call it again after killing one."""
    pids: list[int] = []

    def begin(control_argv: list[str] | None = None, env: dict[str, str] | None = None) -> SyncAgent:
        pids.append(start_agent(home, control_argv or [], env).pid)
        return SyncAgent(home)

    yield begin
    try:
        SyncAgent(home).shutdown()
    except RoadbedError:
        for pid in pids:
            if alive(pid):
                os.kill(pid, signal.SIGKILL)
                eventually(lambda pid=pid: not alive(pid))


@pytest.fixture
def agent(start: Callable[..., SyncAgent]) -> SyncAgent:
    return start()
