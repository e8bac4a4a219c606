"""Live tasks on the real platform: gangs, preemption, retries, cordons, a pool shared with a service, and kill −9 of
every part while they run."""

import os
import re
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from roadbed.errors import RoadbedError
from roadbed.runtime.local.client import SyncAgent
from tests.e2e.platform import Platform, until

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(120)]
CORES = 2.0
"""Said in the config, so that these tests mean the same on every machine."""
STUBBORN = 'trap "" TERM; echo "I stay"; sleep 60 & wait; sleep 60'
POLITE = 'trap "echo saved; exit 0" TERM; echo begun; while :; do sleep 0.05; done'
FIRST_ONLY = "[ $ROADBED_ATTEMPT = 1 ] || exit 0; "
"""The next attempt finishes at once."""


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory, models: Path) -> Iterator[Platform]:
    """A platform of two cores that serves nothing."""
    it = Platform(tmp_path_factory.mktemp("tasks") / "home", models, config={"node": {"cpu": CORES, "memory": "8GiB"}})
    it.up("--empty", "--wait", "20")
    try:
        yield it
    finally:
        it.down()
        until(lambda: not it.processes(), 20, "the end of every process")


@pytest.fixture
def pool(shared: Platform) -> Iterator[Platform]:
    """The platform, its pool empty before and after."""
    yield shared
    for row in shared.control.tasks(everything=False):
        shared.control.stop_task(row["name"])
    for row in shared.control.services():
        shared.control.delete_service(row["name"])
    until(lambda: not shared.control.nodes()[0]["holders"], 20, "an empty pool")
    assert not shared.control.tasks(everything=False)


def submit(platform: Platform, name: str, command: str | list[str], cpu: float = CORES, **fields: Any) -> None:
    resources = {"cpu": cpu, "memory": "64MiB"}
    spec = {"kind": "task", "name": name, "command": command, "resources": resources, "grace_period": "1s", **fields}
    platform.control.apply([spec])


def becomes(platform: Platform, name: str, state: str, within_s: float = 15.0) -> dict[str, Any]:
    """The task once it is in a state; control may be away in between."""

    def look() -> dict[str, Any] | None:
        try:
            row = platform.control.task(name)
        except RoadbedError:
            return None
        return row if row["state"] == state else None

    found: dict[str, Any] = until(look, within_s, f"{name} {state}")
    return found


def says(platform: Platform, name: str, text: str) -> None:
    """Waits until the task's log has a line."""
    until(lambda: text in platform_log(platform, name), 10, f"{text!r} in the log of {name}")


def platform_log(platform: Platform, name: str) -> str:
    """All attempts and ranks of a task, from the files."""
    found = sorted(platform.home.logs.glob(f"task-{name}.*/*.log"))
    return "".join(path.read_text() for path in found)


def codes(platform: Platform, name: str) -> list[str]:
    """Its story, oldest first."""
    events = platform.control.explain_task(name, events=100)["events"]
    told = [event["code"].removeprefix("task.") for event in sorted(events, key=lambda event: event["seq"])]
    return [code for code in told if code != "waits"]  # told only of those that wait long enough to be asked


def test_a_gang_meets_and_its_logs_stay(pool: Platform) -> None:
    words = 'echo "rank $RANK of $WORLD_SIZE, local $LOCAL_RANK of $LOCAL_WORLD_SIZE at $MASTER_ADDR:$MASTER_PORT"'
    submit(pool, "gang", words, cpu=1, processes=2)
    row = becomes(pool, "gang", "finished")
    assert (row["attempt"], row["exit_codes"], row["num_failures"]) == (1, [0, 0], 0)
    assert [slot["process"] for slot in row["slots"]] == ["task-gang.1.1.0", "task-gang.1.1.1"]
    said = [line.partition("| ")[2] for line in pool.run("logs", "gang").stdout.splitlines() if "rank " in line]
    assert [line.rpartition(" at ")[0] for line in said] == ["rank 0 of 2, local 0 of 2", "rank 1 of 2, local 1 of 2"]
    where = {line.rpartition(" at ")[2] for line in said}
    assert len(where) == 1, "both ranks meet at one address"
    assert where.pop().startswith("127.0.0.1:")
    assert codes(pool, "gang") == ["submitted", "placed", "running", "finished"]


def test_a_rank_of_a_gang_that_fails_ends_the_others(pool: Platform) -> None:
    submit(pool, "halves", '[ "$RANK" = 1 ] && exit 3; sleep 60', cpu=1, processes=2)
    row = becomes(pool, "halves", "failed")
    assert (row["exit_codes"], row["message"]) == ([-signal.SIGTERM, 3], "rank 1 ended with exit code 3")


def test_devices_are_each_ranks_own(pool: Platform) -> None:
    spec = {"cpu": 1, "memory": "64MiB", "accelerators": "cpu:1"}
    submit(pool, "slots", "echo device $ROADBED_DEVICES; sleep 0.3", resources=spec, processes=2)
    becomes(pool, "slots", "running")
    (node,) = pool.control.nodes()
    assert (node["free"], node["holders"][0]["devices"]) == ([0.0, 0.0], [0, 1])
    becomes(pool, "slots", "finished")
    assert sorted(line for line in platform_log(pool, "slots").splitlines() if "device" in line) == [
        "device 0",
        "device 1",
    ]


