"""From nothing to a served model, twice, down, and up again with what was there."""

import json
import os
import re
import signal
import time
from pathlib import Path

import pytest

from roadbed.cli.up import last_words
from roadbed.runtime.local.client import SyncAgent
from tests.cli.conftest import CONFIG, Shell, make_home, pids_of

pytestmark = pytest.mark.e2e


def test_life_of_a_platform(tmp_path: Path) -> None:
    home = make_home(tmp_path / "home")
    shell = Shell(home)
    try:
        up = shell("up")
        assert up.code == 0, up.err
        secret = re.search(r"^API key +(rb_[a-z2-7]{12}_[a-z2-7]{32}) ", up.out, re.M)
        assert secret is not None
        assert re.search(r"^console +http://127\.0\.0\.1:\d+/\?token=\S+$", up.out, re.M)
        assert "chat-0" in up.err
        assert "ready in" in up.err

        again = shell("up")
        assert again.code == 4
        assert "already runs" in again.err
        assert "hint: roadbed status" in again.err

        assert shell("chat", "Hi", "--max-tokens", "3", ROADBED_API_KEY=secret[1]).code == 0
        num_keys = len(shell("keys", "--json").json()["keys"])
        assert num_keys == 1, "the user's key was used, so the command made none of its own"

        down = shell("down")
        assert down.code == 0
        assert re.search(r"stopped \d processes", down.err)
        assert pids_of(home) == []
        assert shell("down").code == 0
        assert "no platform runs" in shell("down").err

        back = shell("up", "--json")
        assert back.code == 0, back.err
        facts = back.json()
        assert facts["api_key"] is None
        assert facts["services"] == ["chat"]
        assert facts["ready"] is True
        assert shell("chat", "Hi", "--max-tokens", "3", ROADBED_API_KEY=secret[1]).code == 0
    finally:
        assert shell("down").code == 0
    assert pids_of(home) == []


def test_control_comes_back_and_adopts(tmp_path: Path) -> None:
    home = make_home(tmp_path / "home")
    shell = Shell(home)
    try:
        assert shell("up").code == 0
        before = {process.name: process.pid for process in SyncAgent(home).list()}
        os.kill(before["control"], signal.SIGKILL)
        deadline = time.monotonic() + 30
        while shell("status").code != 0:
            assert time.monotonic() < deadline
        after = {process.name: process.pid for process in SyncAgent(home).list()}
        assert after["control"] != before["control"]
        del before["control"], after["control"]
        assert after == before, "engines and gateways are adopted, not restarted"
    finally:
        shell("down")


def test_empty_platform_teaches_the_next_step(tmp_path: Path) -> None:
    home = make_home(tmp_path / "home")
    shell = Shell(home)
    try:
        up = shell("up", "--empty", "--json")
        assert up.code == 0, up.err
        assert up.json()["services"] == []
        assert "roadbed apply -f" in shell("ps").err
        assert "nothing is served yet" in shell("status").out
        refused = shell("chat", "Hi")
        assert (refused.code, "nothing is served yet" in refused.err) == (3, True)
    finally:
        shell("down")


def test_wrong_config_is_refused_before_anything_starts(shell: Shell) -> None:
    shell.home.config.write_text(CONFIG.replace("port", "prot", 1))
    refused = shell("up")
    assert refused.code == 2
    assert "config.yaml:1: config: 'prot' is not a key of gateway; did you mean 'port'?" in refused.err
    assert "hint: roadbed schema config" in refused.err
    assert pids_of(shell.home) == []


def test_unknown_model_is_refused_before_anything_starts(shell: Shell) -> None:
    refused = shell("up", "--model", "smollm2-135m")
    assert refused.code == 3
    assert "did you mean smollm2-135m-instruct?" in refused.err
    assert pids_of(shell.home) == []


def test_a_taken_port_is_named(tmp_path: Path, platform: Shell) -> None:
    taken = json.loads((platform.home.run / "platform.json").read_text())["api_url"].rpartition(":")[2]
    home = make_home(tmp_path / "home", f"gateway: {{port: 0}}\ncontrol: {{port: {taken}}}\n")
    shell = Shell(home)
    refused = shell("up")
    assert refused.code == 1
    assert f"the control plane did not start: control.port: cannot listen on 127.0.0.1:{taken}" in refused.err
    assert "hint: set control.port in config.yaml, then: roadbed up" in refused.err
    assert pids_of(home) == []


@pytest.mark.parametrize(
    ("log", "words", "hint"),
    [
        ("", "it left no word", ""),
        ("INFO begun\nerror[E_X]: no: port\nhint: roadbed doctor\n", "no: port", "roadbed doctor"),
        ("error[E_X]: first\nhint: a\nINFO again\nerror[E_Y]: second\n", "second", ""),
        ("Traceback\nValueError: x\n", "ValueError: x", ""),
    ],
)
def test_last_words(log: str, words: str, hint: str) -> None:
    assert last_words(log) == (words, hint)
