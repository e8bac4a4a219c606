"""What the page shows of what the API says: states, sums, shares, and numbers as people read them."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from roadbed.console.reader import Reading
from roadbed.console.view import duration, models_of, number, page_view, percent, seconds

NOW = 1000.0


def replica(name: str, state: str, **fields: Any) -> dict[str, Any]:
    said = {"id": name, "state": state, "reason": "", "message": "", "since": NOW - 90, "restarts": 0}
    return {**said, **fields}


def service(name: str, replicas: list[dict[str, Any]], num_desired: int = 1, **fields: Any) -> dict[str, Any]:
    spec = {"model": f"{name}-model", "aliases": [], "engine": {"kind": "llamacpp"}, **fields.pop("spec", {})}
    return {
        "name": name, "spec": spec, "num_desired": num_desired, "deleted_at": None, "replicas": replicas,
        "scaling": None, **fields
    }  # fmt: skip


def load(name: str, **fields: Any) -> dict[str, Any]:
    said = {
        "in_flight": 0,
        "num_running": 0,
        "num_waiting": 0,
        "kv_usage": 0.0,
        "tokens_per_s": 0.0,
        "reported_at": NOW,
    }
    return {"id": name, "service": "chat", "state": "ready", **said, **fields}


def reading(services: list[dict[str, Any]], loads: list[dict[str, Any]] | None = None, **live: Any) -> Reading:
    ttft = {"p50": None, "p90": None, "p99": None}
    said = {
        "at": NOW, "requests_per_s": 0.0, "tokens_per_s": 0.0, "ttft_s": ttft, "outcomes": {}, "routes": {},
        "services": [], "replicas": loads or [], **live,
    }  # fmt: skip
    node = {"cpu": 2.0, "cpu_reserved": 1.5, "memory_bytes": 8 * 2**30, "memory_reserved_bytes": 2**30}
    gateways = [
        {"name": f"gateway-{i}", "state": s, "labels": {"noun": "gateway"}} for i, s in enumerate(("running", "exited"))
    ]
    status = {"healthy": True, "services": [], "processes": gateways, "node": node}
    return Reading(status=status, live=said, services=services, speeds={"chat": 12.0, "chat-0": 12.0})


def test_a_service_sums_its_replicas() -> None:
    rows = [replica("chat-0", "ready"), replica("chat-1", "ready", restarts=2)]
    loads = [load("chat-0", in_flight=2, num_running=1, kv_usage=0.5), load("chat-1", in_flight=1, num_waiting=3)]
    page = page_view(reading([service("chat", rows, num_desired=2)], loads))
    [shown] = page.services
    assert (shown.num_ready, shown.num_desired, shown.tone) == (2, 2, "good")
    assert (shown.in_flight, shown.num_running, shown.num_waiting, shown.restarts) == (3, 1, 3, 2)
    assert (shown.tokens_per_s, shown.replicas[0].tokens_per_s, shown.replicas[0].kv_usage) == (12.0, 12.0, 0.5)
    assert (page.tone, page.summary, page.in_flight, page.num_waiting) == ("good", "healthy", 3, 3)
    assert (page.cpu, page.memory, page.num_gateways) == ("1.5 / 2", "1.0 / 8.0", 1)


def scaling(**fields: Any) -> dict[str, Any]:
    said = {
        "policy": "roadbed", "num_min": 0, "num_max": 4, "pinned": False, "num_waiting": 0, "decided_at": NOW - 3,
        "why": "load: 7.5 in flight, 3 is right for one",
    }  # fmt: skip
    return said | fields


def test_who_decides_the_number_and_why() -> None:
    rows = [replica("chat-0", "ready")]
    [shown] = page_view(reading([service("chat", rows, scaling=scaling(num_waiting=2))])).services
    assert shown.scaling == "0..4, load decides (roadbed), 3 s ago: load: 7.5 in flight, 3 is right for one"
    assert (shown.num_held, shown.asleep, shown.tone) == (2, False, "good")
    undecided = scaling(decided_at=None, why="nothing decided yet")
    [shown] = page_view(reading([service("chat", rows, scaling=undecided)])).services
    assert shown.scaling == "0..4, load decides (roadbed): nothing decided yet"
    [shown] = page_view(reading([service("chat", rows)])).services
    assert (shown.scaling, shown.num_held) == ("", 0)


def test_asleep_is_no_fault_and_may_be_asked() -> None:
    now = reading([service("chat", [], num_desired=0, scaling=scaling())])
    [shown] = page_view(now).services
    assert (shown.asleep, shown.tone, models_of(now)) == (True, "idle", ["chat-model"])
    by_hand = scaling(pinned=True, why="set to 0 by hand")
    now = reading([service("chat", [], num_desired=0, scaling=by_hand)])
    [shown] = page_view(now).services
    assert (shown.asleep, shown.scaling, models_of(now)) == (False, "0..4, set to 0 by hand", [])


def test_what_an_engine_has_not_said_is_not_zero() -> None:
    rows = [replica("chat-0", "starting", reason="loading", message="its engine is loading")]
    [shown] = page_view(reading([service("chat", rows)], [load("chat-0", reported_at=None)])).services[0].replicas
    assert shown.num_running is shown.num_waiting is shown.kv_usage is shown.tokens_per_s is None
    assert (shown.tone, shown.message, shown.age) == ("busy", "loading: its engine is loading", "1 min")


@pytest.mark.parametrize(
    ("state", "tone", "platform"),
    [("pending", "wait", "wait"), ("pulling", "wait", "busy"), ("failed", "bad", "bad"), ("draining", "wait", "busy")],
)
def test_tones_tell_waiting_from_failing(state: str, tone: str, platform: str) -> None:
    page = page_view(reading([service("chat", [replica("chat-0", state)])]))
    assert (page.services[0].tone, page.services[0].replicas[0].tone) == (tone, platform)
    assert (page.tone, page.summary) == ("wait", "0 of 1 ready")


def test_ready_replicas_keep_their_old_messages_to_themselves() -> None:
    rows = [replica("chat-0", "ready", message="was: out of memory")]
    assert page_view(reading([service("chat", rows)])).services[0].replicas[0].message == ""


def test_a_service_on_its_way_out_wants_nothing() -> None:
    leaving = service("chat", [replica("chat-0", "draining", message="drains")], deleted_at=NOW)
    [shown] = page_view(reading([leaving])).services
    assert (shown.num_desired, shown.deleting, shown.tone) == (0, True, "good")
    assert models_of(reading([leaving])) == []


def test_the_platform_in_a_word() -> None:
    assert page_view(reading([])).summary == "nothing served yet"
    well = reading([service("chat", [replica("chat-0", "ready")])])
    assert well.status is not None
    well.status["healthy"] = False
    assert page_view(well).summary == "a gateway worker is missing"
    silent = page_view(Reading(error="no answer", hint="roadbed up"))
    assert (silent.known, silent.error, silent.hint) == (False, "no answer", "roadbed up")


def test_bars_share_and_sort() -> None:
    page = page_view(reading([], routes={"prefix": 1, "least_cost": 3, "new_one": 1}, outcomes={"ok": 4, "shed": 1}))
    assert [(bar.label, bar.count, bar.share) for bar in page.routes] == [
        ("least_cost", 3, 0.6),
        ("new_one", 1, 0.2),
        ("prefix", 1, 0.2),
    ]
    assert page.routes[1].meaning == ""
    assert [(bar.meaning, bar.tone) for bar in page.outcomes] == [
        ("answered", "good"),
        ("refused: every replica full", "wait"),
    ]


def test_events_come_newest_first() -> None:
    said = {"actor": "control", "noun": "replica", "name": "chat-0", "message": "m", "data": {}, "cause": None}
    events = [
        {**said, "seq": 1, "at": 0.0, "code": "replica.created"},
        {**said, "seq": 2, "at": 61.5, "code": "replica.failed"},
    ]
    found = reading([])
    page = page_view(Reading(status=found.status, live=found.live, events=events))
    assert [(event.seq, event.clock, event.tone) for event in page.events] == [
        (2, "00:01:01", "bad"),
        (1, "00:00:00", "idle"),
    ]
    assert page.events[0].iso == "1970-01-01T00:01:01.500+00:00"


def test_models_are_those_that_answer_each_once() -> None:
    services = [
        service("a", [replica("a-0", "ready")], spec={"model": "m", "aliases": ["x", "m"]}),
        service("b", [replica("b-0", "starting")], spec={"model": "n"}),
        service("c", [replica("c-0", "ready"), replica("c-1", "failed")], spec={"model": "m"}),
    ]
    assert models_of(reading(services)) == ["m", "x"]


@pytest.mark.parametrize(
    ("value", "shown"),
    [(None, "–"), (0.0, "0"), (0.034, "0.03"), (0.999, "1.0"), (12.34, "12.3"), (99.96, "100"), (1234.0, "1,234")],
)
def test_numbers(value: float | None, shown: str) -> None:
    assert number(value) == shown


@pytest.mark.parametrize(("value", "shown"), [(None, "–"), (0.0123, "12 ms"), (0.9996, "1.00 s"), (12.34, "12.34 s")])
def test_latencies(value: float | None, shown: str) -> None:
    assert seconds(value) == shown


@pytest.mark.parametrize(
    ("value", "shown"), [(-1.0, "0 s"), (59.9, "59 s"), (60.0, "1 min"), (7200.0, "2 h"), (1e6, "11 d")]
)
def test_durations(value: float, shown: str) -> None:
    assert duration(value) == shown


@given(st.floats(0, 1e9, allow_nan=False))
def test_a_number_is_never_wide(value: float) -> None:
    assert len(number(value)) <= 13
    assert percent(min(1.0, value)).endswith(" %")


def test_a_service_shows_what_was_predicted_beside_what_was_measured() -> None:
    numbers = {"p50": 0.2, "p90": 0.4, "p99": 0.5}
    read = reading([service("chat", [replica("chat-0", "ready")])])
    read.live["services"] = [{"name": "chat", "ttft_s": numbers, "ttft_predicted_s": {**numbers, "p50": 0.15}}]
    [shown] = page_view(read).services
    assert (shown.ttft_p50_s, shown.ttft_predicted_s) == (0.2, 0.15)
