"""Load decides, on real engines: from zero by the first request, up under load, back to zero; whoever dies in between."""

import json
import re
import threading
import time
import urllib.request
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPConnection
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from tests.e2e.platform import Platform, until
from tests.e2e.test_survival import Answer, settled_once, stream

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(180)]

PAGE = Path(__file__).parents[2] / "docs" / "how-to" / "autoscaling.md"


def nap(replicas: str) -> str:
    """The page's own example, impatient."""
    match = re.search(r"^```yaml\n(.*?)^```", PAGE.read_text("utf-8"), re.M | re.S)
    assert match is not None
    quick = (
        match[1].replace("idle: 5m ", "interval: 1s\n  idle: 5s ").replace("replicas: 0..2", f"replicas: {replicas}")
    )
    assert quick.count("5s") == quick.count(replicas) == 1
    return quick


def service(platform: Platform) -> dict[str, Any]:
    (row,) = platform.control.services()
    return row


def scaled(platform: Platform) -> list[dict[str, Any]]:
    """Every decision that changed something, oldest first."""
    events: list[dict[str, Any]] = platform.control.events(limit=1000)["events"]
    return [event["data"] for event in events if event["code"] == "service.scaled"]


def gauges(platform: Platform) -> dict[str, int]:
    """Replicas of the service as /metrics has them."""
    with urllib.request.urlopen(f"{platform.gateway}/metrics", timeout=10) as reply:
        text = reply.read().decode()
    return {name: int(n) for name, n in re.findall(r'^roadbed_replicas_(\w+)\{service="nap"\} (\d+)$', text, re.M)}


def test_from_zero_to_two_and_back_with_control_killed_in_between(own_platform: Callable[..., Platform]) -> None:
    platform = own_platform("--empty", workers=2)
    platform.run("apply", "-f", "-", "-y", stdin=nap("0..2"))
    assert (service(platform)["num_desired"], service(platform)["replicas"]) == (0, [])
    assert platform.healthy()

    assert "asleep" in platform.run("ps").stdout
    began = time.monotonic()
    first = stream(platform, "Hello", 4)
    first_s = time.monotonic() - began
    assert (first.status, first.done) == (200, True)
    (ready,) = [e for e in platform.control.events(limit=1000)["events"] if e["code"] == "replica.ready"]
    assert first_s < ready["data"]["after_s"] + 3.0, "a wake costs little beside the start of the engine"
    assert [(one["before"], one["after"], one["reason"]) for one in scaled(platform)] == [(0, 1, "wake")]

    assert "wake: 0.0 in flight and 1 waiting" in platform.run("explain", "nap").stdout

    stop = threading.Event()

    def keep_asking(worker: int) -> list[Answer]:
        answers = []
        while not stop.is_set():
            answers.append(stream(platform, f"Tell story {worker} number {len(answers)}.", 24))
        return answers

    with ThreadPoolExecutor(6) as pool:
        asking = [pool.submit(keep_asking, worker) for worker in range(6)]
        until(lambda: service(platform)["num_desired"] == 2, 20, "the second replica's decision")
        platform.kill("control")
        until(lambda: platform.healthy() and len(_ready(platform)) == 2, 40, "two ready replicas")
        until(lambda: gauges(platform) == {"desired": 2, "ready": 2}, 10, "both gauges, counted once for two workers")
        stop.set()
        answers = [answer for future in asking for answer in future.result()]
    assert [answer for answer in answers if not answer.done] == []
    settled_once(platform, answers)

    until(lambda: service(platform)["num_desired"] == 0, 40, "the decision to go to zero")
    until(lambda: not service(platform)["replicas"], 20, "the end of the last replica")
    assert scaled(platform)[-1]["reason"] == "idle"
    assert {one["after"] for one in scaled(platform)} == {0, 1, 2}
    assert platform.healthy()

    platform.kill("control")
    again = stream(platform, "Hello again", 4)
    assert (again.status, again.done) == (200, True), "held until the next control process hears of it"


def _ready(platform: Platform) -> list[str]:
    return [row["id"] for row in service(platform)["replicas"] if row["state"] == "ready"]


def whole(platform: Platform, prompt: str, max_tokens: int) -> int:
    """One chat answered in one piece: until its end its client has seen no byte. Returns the status."""
    where = urlsplit(platform.gateway)
    connection = HTTPConnection(where.hostname or "", where.port, timeout=60)
    body = {
        "model": "nap", "max_tokens": max_tokens, "ignore_eos": True, "messages": [{"role": "user", "content": prompt}],
    }  # fmt: skip
    try:
        connection.request(
            "POST", "/v1/chat/completions", json.dumps(body), {"authorization": f"Bearer {platform.key}"}
        )
        response = connection.getresponse()
        response.read()
        return response.status
    finally:
        connection.close()


def test_who_has_seen_nothing_never_sees_a_replica_go(own_platform: Callable[..., Platform]) -> None:
    """One replica is killed, then one is given up, under load: whole answers all come."""
    platform = own_platform("--empty")
    platform.run("apply", "-f", "-", "-y", stdin=nap("1..2"))
    platform.run("scale", "nap", "2")
    stop = threading.Event()

    def keep_asking(worker: int) -> list[int]:
        statuses = []
        while not stop.is_set():
            statuses.append(whole(platform, f"Tell story {worker} number {len(statuses)}.", 16))
        return statuses

    with ThreadPoolExecutor(8) as pool:
        asking = [pool.submit(keep_asking, worker) for worker in range(8)]
        until(lambda: sum(r["in_flight"] for r in platform.control.live()["replicas"]) >= 4, 20, "load")
        victim = _ready(platform)[0]
        platform.kill(f"service-{victim}")
        until(lambda: len(_ready(platform)) == 1, 10, "the loss")
        until(lambda: len(_ready(platform)) == 2, 30, "its return")
        platform.run("scale", "nap", "1")
        time.sleep(0.5)
        stop.set()
        statuses = [status for future in asking for status in future.result()]
    assert len(statuses) > 8
    assert set(statuses) == {200}
    assert len(_ready(platform)) == 1
    until(lambda: len(platform.usage_rows()) >= len(statuses), 20, "the ledger's rows")
    assert any(row["tries"] > 1 for row in platform.usage_rows())


def test_a_replica_that_is_given_up_too_busy_hands_its_work_over(own_platform: Callable[..., Platform]) -> None:
    platform = own_platform("--empty")
    platform.run("apply", "-f", "-", "-y", stdin=nap("1..2") + "drain_timeout: 500ms\n")
    platform.run("scale", "nap", "2")
    with ThreadPoolExecutor(4) as pool:
        asking = [pool.submit(whole, platform, f"Tell story {worker}.", 64) for worker in range(4)]
        until(lambda: [r["in_flight"] for r in platform.control.live()["replicas"]] == [2, 2], 20, "work for both")
        platform.run("scale", "nap", "1", "--detach")
        assert [future.result() for future in asking] == [200] * 4
    events = platform.control.events(limit=1000)["events"]
    assert [e["message"] for e in events if e["code"] == "replica.stopping"] == [
        "stops: still busy after draining 0.5 s"
    ]
    until(lambda: len(platform.usage_rows()) == 4, 20, "the ledger's rows")
    assert sorted(row["tries"] for row in platform.usage_rows()) == [1, 1, 2, 2]
