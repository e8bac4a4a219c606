"""Kill −9 of every part under load: what can succeed does, what cannot ends well, and nothing is billed twice."""

import json
import threading
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPConnection, HTTPException
from typing import Any
from urllib.parse import urlsplit

import pytest

from tests.e2e.platform import Platform, until

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]
MODEL = "smollm2-135m-instruct"


class Answer:
    """How one streaming request ended, as its client saw it."""

    def __init__(self) -> None:
        self.request_id = ""
        self.status = 0
        self.num_events = 0
        self.error: dict[str, Any] | None = None
        self.done = False
        self.broken = ""


def stream(platform: Platform, prompt: str, max_tokens: int, started: threading.Event | None = None) -> Answer:
    """One streaming chat, read to its end whatever that is."""
    where = urlsplit(platform.gateway)
    connection = HTTPConnection(where.hostname or "", where.port, timeout=120)
    answer = Answer()
    body = {
        "model": MODEL, "stream": True, "max_tokens": max_tokens, "ignore_eos": True,
        "messages": [{"role": "user", "content": prompt}],
    }  # fmt: skip
    try:
        connection.request(
            "POST", "/v1/chat/completions", json.dumps(body), {"authorization": f"Bearer {platform.key}"}
        )
        response = connection.getresponse()
        answer.status = response.status
        answer.request_id = response.headers.get("x-request-id", "")
        while line := response.readline():
            if not line.startswith(b"data: "):
                continue
            if line.strip() == b"data: [DONE]":
                answer.done = True
                continue
            event = json.loads(line[6:])
            answer.error = event.get("error", answer.error)
            answer.num_events += 1
            if started is not None and answer.num_events > 3:
                started.set()
    except (OSError, HTTPException) as error:
        answer.broken = repr(error)
    finally:
        connection.close()
    return answer


def settled_once(platform: Platform, answers: list[Answer]) -> dict[str, dict[str, Any]]:
    """The ledger has each answered request exactly once; returns its rows by id."""
    wanted = {answer.request_id for answer in answers if answer.request_id}
    until(lambda: wanted <= {row["request_id"] for row in platform.usage_rows()}, 30, "the ledger's rows")
    rows = platform.usage_rows()
    counts = Counter(row["request_id"] for row in rows)
    assert max(counts.values()) == 1
    return {row["request_id"]: row for row in rows}


def test_a_replica_killed_under_32_streams(own_platform: Callable[..., Platform]) -> None:
    platform = own_platform("--replicas", "2")
    victim = "service-chat-0"
    old_pid = platform.pid_of(victim)
    begun = threading.Event()
    with ThreadPoolExecutor(32) as pool:
        running = [pool.submit(stream, platform, f"Tell story {i}.", 60, begun) for i in range(32)]
        assert begun.wait(60)
        platform.kill(victim)
        answers = [future.result() for future in running]
    assert [answer.broken for answer in answers if answer.broken] == []
    assert {answer.status for answer in answers} <= {200, 429, 503}
    finished = [answer for answer in answers if answer.done]
    broken = [answer for answer in answers if answer.status == 200 and not answer.done]
    assert len(finished) + len(broken) == sum(answer.status == 200 for answer in answers)
    assert len(finished) >= 16
    assert all(answer.error and answer.error["code"] == "engine_error" for answer in broken)
    rows = settled_once(platform, answers)
    for answer in finished:
        assert rows[answer.request_id]["outcome"] == "ok"
    for answer in broken:
        assert rows[answer.request_id]["outcome"] == "engine_error"
    until(platform.healthy, 60, "the replica's return")
    assert platform.pid_of(victim) != old_pid
    assert stream(platform, "Hello", 4).done


