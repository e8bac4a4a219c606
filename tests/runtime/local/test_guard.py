import os
import signal

import pytest

from roadbed.runtime.local.guard import Guard
from roadbed.runtime.local.procfs import start_ticks
from tests.runtime.local.conftest import alive, eventually


def spawn_sleeper() -> int:
    return os.spawnvp(os.P_NOWAIT, "setsid", ["setsid", "sleep", "100"])


def test_a_dead_sentinel_is_replaced_and_its_successor_knows_the_groups() -> None:
    guard = Guard("ROADBED_AGENT=test-guard")
    guard.start()
    pid = spawn_sleeper()
    eventually(lambda: os.getpgid(pid) == pid)
    guard.add(pid, start_ticks(pid) or 0)
    first = guard.pid
    os.kill(first, signal.SIGKILL)
    eventually(lambda: not alive(first))
    guard.reap()
    assert guard.pid != first
    guard.close()
    assert os.waitpid(pid, 0)[1] == signal.SIGTERM


def test_a_removed_group_is_left_alone() -> None:
    guard = Guard("ROADBED_AGENT=test-guard")
    guard.start()
    pid = spawn_sleeper()
    eventually(lambda: os.getpgid(pid) == pid)
    guard.add(pid, start_ticks(pid) or 0)
    guard.remove(pid)
    guard.remove(pid)
    guard.close()
    assert alive(pid)
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)


def test_a_sentinel_that_does_not_read_never_blocks_the_agent() -> None:
    guard = Guard("ROADBED_AGENT=test-guard")
    guard.start()
    stuck = guard.pid
    os.kill(stuck, signal.SIGSTOP)
    for number in range(2**22 + 1, 2**22 + 20_000):
        guard.add(number, 1)
        guard.remove(number)
    eventually(lambda: not alive(stuck))
    guard.reap()
    assert guard.pid != stuck
    guard.close()


def test_telling_a_sentinel_that_is_gone_is_no_error(caplog: pytest.LogCaptureFixture) -> None:
    guard = Guard("ROADBED_AGENT=test-guard")
    guard.start()
    os.kill(guard.pid, signal.SIGKILL)
    eventually(lambda: not alive(guard.pid))
    guard.add(2**22 + 1, 1)
    assert "successor" in caplog.text
    guard.close()


def test_a_stuck_sentinel_does_not_outlive_the_agent() -> None:
    guard = Guard("ROADBED_AGENT=test-guard")
    guard.start()
    stuck = guard.pid
    os.kill(stuck, signal.SIGSTOP)
    guard.close(timeout_s=0.1)
    assert not alive(stuck)
