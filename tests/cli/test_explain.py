"""The story of a service."""

import time
from typing import Any

import pytest
from click import unstyle

from roadbed.cli.explain import _show_task, _when
from tests.cli.conftest import Shell


def test_when() -> None:
    assert _when(None) == ""
    assert _when(time.time() + 10.4) in (" (in 10 s)", " (in 11 s)")
    assert _when(time.time() - 10) == " (in 0 s)"


def story(**why: Any) -> dict[str, Any]:
    said = {
        "reason": "no_free_device", "message": "it has no place now", "position": 3, "num_waiting": 17,
        "funnel": [{"left": 1213, "text": "nodes"}, {"left": 0, "text": "in one segment"}],
        "victims": ["task/a", "task/b"], "expected_at": time.time() + 60, "error_s": 12.0,
    }  # fmt: skip
    return {
        "task": "t",
        "state": "queued",
        "summary": "waits: it has no place now",
        "waiting": said | why,
        "events": [],
    }


def test_a_waiting_task_shows_its_funnel(capsys: pytest.CaptureFixture[str]) -> None:
    _show_task(story(), as_json=False)
    said = unstyle(capsys.readouterr().out)
    assert said.startswith("t queued: waits: it has no place now\n")
    assert "  1,213 nodes → 0 in one segment\n" in said
    assert "would have a place without: task/a, task/b\n" in said
    assert "position 3 of 17 (no_free_device)\n" in said
    assert "± 12 s" in said
    _show_task(story(funnel=[], victims=[], num_waiting=0, expected_at=None), as_json=False)
    bare = unstyle(capsys.readouterr().out)
    assert not any(word in bare for word in ("→", "without", "position", "expected"))


@pytest.mark.e2e
def test_explain(platform: Shell) -> None:
    said = platform("explain", "chat")
    assert said.code == 0
    assert said.out.startswith("chat as wished: 1 of 1 ready\n")
    assert "next: nothing to do" in said.out
    assert "chat-0           ready" in said.out
    assert platform("explain", "chat-0").out.splitlines()[0] == said.out.splitlines()[0], (
        "a replica leads to its service"
    )
    facts = platform("explain", "chat", "--events", "1", "--json").json()
    assert len(facts["events"]) == 1


@pytest.mark.e2e
def test_explain_nobody(platform: Shell) -> None:
    refused = platform("explain", "nosuch")
    assert (refused.code, "services: chat" in refused.err) == (3, True)
    assert platform("explain", "Not A Name").code == 2


@pytest.mark.e2e
def test_explain_a_task(platform: Shell) -> None:
    spec = "kind: task\nname: brief\ncommand: 'exit 4'\nresources: {cpu: 0.1, memory: 64MiB}\n"
    assert platform("apply", "-f", "-", "-y", "-d", stdin=spec).code == 0
    deadline = time.monotonic() + 20
    while platform("explain", "brief", "--json").json()["state"] != "failed":
        assert time.monotonic() < deadline
    said = platform("explain", "brief").out
    assert said.startswith("brief failed: failed: rank 0 ended with exit code 4\n")
    for word in ("submitted", "placed", "running", "failing", "failed"):
        assert word in said
