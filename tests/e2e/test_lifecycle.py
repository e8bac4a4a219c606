"""up, up again, revoke, down: the promises of the README."""

import time
from collections.abc import Callable
from pathlib import Path

import openai
import pytest

from tests.e2e.platform import Platform, until

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]
MODEL = "smollm2-135m-instruct"


def test_up_twice_down_and_up_again(own_platform: Callable[..., Platform]) -> None:
    platform = own_platform()
    second = platform.run("up", check=False)
    assert second.returncode == 4
    assert "already runs" in second.stderr
    assert "hint: roadbed status" in second.stderr
    platform.down()
    assert platform.processes() == []
    begun = time.monotonic()
    facts = platform.up()
    assert facts["api_key"] is None or facts["api_key"] == ""
    with openai.OpenAI(base_url=platform.gateway + "/v1", api_key=platform.key) as client:
        stream = client.chat.completions.create(
            model=MODEL, messages=[{"role": "user", "content": "Hi"}], max_tokens=3, stream=True
        )
        next(iter(stream))
        took_s = time.monotonic() - begun
        stream.close()
    assert took_s < 10.0, "the first token of a warm start must come within ten seconds"


def test_nothing_is_left_when_the_agent_is_killed(own_platform: Callable[..., Platform]) -> None:
    import os
    import signal

    from roadbed.runtime.local.client import SyncAgent

    platform = own_platform()
    os.kill(SyncAgent(platform.home).ping().pid, signal.SIGKILL)
    until(lambda: not platform.processes(), 20, "the end of every process")
    platform.up()
    assert platform.healthy()


def test_a_revoked_key_is_refused_within_a_second_by_every_worker(own_platform: Callable[..., Platform]) -> None:
    platform = own_platform("--empty", "--wait", "20", workers=2)
    made = platform.control.create_key("guest")

    def answers() -> list[int]:
        statuses = []
        for _ in range(8):  # connections of their own, so that the kernel spreads them
            with openai.OpenAI(base_url=platform.gateway + "/v1", api_key=made["secret"], max_retries=0) as client:
                try:
                    client.models.list()
                    statuses.append(200)
                except openai.AuthenticationError:
                    statuses.append(401)
        return statuses

    until(lambda: set(answers()) == {200}, 10, "the new key everywhere")
    platform.control.revoke_key(made["key"]["id"])
    time.sleep(1.0)
    assert set(answers()) == {401}


def test_state_is_private(own_platform: Callable[..., Platform]) -> None:
    platform = own_platform("--empty", "--wait", "20")
    secrets = [platform.home.admin_token, platform.home.snapshot, platform.home.agent_socket]
    for path in secrets:
        assert Path(path).stat().st_mode & 0o077 == 0, path
    logs = "".join(path.read_text(errors="replace") for path in platform.home.logs.rglob("*.log"))
    assert platform.key not in logs
    assert platform.home.admin_token.read_text().strip() not in logs
