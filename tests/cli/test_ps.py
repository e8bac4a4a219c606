"""What runs, in one table."""

import json
import signal
from typing import Any

import pytest

from roadbed.cli.ps import service_state, show
from tests.cli.conftest import Shell


def service(
    *states: str, desired: int = 1, deleted_at: float | None = None, pinned: bool | None = None
) -> dict[str, Any]:
    """`pinned`: None = without scaling."""
    return {
        "replicas": [{"state": state} for state in states], "num_desired": desired, "deleted_at": deleted_at,
        "scaling": None if pinned is None else {"pinned": pinned},
    }  # fmt: skip


@pytest.mark.parametrize(
    ("row", "word"),
    [
        (service("ready"), "ready"),
        (service("ready", "failed", desired=2), "failed"),
        (service("ready", "starting", desired=2), "starting"),
        (service(), "pending"),
        (service(desired=0), "stopped"),
        (service(desired=0, pinned=False), "asleep"),
        (service(desired=0, pinned=True), "stopped"),
        (service("draining", deleted_at=1.0), "stopping"),
        (service("ready", "draining"), "ready"),
    ],
)
def test_service_state(row: dict[str, Any], word: str) -> None:
    assert service_state(row) == word


def test_an_empty_platform_teaches_the_next_step(capsys: pytest.CaptureFixture[str]) -> None:
    show({"services": [], "replicas": [], "tasks": []})
    out, err = capsys.readouterr()
    assert out == ""
    assert "roadbed apply -f" in err


def task(name: str, state: str, **fields: Any) -> dict[str, Any]:
    said = {
        "name": name, "state": state, "spec": {"processes": 2}, "exit_codes": [], "num_failures": 0,
        "num_preemptions": 0, "submitted_at": 0.0, "reason": "", "message": "",
    }  # fmt: skip
    return {**said, **fields}


def test_tasks_are_rows_of_their_own(capsys: pytest.CaptureFixture[str]) -> None:
    rows = [
        task("runs", "running", exit_codes=[None, None], num_failures=1, num_preemptions=2),
        task("waits", "queued", reason="no_capacity", message="1 node → 0"),
        task("over", "finished", exit_codes=[0, 0]),
    ]
    show({"services": [], "replicas": [], "tasks": rows})
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert [line[:5] for line in lines[1:]] == [
        ["runs", "task", "running", "2/2", "3"],
        ["waits", "task", "queued", "0/2", "0"],
        ["over", "task", "finished", "0/2", "0"],
    ]
    assert lines[2][-5:] == ["no_capacity:", "1", "node", "→", "0"]


def test_ps_without_a_platform(shell: Shell) -> None:
    refused = shell("ps")
    assert (refused.code, refused.out) == (7, "")
    assert "no platform runs in" in refused.err
    assert "hint: roadbed up" in refused.err


@pytest.mark.e2e
def test_ps(platform: Shell) -> None:
    said = platform("ps")
    assert said.code == 0
    lines = said.out.splitlines()
    assert lines[0].split()[:4] == ["NAME", "ENGINE", "STATE", "READY"]
    assert [line.split()[:4] for line in lines[1:] if line.startswith("chat")] == [["chat", "llamacpp", "ready", "1/1"]]
    assert "  chat-0" in said.out
    assert "gateway-0" not in said.out
    assert "gateway-0" in platform("ps", "-a").out
    assert "chat-0" in platform("ps", "-q").out.split()


@pytest.mark.e2e
def test_ps_json(platform: Shell) -> None:
    facts = platform("ps", "--json", "-a").json()
    row = next(row for row in facts["services"] if row["name"] == "chat")
    assert (row["state"], row["num_ready"], row["engine"]) == ("ready", 1, "llamacpp")
    replica = next(replica for replica in facts["replicas"] if replica["id"] == "chat-0")
    assert {"in_flight", "tokens_per_s", "restarts", "since", "message"} <= set(replica)
    assert {process["name"] for process in facts["processes"]} >= {"control", "gateway-0"}


@pytest.mark.e2e
def test_watching_streams_json_lines(platform: Shell) -> None:
    with platform.popen("ps", "-w", "--json", "--interval", "0.1", PYTHONUNBUFFERED="1") as process:
        assert process.stdout is not None
        for _ in range(2):
            assert json.loads(process.stdout.readline())["services"]
        process.send_signal(signal.SIGINT)
        assert process.wait(10) == 130
