"""The verdict on services, over answers a control plane gave; the real one is followed in test_apply."""

from typing import Any

import pytest

from roadbed.cli import follow
from roadbed.cli.follow import Follower, describe
from roadbed.errors import EngineError, NoCapacityError


class Clock:
    """Time that passes only when slept."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 100.0
        monkeypatch.setattr(follow.time, "monotonic", lambda: self.now)
        monkeypatch.setattr(follow.time, "sleep", self.sleep)

    def sleep(self, seconds: float) -> None:
        self.now += seconds


class Story:
    """A control plane that plays scenes: the state of service `chat`, one per look; the last one stays."""

    def __init__(self, *scenes: list[dict[str, Any]] | None, desired: int = 1) -> None:
        self._scenes = list(scenes)
        self._desired = desired
        self.page: list[dict[str, Any]] = []
        self.before: list[dict[str, Any]] = []
        self.known: list[dict[str, Any]] = []

    def services(self) -> list[dict[str, Any]]:
        scene = self._scenes.pop(0) if len(self._scenes) > 1 else self._scenes[0]
        if scene is None:
            return []
        return [
            {
                "name": "chat",
                "spec": {"model": "m"},
                "launch_generation": 2,
                "num_desired": self._desired,
                "replicas": scene,
            }
        ]

    def replicas(self) -> list[dict[str, Any]]:
        return self.before

    def models(self) -> list[dict[str, Any]]:
        return self.known

    def events(self, **_: Any) -> dict[str, Any]:
        page, self.page = self.page, []
        return {"events": page, "next": page[-1]["seq"] if page else 0}


def replica(state: str, *, number: int = 0, generation: int = 2, **fields: Any) -> dict[str, Any]:
    return {
        "id": f"chat-{number}", "service": "chat", "state": state, "generation": generation, "restarts": 0,
        "reason": "", "message": "", **fields,
    }  # fmt: skip


def follower(story: Story) -> Follower:
    return Follower(story)  # type: ignore[arg-type]


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


def test_ready_when_all_and_nothing_else_is() -> None:
    old_and_new = [replica("ready", generation=1), replica("ready", number=1)]
    draining = [replica("draining", generation=1), replica("ready", number=1)]
    story = Story([replica("starting")], old_and_new, draining, [replica("ready", number=1)])
    assert follower(story).until_ready(["chat"], 60.0)


def test_a_service_that_is_not_there_yet_is_not_ready(clock: Clock) -> None:
    assert not follower(Story(None)).until_ready(["chat"], 5.0)
    assert clock.now == pytest.approx(105.0, abs=0.2)


def test_zero_replicas_is_a_wish_too() -> None:
    assert follower(Story([replica("stopping")], [], desired=0)).until_ready(["chat"], 5.0)


def test_too_large_is_said_at_once(clock: Clock) -> None:
    story = Story([replica("pending", reason="too_large", message="asks for 9 of 2 cores")])
    with pytest.raises(NoCapacityError, match=r"chat-0 can't be placed \(too_large\): asks for 9 of 2 cores") as caught:
        follower(story).until_ready(["chat"], 60.0)
    assert caught.value.hint == "roadbed explain chat"
    assert clock.now == 100.0


def test_no_room_is_given_a_moment(clock: Clock) -> None:
    waiting = replica("pending", reason="no_capacity", message="0.0 of 2 cores free", number=1)
    leaving = [replica("draining", generation=1), waiting]
    with pytest.raises(NoCapacityError, match="no_capacity"):
        follower(Story(leaving, leaving, leaving, [waiting])).until_ready(["chat"], 60.0)
    assert clock.now - 100.0 > follow.PLACE_GRACE_S
    assert follower(Story([waiting], [replica("ready", number=1)])).until_ready(["chat"], 60.0)


def test_failing_again_and_again_is_the_end() -> None:
    scenes = [[replica("failed", restarts=n, reason="exited", message="bad magic")] for n in (1, 2)]
    with pytest.raises(EngineError, match="chat-0 failed 2 times: bad magic") as caught:
        follower(Story(*scenes)).until_ready(["chat"], 60.0)
    assert caught.value.hint == "roadbed logs chat-0"


def test_failures_before_we_look_do_not_count() -> None:
    story = Story([replica("starting", restarts=7, message="old")], [replica("ready", restarts=7)])
    story.before = [replica("ready", restarts=7)]
    assert follower(story).until_ready(["chat"], 60.0)


def test_events_of_others_are_not_told(capsys: pytest.CaptureFixture[str]) -> None:
    story = Story([replica("ready")])
    watching = follower(story)
    story.page = [
        {"seq": 5, "noun": noun, "name": name, "code": f"{noun}.{code}", "message": message}
        for noun, name, code, message in (
            ("replica", "chat-0", "ready", "ready after 1 s"),
            ("replica", "chat-two-0", "ready", "other service"),
            ("service", "chat", "updated", "generation 2"),
            ("service", "other", "updated", "other"),
            ("loop", "publisher", "failed", "inside"),
        )
    ]
    assert watching.until_ready(["chat"], 5.0)
    told = capsys.readouterr().err
    assert "ready after 1 s" in told
    assert "generation 2" in told
    assert "other" not in told
    assert "inside" not in told


def test_silence_is_filled(capsys: pytest.CaptureFixture[str]) -> None:
    story = Story([replica("pulling")])
    story.known = [
        {"name": "m", "source": "hf:m", "state": "pulling", "size_bytes": 10_000_000, "done_bytes": 2_500_000}
    ]
    assert not follower(story).until_ready(["chat"], 25.0)
    told = capsys.readouterr().err.splitlines()
    assert len(told) == 2
    assert "chat: 10 s; chat-0 pulling; fetched 2.5 MB of 10.0 MB" in told[0]


def test_until_gone(clock: Clock) -> None:
    assert follower(Story([replica("draining")], [replica("stopping")], None)).until_gone("chat", 5.0)
    assert not follower(Story([replica("draining")])).until_gone("chat", 5.0)


def test_describe() -> None:
    event = {"name": "chat-0", "code": "replica.ready", "message": "ready after 1.8 s"}
    assert follow.click.unstyle(describe(event)) == "  chat-0           ready        ready after 1.8 s"
