import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from roadbed.runtime.local import sentinel
from roadbed.runtime.local.procfs import start_ticks
from tests.runtime.local.conftest import eventually


def ignores_sigterm(pid: int) -> bool:
    ignored = int(Path(f"/proc/{pid}/status").read_text().split("SigIgn:")[1].split()[0], 16)
    return bool(ignored & (1 << (signal.SIGTERM - 1)))


@pytest.fixture
def group() -> "subprocess.Popen[bytes]":
    with subprocess.Popen(["sleep", "100"], start_new_session=True) as child:
        yield child
        child.kill()


def test_follow_knows_who_is_left_whatever_the_fragmentation() -> None:
    read_fd, write_fd = os.pipe()
    if os.fork() == 0:
        for byte in b"+10 1\n+20 2\n-10\nnoise\n+x\n+30 3\n":
            os.write(write_fd, bytes([byte]))
        os._exit(0)
    os.close(write_fd)
    assert sentinel.follow(read_fd) == {20: 2, 30: 3}
    os.close(read_fd)
    os.wait()


def test_a_group_whose_number_was_reused_is_left_alone(group: "subprocess.Popen[bytes]") -> None:
    assert not sentinel.signal_group(group.pid, (start_ticks(group.pid) or 0) + 1, signal.SIGKILL)
    assert group.poll() is None
    assert sentinel.signal_group(group.pid, start_ticks(group.pid) or 0, signal.SIGKILL)
    assert group.wait(5) == -signal.SIGKILL


def test_a_finished_group_is_over() -> None:
    with subprocess.Popen(["true"], start_new_session=True) as child:
        child.wait()
    assert not sentinel.signal_group(child.pid, 1, signal.SIGTERM)


def test_end_of_file_ends_the_groups_and_the_sentinel_ignores_sigterm(group: "subprocess.Popen[bytes]") -> None:
    argv = [sys.executable, "-m", "roadbed.runtime.local.sentinel", "ROADBED_AGENT=nobody"]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, start_new_session=True) as watcher:
        assert watcher.stdin is not None
        watcher.stdin.write(f"+{group.pid} {start_ticks(group.pid)}\n".encode())
        watcher.stdin.flush()
        eventually(lambda: ignores_sigterm(watcher.pid))
        watcher.send_signal(signal.SIGTERM)
        assert group.poll() is None
        watcher.stdin.close()
        assert group.wait(5) == -signal.SIGTERM
        assert watcher.wait(5) == 0


def test_a_group_that_ignores_sigterm_is_killed_after_the_grace(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sentinel, "GRACE_S", 0.1)
    argv = ["sh", "-c", "trap '' TERM; echo ready; while :; do sleep 100; done"]
    with subprocess.Popen(argv, start_new_session=True, stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        child.stdout.readline()
        sentinel.end_all({child.pid: start_ticks(child.pid) or 0}, b"ROADBED_AGENT=nobody")
        assert child.wait(5) == -signal.SIGKILL