def test_retries_count_and_end(pool: Platform) -> None:
    submit(pool, "twice", "echo attempt $ROADBED_ATTEMPT; exit $((4 - ROADBED_ATTEMPT))", retries=1)
    row = becomes(pool, "twice", "failed")
    assert (row["attempt"], row["num_failures"], row["exit_codes"]) == (2, 2, [2])
    assert codes(pool, "twice").count("retried") == 1
    assert "attempt 1" in platform_log(pool, "twice"), "the logs of earlier attempts stay"
    submit(pool, "healed", FIRST_ONLY + "exit 1", retries=1)
    assert becomes(pool, "healed", "finished")["num_failures"] == 1


def test_what_cannot_be_started_says_so(pool: Platform) -> None:
    submit(pool, "typo", ["no-such-program"])
    row = becomes(pool, "typo", "failed")
    assert row["exit_codes"] == [127]
    assert "no-such-program" in row["message"]


def test_a_task_that_runs_too_long_is_stopped(pool: Platform) -> None:
    submit(pool, "endless", "sleep 60", max_duration="500ms")
    row = becomes(pool, "endless", "failed")
    assert (row["reason"], row["exit_codes"]) == ("max_duration", [-signal.SIGTERM])


def test_a_higher_priority_preempts_and_the_victim_finishes_later(pool: Platform) -> None:
    submit(pool, "low", FIRST_ONLY + POLITE, priority=2, grace_period="10s")
    says(pool, "low", "begun")
    submit(pool, "high", "sleep 0.5", priority=8)
    until(lambda: pool.control.task("high")["state"] in ("running", "finished"), 10, "the preemptor's start")
    assert "saved" in platform_log(pool, "low"), "it had its grace period"
    assert becomes(pool, "high", "finished")["num_preemptions"] == 0
    row = becomes(pool, "low", "finished")
    assert (row["attempt"], row["num_preemptions"], row["num_failures"]) == (2, 1, 0)
    assert codes(pool, "low") == [
        "submitted", "placed", "running", "stopping", "preempted", "placed", "running", "finished",
    ]  # fmt: skip


def test_a_victim_that_ignores_sigterm_is_killed_after_its_grace(pool: Platform) -> None:
    submit(pool, "stubborn", FIRST_ONLY + STUBBORN, priority=2, grace_period="1s")
    says(pool, "stubborn", "I stay")
    asked = time.monotonic()
    submit(pool, "urgent", "true", priority=8)
    becomes(pool, "urgent", "finished")
    assert time.monotonic() - asked >= 1.0
    assert becomes(pool, "stubborn", "finished")["num_preemptions"] == 1


def test_stop_kills_what_does_not_listen_and_what_waits_never_starts(pool: Platform) -> None:
    submit(pool, "deaf", STUBBORN)
    says(pool, "deaf", "I stay")
    submit(pool, "later", "true")
    pool.run("stop", "later", "-y")
    pool.run("stop", "deaf", "-y")
    row = pool.control.task("deaf")
    assert (row["state"], row["exit_codes"]) == ("stopped", [-signal.SIGKILL])
    assert (pool.control.task("later")["state"], pool.control.task("later")["attempt"]) == ("stopped", 0)


def test_explain_shows_the_funnel_of_a_waiting_task(pool: Platform) -> None:
    submit(pool, "holder", "sleep 60", max_duration="10m", preemptible=False)
    becomes(pool, "holder", "running")
    submit(pool, "wants", "true", cpu=1.5)
    until(lambda: pool.control.task("wants")["reason"], 10, "its reason")
    said = pool.run("explain", "wants").stdout
    assert said.startswith("wants queued: waits: ")
    assert "1 node → 0 with 1.5 cores and 64 MiB free" in said
    assert "expected start" in said
    assert "position 1 of 1" in said
    assert "wants" in pool.run("queue").stdout
    refused = pool.run("apply", "-f", "-", "-y", check=False, stdin=HUGE)
    assert refused.returncode == 2, "what can never run is refused at once"
    assert "can never run on the machines here" in refused.stderr


HUGE = "kind: task\nname: huge\ncommand: x\nresources: {cpu: 64}\n"


def test_a_cordoned_machine_takes_nothing_new(pool: Platform) -> None:
    submit(pool, "before", "sleep 1", cpu=1)
    becomes(pool, "before", "running")
    pool.run("cordon", "local")
    try:
        submit(pool, "after", "true", cpu=1)
        until(lambda: pool.control.task("after")["reason"], 10, "its reason")
        assert "cordoned" in pool.run("nodes").stdout
        assert "cordon" in pool.run("explain", "after").stdout
        assert becomes(pool, "before", "finished")["num_preemptions"] == 0
        assert pool.control.task("after")["state"] == "queued"
    finally:
        pool.run("cordon", "local", "--undo")
    becomes(pool, "after", "finished")


