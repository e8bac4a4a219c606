import fcntl
import json
import os
import signal
import socket
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from roadbed.errors import ConflictError, NotFoundError, RuntimeFailure, UsageError
from roadbed.home import Home
from roadbed.runtime.base import ProcessSpec
from roadbed.runtime.local import protocol
from roadbed.runtime.local.agent import main, take_lock
from roadbed.runtime.local.client import SyncAgent, start_agent
from tests.runtime.local.conftest import alive, eventually

FAMILY = "sh -c 'trap \"\" TERM; sleep 100 & echo $!; while :; do sleep 0.05; done' & echo $!; wait"
STRAY = "setsid sleep 100 & echo $!; sleep 100"


def pids_of(agent: SyncAgent, name: str, num: int) -> list[int]:
    eventually(lambda: len(agent.log_tail(name).split()) == num)
    return [int(pid) for pid in agent.log_tail(name).split()]


def control_pid(agent: SyncAgent) -> int:
    return next((s.pid for s in agent.list() if s.name == "control" and s.state == "running"), 0)


def raw(home: Home, data: bytes) -> bytes:
    """What the agent answers to these bytes, until it closes or has answered a line."""
    with socket.socket(socket.AF_UNIX) as link, protocol.short_path(home.agent_socket) as address:
        link.settimeout(5)
        link.connect(address)
        try:
            link.sendall(data)
            link.shutdown(socket.SHUT_WR)
        except BrokenPipeError:
            pass  # it answered and closed before we had said everything
        with link.makefile("rb") as file:
            return file.readline()


def test_kill_9_of_the_agent_leaves_no_process(start: Callable[..., SyncAgent]) -> None:
    agent = start(["sleep", "1000"])
    agent.start(ProcessSpec(name="family", argv=("sh", "-c", FAMILY)))
    agent.start(ProcessSpec(name="stray", argv=("sh", "-c", STRAY)))
    pids = [status.pid for status in agent.list()] + pids_of(agent, "family", 2) + pids_of(agent, "stray", 1)
    assert len(pids) == 6
    assert all(alive(pid) for pid in pids)
    os.kill(agent.ping().pid, signal.SIGKILL)
    eventually(lambda: not any(alive(pid) for pid in pids))


def test_a_fresh_agent_follows_a_killed_one(start: Callable[..., SyncAgent], home: Home) -> None:
    agent = start()
    first = agent.ping().pid
    os.kill(first, signal.SIGKILL)
    eventually(lambda: not alive(first))
    assert home.agent_socket.exists()
    assert start().ping().pid != first
    assert agent.list() == []


def test_control_comes_back_after_kill_9(start: Callable[..., SyncAgent], home: Home) -> None:
    agent = start(["sh", "-c", "echo home=$ROADBED_HOME extra=$EXTRA; exec sleep 1000"], {"EXTRA": "1"})
    for expected in range(3):
        eventually(lambda: control_pid(agent))
        assert agent.ping().num_control_restarts == expected
        eventually(lambda: agent.log_tail("control") == f"home={home.root} extra=1\n".encode())
        os.kill(control_pid(agent), signal.SIGKILL)
        eventually(lambda expected=expected: agent.ping().num_control_restarts == expected + 1)


def test_killing_control_touches_nobody_else(start: Callable[..., SyncAgent]) -> None:
    agent = start(["sleep", "1000"])
    pid = agent.start(ProcessSpec(name="engine", argv=("sleep", "1000"), labels={"service": "chat"})).pid
    old = control_pid(agent)
    os.kill(old, signal.SIGKILL)
    eventually(lambda: control_pid(agent) not in (0, old))
    (engine,) = [status for status in agent.list() if status.name == "engine"]
    assert (engine.pid, engine.state, engine.labels) == (pid, "running", {"service": "chat"})


def test_a_control_that_cannot_start_is_tried_again_and_the_agent_lives(start: Callable[..., SyncAgent]) -> None:
    agent = start(["/no/such/control"])
    eventually(lambda: agent.ping().num_control_restarts >= 2)
    with pytest.raises(ConflictError, match="agent's own"):
        agent.start(ProcessSpec(name="control", argv=("sleep", "9")))


def test_a_killed_sentinel_is_replaced_and_still_ends_everything(agent: SyncAgent) -> None:
    pid = agent.start(ProcessSpec(name="p", argv=("sleep", "1000"))).pid
    agent_pid = agent.ping().pid

    def sentinel() -> int:
        children = Path(f"/proc/{agent_pid}/task/{agent_pid}/children").read_text().split()
        named = [int(c) for c in children if b"sentinel" in Path(f"/proc/{c}/cmdline").read_bytes()]
        return named[0] if named else 0

    first = sentinel()
    os.kill(first, signal.SIGKILL)
    eventually(lambda: sentinel() not in (0, first))
    os.kill(agent_pid, signal.SIGKILL)
    eventually(lambda: not alive(pid))


def test_sigterm_stops_everything_and_leaves_nothing(start: Callable[..., SyncAgent], home: Home) -> None:
    agent = start(["sleep", "1000"])
    agent.start(ProcessSpec(name="p", argv=("sleep", "1000")))
    pids = [status.pid for status in agent.list()]
    pid = agent.ping().pid
    os.kill(pid, signal.SIGTERM)
    eventually(lambda: not alive(pid))
    assert not any(alive(child) for child in pids)
    assert not home.agent_socket.exists()


