"""One look at the platform."""

import os
import signal
import time
from typing import Any

import pytest

from roadbed.cli.status import missing
from roadbed.runtime.local.client import SyncAgent
from tests.cli.conftest import Shell


def said(*services: tuple[str, int, int], gateways: int = 1, healthy: bool = False) -> dict[str, Any]:
    return {
        "healthy": healthy,
        "services": [
            {"name": n, "num_ready": ready, "num_desired": wanted, "num_needed": wanted}
            for n, ready, wanted in services
        ],
        "processes": [{"labels": {"noun": "gateway"}, "state": "running"}] * gateways,
    }


def test_missing() -> None:
    assert missing(said(("chat", 1, 1), healthy=True)) == []
    assert missing(said(("chat", 0, 2))) == ["service chat: 0 of 2 replicas ready"]
    assert missing(said(("chat", 1, 1), gateways=0)) == ["no gateway worker runs"]
    assert missing(said(("chat", 1, 1))) == ["only 1 gateway worker of those configured"]


def test_nothing_runs(shell: Shell) -> None:
    refused = shell("status")
    assert (refused.code, refused.out) == (7, "")
    assert "hint: roadbed up" in refused.err


@pytest.mark.e2e
def test_status(platform: Shell) -> None:
    found = platform("status")
    assert found.code == 0, found.err
    assert found.out.startswith("healthy, up ")
    facts = platform("status", "--json").json()
    assert facts["healthy"] is True
    assert facts["missing"] == []
    assert facts["home"] == str(platform.home.root)
    assert facts["gateway_url"].startswith("http://127.0.0.1:")
    assert facts["version"]


@pytest.mark.e2e
def test_control_is_away_but_its_agent_is_not(platform: Shell) -> None:
    agent = SyncAgent(platform.home)
    pid = next(process.pid for process in agent.list() if process.name == "control")
    os.kill(pid, signal.SIGSTOP)
    try:
        os.kill(pid, signal.SIGKILL)
        refused = platform("status")
    finally:
        deadline = time.monotonic() + 30
        while platform("status").code != 0:
            assert time.monotonic() < deadline, "control is started again"
    if refused.code != 0:  # unless the new one was faster than our question
        assert refused.code == 7
        assert "its control plane does not answer" in refused.err
        assert "hint: roadbed logs control" in refused.err
