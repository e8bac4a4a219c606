"""Logs by any name a person would use, whole lines, also of processes that are gone."""

import signal
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from roadbed.cli.logs import _Lines, find_processes, find_ranks
from roadbed.errors import NotFoundError
from tests.cli.conftest import Shell

KNOWN = ["agent", "control", "gateway-0", "service-chat-0", "service-chat-1", "service-chat-two-0", "service-e-5-0"]


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("control", ["control"]),
        ("chat-0", ["service-chat-0"]),
        ("service-chat-1", ["service-chat-1"]),
        ("chat", ["service-chat-0", "service-chat-1"]),
        ("chat-two", ["service-chat-two-0"]),
        ("e-5", ["service-e-5-0"]),
    ],
)
def test_find_processes(name: str, found: list[str]) -> None:
    assert find_processes(name, KNOWN) == found


@pytest.mark.parametrize(("name", "hint"), [("chatt", "did you mean 'chat'?"), ("zzzz", "there is agent, chat,")])
def test_a_name_nobody_has(name: str, hint: str) -> None:
    with pytest.raises(NotFoundError, match="nothing named") as caught:
        find_processes(name, KNOWN)
    assert hint in caught.value.message


RANKS = ["task-t.1.1.0", "task-t.1.2.0", "task-t.2.1.10", "task-t.2.1.9", "task-t-2.1.1.0", "task-v1.5.1.1.0"]


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("t", ["task-t.2.1.9", "task-t.2.1.10"]),
        ("t-2", ["task-t-2.1.1.0"]),
        ("v1.5", ["task-v1.5.1.1.0"]),
        ("task-t.1.1.0", ["task-t.1.1.0"]),
    ],
)
def test_a_task_is_its_last_attempt_in_order_of_rank(name: str, found: list[str]) -> None:
    assert find_processes(name, sorted(RANKS + KNOWN)) == found


@given(st.lists(st.tuples(st.integers(1, 12), st.integers(1, 12), st.integers(0, 12)), unique=True, min_size=1))
def test_ranks_come_in_order_and_of_one_attempt(runs: list[tuple[int, int, int]]) -> None:
    found = find_ranks("t", [f"task-t.{generation}.{attempt}.{rank}" for generation, attempt, rank in runs])
    last = max((generation, attempt) for generation, attempt, _ in runs)
    ranks = sorted(rank for generation, attempt, rank in runs if (generation, attempt) == last)
    assert found == [f"task-t.{last[0]}.{last[1]}.{rank}" for rank in ranks]


@given(st.binary(max_size=60), st.lists(st.integers(0, 60), max_size=8))
def test_lines_do_not_depend_on_how_they_arrive(data: bytes, cuts: list[int]) -> None:
    whole: list[str] = []
    _Lines(whole.append).feed(data)
    pieces: list[str] = []
    lines = _Lines(pieces.append)
    edges = [0, *sorted(min(cut, len(data)) for cut in cuts), len(data)]
    for begin, end in zip(edges, edges[1:], strict=False):
        lines.feed(data[begin:end])
    assert pieces == whole
    assert len(whole) == data.count(b"\n")


def test_logs_without_a_platform(shell: Shell) -> None:
    assert shell("logs", "control").code == 3
    folder = shell.home.logs / "service-chat-0"
    folder.mkdir(parents=True)
    (folder / "current.log").write_text("".join(f"line {n}\n" for n in range(200)))
    assert shell("logs", "chat").out.splitlines() == [f"line {n}" for n in range(100, 200)]
    assert shell("logs", "chat-0", "-n", "2").out == "line 198\nline 199\n"
    assert shell("logs", "chat-0", "-n", "0").out == ""


def test_several_replicas_are_told_apart(shell: Shell) -> None:
    for number in (0, 1):
        folder = shell.home.logs / f"service-chat-{number}"
        folder.mkdir(parents=True)
        (folder / "current.log").write_text(f"I am {number}\n")
    assert shell("logs", "chat").out == "chat-0 | I am 0\nchat-1 | I am 1\n"


def test_follow_shows_what_is_written_next_across_a_rotation(shell: Shell) -> None:
    folder = shell.home.logs / "gateway-0"
    folder.mkdir(parents=True)
    current = folder / "current.log"
    current.write_text("before\n")
    with shell.popen("logs", "gateway-0", "-f", "-n", "1", PYTHONUNBUFFERED="1") as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "before\n"
        time.sleep(0.3)  # the follower opens its file after the tail was shown
        with current.open("a") as file:
            file.write("next\n")
        assert process.stdout.readline() == "next\n"
        current.rename(folder / "1.log")
        current.write_text("rotated\n")
        assert process.stdout.readline() == "rotated\n"
        process.send_signal(signal.SIGINT)
        assert process.wait(10) == 130


@pytest.mark.e2e
def test_logs_of_a_platform(platform: Shell) -> None:
    assert "serves on" in platform("logs", "control").out
    assert platform("logs", "chat-0", "-n", "3").out.count("\n") == 3
    assert platform("logs", "gateway-0").code == 0
    assert platform("logs", "agent").code == 0


@pytest.mark.e2e
def test_logs_over_the_api(platform: Shell, tmp_path: Path) -> None:
    import json

    url = json.loads((platform.home.run / "platform.json").read_text())["api_url"]
    far = {
        "ROADBED_URL": url,
        "ROADBED_TOKEN": platform.home.admin_token.read_text().strip(),
        "ROADBED_HOME": str(tmp_path),
    }
    here = platform("logs", "chat-0", "-n", "2")
    there = platform("logs", "chat-0", "-n", "2", **far)
    assert there.code == 0, there.err
    assert there.out.splitlines()[-1].split("|")[0] == here.out.splitlines()[-1].split("|")[0]
    assert platform("logs", "nosuch", **far).code == 3


@pytest.mark.e2e
def test_logs_of_an_ended_task_here_and_over_the_api(platform: Shell, tmp_path: Path) -> None:
    import json

    spec = (
        "kind: task\nname: said\ncommand: 'echo I was rank $RANK'\nresources: {cpu: 0.1, memory: 64MiB}\nprocesses: 2\n"
    )
    assert platform("apply", "-f", "-", "-y", "-d", stdin=spec).code == 0
    deadline = time.monotonic() + 20
    while platform("explain", "said", "--json").json()["state"] != "finished":
        assert time.monotonic() < deadline
    url = json.loads((platform.home.run / "platform.json").read_text())["api_url"]
    token = platform.home.admin_token.read_text().strip()
    far = platform("logs", "said", ROADBED_URL=url, ROADBED_TOKEN=token, ROADBED_HOME=str(tmp_path))
    for answer in (platform("logs", "said"), far):
        assert [line.partition(" | ")[2] for line in answer.out.splitlines() if "I was" in line] == [
            "I was rank 0",
            "I was rank 1",
        ], answer.err
