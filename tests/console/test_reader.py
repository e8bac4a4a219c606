"""Readings: at most one a second for everybody, a history, and old numbers with a reason when control is silent."""

import asyncio
from typing import Any

import pytest

from roadbed.console.reader import MAX_AGE_S, POOL_SHARE, SPEED_WINDOW_S, Reader, Speeds
from roadbed.control.client import ControlClient
from tests.console.conftest import Platform


class Now:
    def __init__(self) -> None:
        self.s = 0.0

    def __call__(self) -> float:
        return self.s


def live(at: float, speeds: dict[str, float], **services: float) -> dict[str, Any]:
    replicas = [
        {"id": name, "service": name.partition("-")[0], "tokens_per_s": speed} for name, speed in speeds.items()
    ]
    return {"at": at, "replicas": replicas, "services": [{"name": n, "tokens_per_s": s} for n, s in services.items()]}


def kinds(**engines: str) -> list[dict[str, Any]]:
    return [{"name": name, "spec": {"engine": {"kind": kind}}} for name, kind in engines.items()]


def test_many_viewers_make_one_reading_a_second(platform: Platform, monkeypatch: pytest.MonkeyPatch) -> None:
    now = Now()
    num_asked = 0

    async def look() -> None:
        nonlocal num_asked
        reader = Reader(platform.home, platform.token, now)
        ask = reader._ask_all

        def counted() -> Any:
            nonlocal num_asked
            num_asked += 1
            return ask()

        monkeypatch.setattr(reader, "_ask_all", counted)
        readings = await asyncio.gather(*(reader.read() for _ in range(20)))
        assert num_asked == 1
        assert all(reading is readings[0] for reading in readings)
        now.s += MAX_AGE_S
        assert (await reader.read()) is not readings[0]
        assert num_asked == 2
        first, second = reader.points(0.0)
        assert first.at < second.at
        assert reader.points(first.at) == [second]
        assert reader.points(second.at) == []

    asyncio.run(look())


def test_a_silent_control_leaves_the_last_numbers_and_a_reason(platform: Platform) -> None:
    now = Now()

    async def look() -> None:
        reader = Reader(platform.home, platform.token, now)
        before = await reader.read()
        assert before.error == ""
        assert before.version
        path = platform.home.run / "platform.json"
        path.rename(path.with_suffix(".away"))
        now.s += MAX_AGE_S
        after = await reader.read()
        assert "no platform runs in" in after.error
        assert after.hint == "roadbed up"
        assert after.live == before.live
        assert len(reader.points(0.0)) == 1
        path.with_suffix(".away").rename(path)
        now.s += MAX_AGE_S
        assert (await reader.read()).error == ""

    asyncio.run(look())


def test_a_long_queue_is_looked_at_less_often(platform: Platform, monkeypatch: pytest.MonkeyPatch) -> None:
    now = Now()
    looks = []

    def slow(self: ControlClient) -> list[dict[str, Any]]:
        looks.append(now.s)
        now.s += 2.0
        return []

    monkeypatch.setattr(ControlClient, "queue", slow)

    async def look() -> None:
        reader = Reader(platform.home, platform.token, now)
        first = await reader.read()
        assert [node["name"] for node in first.pool.nodes] == ["local"]
        for _ in range(12):
            now.s += 1.0
            assert (await reader.read()).pool.quotas == first.pool.quotas

    asyncio.run(look())
    assert looks == [0.0, pytest.approx(2.0 / POOL_SHARE, abs=1.0)]


def test_a_wrong_token_is_a_reason(platform: Platform) -> None:
    reading = asyncio.run(Reader(platform.home, "wrong").read())
    assert reading.error == "the admin token is wrong"
    assert reading.live is None


def test_speeds_are_means_of_the_window() -> None:
    speeds = Speeds()
    services = kinds(chat="llamacpp")
    speeds.take(live(0.0, {"chat-0": 100.0}), services)
    assert speeds.take(live(1.0, {"chat-0": 0.0, "chat-1": 30.0}), services) == {
        "chat-0": 50.0,
        "chat-1": 30.0,
        "chat": 80.0,
    }
    later = SPEED_WINDOW_S + 0.5
    assert speeds.take(live(later, {"chat-0": 10.0}), services) == {"chat-0": 5.0, "chat": 5.0}


def test_speeds_of_engines_of_others_are_those_of_their_requests() -> None:
    services = kinds(chat="llamacpp", far="openai")
    found = Speeds().take(live(0.0, {"chat-0": 7.0, "far-0": 0.0}, chat=99.0, far=3.0), services)
    assert found == {"far": 3.0, "chat": 7.0, "chat-0": 7.0}


def test_a_clock_set_back_forgets_what_was_in_the_future() -> None:
    speeds = Speeds()
    services = kinds(chat="llamacpp")
    speeds.take(live(500.0, {"chat-0": 100.0}), services)
    assert speeds.take(live(100.0, {"chat-0": 1.0}), services)["chat"] == 1.0