def test_shutdown_returns_when_all_is_gone(start: Callable[..., SyncAgent]) -> None:
    agent = start(["sleep", "1000"])
    pid, children = agent.ping().pid, [status.pid for status in agent.list()]
    agent.shutdown()
    assert not any(alive(p) for p in [pid, *children])


def test_a_second_agent_is_refused_by_name(agent: SyncAgent, home: Home) -> None:
    with pytest.raises(ConflictError, match=f"agent pid {agent.ping().pid}"):
        start_agent(home, [])
    argv = [sys.executable, "-m", "roadbed.runtime.local.agent", "--home", str(home.root)]
    second = subprocess.run(argv, capture_output=True, timeout=10)
    assert second.returncode == 4
    assert second.stderr.startswith(b"error[E_CONFLICT]: Roadbed already runs in")


def test_lock_and_socket_are_private(agent: SyncAgent, home: Home) -> None:
    for path in (home.agent_lock, home.agent_socket):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_the_lock_is_released_by_close(home: Home) -> None:
    home.create()
    fd = take_lock(home)
    assert home.agent_lock.read_text() == f"{os.getpid()}\n"
    with pytest.raises(ConflictError, match=str(os.getpid())):
        take_lock(home)
    os.close(fd)
    fd = take_lock(home)
    fcntl.flock(fd, fcntl.LOCK_UN)
    os.close(fd)


def test_a_bad_command_line_ends_with_a_sentence(home: Home, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--home", str(home.root), "--control-argv", "not json"]) == 1
    assert "error[E_RUNTIME]: the agent can't start" in capsys.readouterr().err


def test_a_name_in_use_is_a_conflict_and_free_again_after_the_end(agent: SyncAgent) -> None:
    spec = ProcessSpec(name="p", argv=("sleep", "1000"), labels={"service": "chat"})
    pid = agent.start(spec).pid
    with pytest.raises(ConflictError, match=f"pid {pid}"):
        agent.start(spec)
    with pytest.raises(ConflictError, match="still runs"):
        agent.forget("p")
    agent.stop("p")
    assert agent.start(spec).labels == {"service": "chat"}
    agent.stop("p")
    agent.forget("p")
    agent.forget("p")
    assert agent.list() == []
    with pytest.raises(NotFoundError):
        agent.stop("p")


def test_the_environment_is_small_and_as_asked(start: Callable[..., SyncAgent]) -> None:
    agent = start([], {"SECRET_OF_THE_CALLER": "1"})
    agent.start(ProcessSpec(name="p", argv=("env",), env={"MINE": "x", "ROADBED_AGENT": "forged"}))
    eventually(lambda: any(s.state == "exited" for s in agent.list()))
    env = dict(line.split("=", 1) for line in agent.log_tail("p").decode().splitlines())
    assert env["MINE"] == "x"
    assert env["ROADBED_AGENT"].startswith(f"{agent.ping().pid}-")
    assert "SECRET_OF_THE_CALLER" not in env


@pytest.mark.parametrize("spec", [ProcessSpec(name="../x", argv=("true",)), ProcessSpec(name="x", argv=())])
def test_bad_specs_are_usage_errors(agent: SyncAgent, spec: ProcessSpec) -> None:
    with pytest.raises(UsageError):
        agent.start(spec)


def test_a_missing_program_is_a_runtime_failure(agent: SyncAgent) -> None:
    with pytest.raises(RuntimeFailure, match=r"p: program '/no/such' not found"):
        agent.start(ProcessSpec(name="p", argv=("/no/such",)))
    assert agent.list() == []


def test_noise_on_the_socket_is_answered_or_closed_never_fatal(agent: SyncAgent, home: Home) -> None:
    @settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
    @given(st.binary(max_size=200))
    def noise(data: bytes) -> None:
        answer = raw(home, data + b"\n")
        assert answer == b"" or set(json.loads(answer)) <= {"error", "result"}

    pid = agent.ping().pid
    noise()
    too_long = json.loads(raw(home, b"x" * (protocol.MAX_REQUEST_BYTES + 10)))
    assert too_long["error"]["code"] == "E_USAGE"
    assert raw(home, b'{"op":"ping"') == b""
    assert agent.ping().pid == pid


def test_a_line_may_come_in_pieces_and_two_at_once(agent: SyncAgent, home: Home) -> None:
    with socket.socket(socket.AF_UNIX) as link, protocol.short_path(home.agent_socket) as address:
        link.settimeout(5)
        link.connect(address)
        for byte in b'{"op":"ping"}\n{"op":"list"}\n':
            link.sendall(bytes([byte]))
        with link.makefile("rb") as file:
            assert json.loads(file.readline())["result"]["pid"] == agent.ping().pid
            assert json.loads(file.readline()) == {"result": []}


def test_a_home_too_deep_for_a_socket_address_works(tmp_path: Path) -> None:
    home = Home(tmp_path.joinpath(*["deep" * 10] * 4))
    start_agent(home, [])
    assert SyncAgent(home).list() == []
    SyncAgent(home).shutdown()
