"""Talking to a model: one answer, a pipe, a conversation, an interruption."""

import os
import pty
import signal
import subprocess
import time

import pytest

from roadbed.cli.chat import Conversation, summary
from roadbed.cli.completion import Answer, Gateway
from tests.cli.conftest import Shell
from tests.cli.server import USAGE


def test_a_conversation_is_sent_whole() -> None:
    talk = Conversation(Gateway("http://x", "k"), "chat", "Be brief.", {"max_tokens": 5})
    assert [message["role"] for message in talk.body("one")["messages"]] == ["system", "user"]
    talk.remember("one", "first")
    body = talk.body("two")
    assert [message["content"] for message in body["messages"]] == ["Be brief.", "one", "first", "two"]
    assert (body["model"], body["max_tokens"]) == ("chat", 5)


def test_summary() -> None:
    answer = Answer(replica="chat-0", route="only_one", usage=USAGE, ttft_s=0.1, total_s=1.1)
    assert summary(answer) == "TTFT 100 ms · 5 (2 cached) + 3 tokens · 2.0 tokens/s · chat-0 (only_one)"
    assert summary(Answer(replica="chat-0", route="r")) == "chat-0 (r)"


def test_chat_needs_a_platform(shell: Shell) -> None:
    refused = shell("chat", "Hi")
    assert (refused.code, "hint: roadbed up" in refused.err) == (7, True)
    elsewhere = shell("chat", "Hi", ROADBED_URL="http://127.0.0.1:1")
    assert (elsewhere.code, "export ROADBED_GATEWAY_URL=" in elsewhere.err) == (2, True)
    nobody = shell("chat", "Hi", ROADBED_GATEWAY_URL="http://127.0.0.1:1/v1", ROADBED_API_KEY="rb_x")
    assert (nobody.code, "no gateway answers at http://127.0.0.1:1" in nobody.err) == (7, True)


@pytest.mark.e2e
def test_one_answer(platform: Shell) -> None:
    said = platform("chat", "Say hello.", "--max-tokens", "8", "--temperature", "0")
    assert said.code == 0, said.err
    assert said.out.strip()
    assert "TTFT" in said.err
    assert "chat-0" in said.err
    again = platform("chat", "--json", "Say hello.", "--max-tokens", "8", "--temperature", "0")
    facts = again.json()
    assert facts["content"].strip() == said.out.strip()
    assert (facts["replica"], facts["usage"]["completion_tokens"]) == ("chat-0", 8)
    assert again.err == ""


@pytest.mark.e2e
def test_a_pipe_is_the_prompt_or_goes_below_it(platform: Shell) -> None:
    said = platform("chat", "--json", "--max-tokens", "4", stdin="Say hello.\n").json()
    both = platform("chat", "Repeat:", "--json", "--max-tokens", "4", stdin="Say hello.\n").json()
    assert both["usage"]["prompt_tokens"] > said["usage"]["prompt_tokens"]
    assert platform("chat", stdin="").code == 2


@pytest.mark.e2e
def test_the_key_is_made_once_kept_private_and_made_anew(platform: Shell) -> None:
    assert platform("chat", "Hi", "--max-tokens", "2").code == 0
    path = platform.home.cli_key
    first = path.read_text()
    assert path.stat().st_mode & 0o777 == 0o600
    assert platform("chat", "Hi", "--max-tokens", "2").code == 0
    assert path.read_text() == first
    assert platform("keys", "revoke", first.split("_")[1]).code == 0
    time.sleep(1.0)  # what a revocation is promised to take
    assert platform("chat", "Hi", "--max-tokens", "2").code == 0
    assert path.read_text() != first


@pytest.mark.e2e
def test_a_wrong_key_of_the_user_is_theirs_to_mend(platform: Shell) -> None:
    refused = platform("chat", "Hi", ROADBED_API_KEY="rb_aaaaaaaaaaaa_" + "a" * 32)
    assert refused.code == 6
    assert "refuses the key in ROADBED_API_KEY" in refused.err


@pytest.mark.e2e
@pytest.mark.parametrize(
    ("args", "code", "sentence"),
    [
        (("-m", "chatt", "Hi"), 3, "did you mean 'chat'?"),
        (("Hi", "--temperature", "9"), 2, "--temperature"),
        (("Hi " * 5000,), 2, "context"),
    ],
)
def test_refusals(platform: Shell, args: tuple[str, ...], code: int, sentence: str) -> None:
    refused = platform("chat", *args)
    assert refused.code == code
    assert sentence in refused.err


@pytest.mark.e2e
def test_ctrl_c_stops_the_answer(platform: Shell) -> None:
    with platform.popen("chat", "Count to 900.", "--max-tokens", "900", "-m", "chat", PYTHONUNBUFFERED="1") as process:
        # stdin is /dev/null, which is no terminal: an empty pipe adds nothing to the prompt
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.read(1)
        process.send_signal(signal.SIGINT)
        assert process.wait(10) == 130
        assert "stopped" in process.stderr.read()
    deadline = time.monotonic() + 10
    while any(row["in_flight"] for row in platform("ps", "--json").json()["replicas"]):
        assert time.monotonic() < deadline, "the engine still works for nobody"


@pytest.mark.e2e
def test_a_conversation_on_a_terminal(platform: Shell) -> None:
    master, terminal = pty.openpty()
    process = subprocess.Popen(
        platform.argv("chat", "--max-tokens", "4"),
        stdin=terminal,
        stdout=terminal,
        stderr=terminal,
        env=platform.environment(TERM="dumb"),
        start_new_session=True,
    )
    os.close(terminal)
    seen = b""

    def until(words: bytes) -> None:
        nonlocal seen
        deadline = time.monotonic() + 30
        while words not in seen:
            assert time.monotonic() < deadline, seen
            seen += os.read(master, 4096)
        seen = seen.partition(words)[2]

    try:
        until(b"> ")
        os.write(master, b"Hi\n")
        until(b"TTFT")
        until(b"> ")
        os.write(master, b"/reset\n")
        until(b"forgotten")
        os.write(master, b"/what\n")
        until(b"/exit leaves")
        os.write(master, b"/exit\n")
        assert process.wait(10) == 0
    finally:
        process.kill()
        process.wait(10)
        os.close(master)