def test_the_examples_of_the_guide_run(pool: Platform, tmp_path: Path) -> None:
    page = (Path(__file__).parents[2] / "docs" / "how-to" / "tasks.md").read_text("utf-8")
    blocks = re.findall(r"^```yaml\n(.*?)^```", page, re.M | re.S)
    path = tmp_path / "all.yaml"
    path.write_text("---\n".join(blocks))
    try:
        pool.run("apply", "-f", str(path), "-y", "-d")
        assert becomes(pool, "hello", "finished")["num_failures"] == 0
        assert becomes(pool, "train", "finished")["spec"]["quota"] == "research/nlp"
        assert "rank 1 of 2 meets at 127.0.0.1:" in pool.run("logs", "hello").stdout
    finally:
        for name in ("nlp", "vision", "research"):
            pool.run("quota", "--delete", name, "-y")


def test_control_killed_while_tasks_run(pool: Platform) -> None:
    """Adopted, not started again, finished exactly once."""
    submit(pool, "lives", "echo once; sleep 3; echo done", cpu=1)
    submit(pool, "ends", "sleep 0.5; exit 0", cpu=1)
    becomes(pool, "lives", "running")
    becomes(pool, "ends", "running")
    submit(pool, "queued", "true", cpu=1)
    pid = pool.pid_of("task-lives.1.1.0")
    pool.kill("control")
    becomes(pool, "queued", "finished", 20)
    assert pool.pid_of("task-lives.1.1.0") == pid
    for name in ("lives", "ends"):
        row = becomes(pool, name, "finished")
        assert (row["attempt"], row["num_failures"], row["num_preemptions"], row["exit_codes"]) == (1, 0, 0, [0])
        assert codes(pool, name).count("finished") == 1
    assert platform_log(pool, "lives").count("once") == 1


def test_control_killed_again_and_again_starts_nothing_twice(pool: Platform, tmp_path: Path) -> None:
    """Killed between a row and its processes, the attempt counts as lost and the next one runs: still once."""
    book = tmp_path / "book"
    for number in range(24):
        submit(pool, f"t{number}", f"echo begin {number} >> {book}; sleep 0.2; echo end {number} >> {book}", cpu=0.25)
    for _ in range(2):
        pool.kill("control")
        becomes_idle(pool, at_least=4)
    becomes_idle(pool, at_least=24)
    lines = book.read_text().splitlines()
    assert sorted(lines) == sorted(f"{word} {number}" for number in range(24) for word in ("begin", "end"))
    assert {pool.control.task(f"t{number}")["num_failures"] for number in range(24)} == {0}


def becomes_idle(platform: Platform, at_least: int) -> None:
    """Waits until control answers and so many of the numbered tasks have finished."""

    def look() -> bool:
        try:
            rows = platform.control.tasks()
        except RoadbedError:
            return False
        return sum(row["name"][1:].isdigit() and row["state"] == "finished" for row in rows) >= at_least

    until(look, 30, f"{at_least} finished tasks")


def test_the_agent_killed_while_tasks_run(pool: Platform) -> None:
    """Its tasks die with it and are queued again, which is no failure of theirs."""
    submit(pool, "again", FIRST_ONLY + "echo begun; sleep 60")
    says(pool, "again", "begun")
    os.kill(SyncAgent(pool.home).ping().pid, signal.SIGKILL)
    until(lambda: not pool.processes(), 20, "the end of every process")
    pool.up("--empty", "--wait", "20")
    row = becomes(pool, "again", "finished")
    assert (row["attempt"], row["num_failures"], row["num_preemptions"]) == (2, 0, 1)
    assert "lost with its machine or agent" in pool.run("explain", "again").stdout


def test_a_replica_and_tasks_share_the_cores(pool: Platform) -> None:
    """A task waits while the replica holds them, a smaller one runs beside it; neither drives the replica out."""
    spec = {"kind": "service", "name": "chat", "model": "smollm2-135m-instruct", "resources": {"cpu": 1.5}}
    pool.control.apply([spec])
    until(pool.healthy, 30, "the replica")
    pid = pool.pid_of("service-chat-0")
    submit(pool, "waits", "echo ran", cpu=1, priority=6)
    submit(pool, "small", "true", cpu=0.5, priority=5)
    becomes(pool, "small", "finished")
    assert pool.control.task("waits")["state"] == "queued"
    assert pool.pid_of("service-chat-0") == pid
    assert [holder["noun"] for holder in pool.control.nodes()[0]["holders"]] == ["replica"]
    pool.run("stop", "chat", "-y")
    becomes(pool, "waits", "finished")


def test_down_leaves_no_task_behind(pool: Platform) -> None:
    submit(pool, "left", FIRST_ONLY + STUBBORN, cpu=1)
    says(pool, "left", "I stay")
    pool.down()
    assert pool.processes() == []
    pool.up("--empty", "--wait", "20")
    assert becomes(pool, "left", "finished")["num_preemptions"] == 1
