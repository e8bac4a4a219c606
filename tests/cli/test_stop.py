"""A service is taken away when somebody said so."""

import pytest

from tests.cli.conftest import Shell

SPEC = "kind: service\nname: gone\nmodel: smollm2-135m-instruct\nreplicas: 0..1\n"


@pytest.mark.e2e
def test_stop(platform: Shell) -> None:
    assert platform("apply", "-f", "-", "-y", stdin=SPEC).code == 0
    unanswered = platform("stop", "gone")
    assert (unanswered.code, "Stop gone" in unanswered.err) == (2, True)
    assert "gone" in platform("ps").out
    said = platform("stop", "gone", "-y", "--json")
    assert said.code == 0, said.err
    assert said.json()["deleted_at"] is not None
    assert "gone" not in platform("ps").out
    again = platform("stop", "gone", "-y")
    assert (again.code, "services: " in again.err) == (3, True)


@pytest.mark.e2e
def test_stop_a_task(platform: Shell) -> None:
    spec = "kind: task\nname: long\ncommand: sleep 60\nresources: {cpu: 0.1, memory: 64MiB}\n"
    assert platform("apply", "-f", "-", "-y", "-d", stdin=spec).code == 0
    unanswered = platform("stop", "long")
    assert (unanswered.code, "Stop task long" in unanswered.err) == (2, True)
    said = platform("stop", "long", "-y", "--json")
    assert (said.code, said.json()["state"]) == (0, "stopped"), said.err
    again = platform("stop", "long", "-y")
    assert (again.code, "is stopped already" in again.err) == (0, True)
    assert "long" not in platform("ps").out
    assert "long" in platform("ps", "-a").out