def test_a_gateway_worker_killed_under_streams(own_platform: Callable[..., Platform]) -> None:
    platform = own_platform("--replicas", "1", workers=2)
    begun = threading.Event()
    with ThreadPoolExecutor(16) as pool:
        running = [pool.submit(stream, platform, f"Tell story {i}.", 60, begun) for i in range(16)]
        assert begun.wait(60)
        platform.kill("gateway-0")
        answers = [future.result() for future in running]
    assert any(answer.done for answer in answers)
    until(platform.healthy, 30, "the worker's return")
    until(lambda: stream(platform, "Hello", 4).done, 30, "a request through the new worker")
    rows = settled_once(platform, [answer for answer in answers if answer.done])
    lost = [row for row in rows.values() if row["outcome"] == "worker_lost"]
    seen = {answer.request_id for answer in answers if answer.request_id and not answer.done}
    assert seen <= set(rows)
    assert all(row["estimated"] for row in lost)
    # whatever the dead worker had in flight is free again: the account shows nothing
    until(lambda: sum(r["in_flight"] for r in platform.control.live()["replicas"]) == 0, 20, "an empty account")


def test_the_control_plane_killed_under_streams(own_platform: Callable[..., Platform]) -> None:
    platform = own_platform("--replicas", "1")
    engine, gateway = platform.pid_of("service-chat-0"), platform.pid_of("gateway-0")
    begun = threading.Event()
    with ThreadPoolExecutor(4) as pool:
        running = [pool.submit(stream, platform, f"Tell story {i}.", 40, begun) for i in range(4)]
        assert begun.wait(60)
        platform.kill("control")
        answers = [future.result() for future in running]
    assert all(answer.done for answer in answers)
    until(platform.healthy, 30, "the control plane's return")
    assert (platform.pid_of("service-chat-0"), platform.pid_of("gateway-0")) == (engine, gateway)
    rows = settled_once(platform, answers)
    assert all(rows[answer.request_id]["outcome"] == "ok" for answer in answers)


def test_a_client_that_leaves_frees_the_engine(platform: Platform) -> None:
    where = urlsplit(platform.gateway)
    connection = HTTPConnection(where.hostname or "", where.port, timeout=60)
    body = {
        "model": MODEL, "stream": True, "max_tokens": 2000, "ignore_eos": True,
        "messages": [{"role": "user", "content": "Tell me everything."}],
    }  # fmt: skip
    headers = {"authorization": f"Bearer {platform.key}"}
    connection.request("POST", "/v1/chat/completions", json.dumps(body), headers)
    response = connection.getresponse()
    request_id = response.headers["x-request-id"]
    response.readline()
    until(lambda: _num_running(platform) == 1, 10, "a busy slot")
    response.close()
    connection.close()
    until(lambda: _num_running(platform) == 0, 10, "an idle engine")
    until(lambda: any(row["request_id"] == request_id for row in platform.usage_rows()), 10, "its usage")
    [row] = [row for row in platform.usage_rows() if row["request_id"] == request_id]
    assert row["outcome"] == "client_gone"
    assert 1 <= row["completion_tokens"] < 1000


def test_a_client_that_leaves_a_whole_answer_frees_the_engine(platform: Platform) -> None:
    """llama.cpp alone would compute all 2,000 tokens: it looks at its client only while it streams."""
    where = urlsplit(platform.gateway)
    connection = HTTPConnection(where.hostname or "", where.port, timeout=60)
    body = {
        "model": MODEL, "max_tokens": 2000, "ignore_eos": True,
        "messages": [{"role": "user", "content": "Tell me everything there is."}],
    }  # fmt: skip
    before = {row["request_id"] for row in platform.usage_rows()}
    connection.request("POST", "/v1/chat/completions", json.dumps(body), {"authorization": f"Bearer {platform.key}"})
    until(lambda: _num_running(platform) == 1, 10, "a busy slot")
    connection.close()
    until(lambda: _num_running(platform) == 0, 10, "an idle engine")
    until(lambda: {row["request_id"] for row in platform.usage_rows()} - before, 10, "its usage")
    [row] = [row for row in platform.usage_rows() if row["request_id"] not in before]
    assert (row["outcome"], row["estimated"]) == ("client_gone", True)
    assert row["completion_tokens"] < 1000


def _num_running(platform: Platform) -> int:
    """Busy slots, as the engines themselves say."""
    return sum(int(replica["num_running"]) for replica in platform.control.live()["replicas"])
