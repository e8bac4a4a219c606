"""The story of a service."""

import time

import pytest

from roadbed.cli.explain import _when
from tests.cli.conftest import Shell


def test_when() -> None:
    assert _when(None) == ""
    assert _when(time.time() + 10.4) in (" (in 10 s)", " (in 11 s)")
    assert _when(time.time() - 10) == " (in 0 s)"


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
