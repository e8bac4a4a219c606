"""From the control API's answers to what the page shows: rows, tones, shares and numbers as people read them.

Pure functions of one reading; the templates only place what is made here.
"""

from datetime import UTC, datetime
from typing import Any, Literal

import msgspec

from roadbed.console.reader import Reading

Tone = Literal["good", "busy", "wait", "bad", "idle"]

_STATE_TONES: dict[str, Tone] = {
    "ready": "good", "pulling": "busy", "starting": "busy", "draining": "busy", "stopping": "busy",
    "pending": "wait", "failed": "bad",
}  # fmt: skip
_OUTCOMES: dict[str, tuple[str, Tone]] = {
    "ok": ("answered", "good"),
    "client_gone": ("client left before the end", "idle"),
    "shed": ("refused: every replica full", "wait"),
    "engine_error": ("the engine failed", "bad"),
    "upstream_error": ("no replica could be asked", "bad"),
    "worker_lost": ("a gateway worker died", "bad"),
}
_ROUTES = {
    "prefix": "the replica that has most of the prompt cached",
    "sticky": "the replica of the conversation so far",
    "least_cost": "the least predicted cost",
    "slo": "the one that meets the latency target",
    "least_load": "the least loaded",
    "round_robin": "the next in turn",
    "spill": "away from a cached prefix, for balance",
    "only_one": "there is only one",
    "queue_full": "refused: the queue is full",
    "displaced": "refused: its place went to a higher priority",
    "deadline": "refused: waited too long",
    "hopeless": "refused: would wait too long",
    "no_capable": "refused: no replica has its adapter, or room for its prompt",
    "no_replica": "refused: no replica is ready",
}
_NOUN_TONES: dict[str, Tone] = {
    "failed": "bad",
    "suspected": "bad",
    "exited": "bad",
    "ready": "good",
    "pending": "wait",
}


class ReplicaView(msgspec.Struct, frozen=True, kw_only=True):
    """`kv_usage` 0…1, None while the engine has said nothing."""

    id: str
    state: str
    tone: Tone
    age: str
    in_flight: int
    num_running: int | None
    num_waiting: int | None
    kv_usage: float | None
    tokens_per_s: float | None
    restarts: int
    message: str


class ServiceView(msgspec.Struct, frozen=True, kw_only=True):
    name: str
    model: str
    engine: str
    num_ready: int
    num_desired: int
    tone: Tone
    deleting: bool
    scaling: str
    """Range, who decides, and the last decision; "" without autoscaling."""
    num_held: int
    """Requests the gateways hold for it."""
    asleep: bool
    """At zero because nobody asks; a request wakes it."""
    in_flight: int
    num_running: int
    num_waiting: int
    tokens_per_s: float | None
    ttft_p50_s: float | None
    ttft_predicted_s: float | None
    restarts: int
    replicas: list[ReplicaView]


class Bar(msgspec.Struct, frozen=True, kw_only=True):
    """One line of a bar list; `share` 0…1 of all lines."""

    label: str
    meaning: str
    count: int
    share: float
    tone: Tone


class EventView(msgspec.Struct, frozen=True, kw_only=True):
    seq: int
    iso: str
    clock: str
    noun: str
    name: str
    code: str
    message: str
    tone: Tone


class PageView(msgspec.Struct, frozen=True, kw_only=True):
    """Everything the templates place. `known` is False until the platform has answered once."""

    known: bool
    tone: Tone
    summary: str
    error: str
    hint: str
    gateway_url: str
    services: list[ServiceView]
    num_ready: int
    num_desired: int
    num_gateways: int
    in_flight: int
    num_waiting: int
    requests_per_s: float
    cpu: str
    memory: str
    routes: list[Bar]
    outcomes: list[Bar]
    events: list[EventView]


def page_view(reading: Reading) -> PageView:
    """The page of one reading."""
    live, status = reading.live, reading.status
    if live is None or status is None:
        return _unknown(reading)
    services = [_service(service, live, reading.speeds) for service in reading.services]
    node = status["node"]
    num_ready = sum(service.num_ready for service in services)
    num_desired = sum(service.num_desired for service in services)
    workers = [process for process in status["processes"] if process["labels"].get("noun") == "gateway"]
    tone, summary = _summary(status["healthy"], num_ready, num_desired, len(services))
    return PageView(
        known=True,
        tone=tone,
        summary=summary,
        error=reading.error,
        hint=reading.hint,
        gateway_url=reading.gateway_url,
        services=services,
        num_ready=num_ready,
        num_desired=num_desired,
        num_gateways=sum(process["state"] == "running" for process in workers),
        in_flight=sum(replica["in_flight"] for replica in live["replicas"]),
        num_waiting=sum(replica["num_waiting"] for replica in live["replicas"]),
        requests_per_s=live["requests_per_s"],
        cpu=f"{node['cpu_reserved']:g} / {node['cpu']:g}",
        memory=f"{node['memory_reserved_bytes'] / 2**30:.1f} / {node['memory_bytes'] / 2**30:.1f}",
        routes=_bars(live["routes"], {reason: (meaning, "busy") for reason, meaning in _ROUTES.items()}),
        outcomes=_bars(live["outcomes"], _OUTCOMES),
        events=[event_view(event) for event in reversed(reading.events)],
    )


def models_of(reading: Reading) -> list[str]:
    """Names the chat box offers: of services with a ready replica, or that a request wakes; each name once."""
    names: dict[str, None] = {}
    for service in reading.services:
        ready = any(replica["state"] == "ready" for replica in service["replicas"])
        scaling = service["scaling"]
        if (ready or (scaling is not None and not scaling["pinned"])) and service["deleted_at"] is None:
            names.update(dict.fromkeys([service["spec"]["model"], *service["spec"]["aliases"]]))
    return list(names)


def _unknown(reading: Reading) -> PageView:
    return PageView(
        known=False, tone="bad", summary="control does not answer", error=reading.error, hint=reading.hint,
        gateway_url=reading.gateway_url, services=[], num_ready=0, num_desired=0, num_gateways=0, in_flight=0,
        num_waiting=0, requests_per_s=0.0, cpu="", memory="", routes=[], outcomes=[], events=[],
    )  # fmt: skip


def _summary(healthy: bool, num_ready: int, num_desired: int, num_services: int) -> tuple[Tone, str]:
    if num_services == 0:
        return "idle", "nothing served yet"
    if num_ready < num_desired:
        return "wait", f"{num_ready} of {num_desired} ready"
    return ("good", "healthy") if healthy else ("bad", "a gateway worker is missing")


def _service(service: dict[str, Any], live: dict[str, Any], speeds: dict[str, float]) -> ServiceView:
    spec, deleting = service["spec"], service["deleted_at"] is not None
    numbers = next((found for found in live["services"] if found["name"] == service["name"]), None)
    loads = {found["id"]: found for found in live["replicas"]}
    replicas = [
        _replica(replica, loads.get(replica["id"]), speeds.get(replica["id"]), live["at"])
        for replica in service["replicas"]
    ]
    num_ready = sum(replica.state == "ready" for replica in replicas)
    num_desired = 0 if deleting else service["num_desired"]
    failing = any(replica.tone == "bad" for replica in replicas)
    scaling = service["scaling"]
    asleep = scaling is not None and not scaling["pinned"] and not num_desired and not deleting
    return ServiceView(
        name=service["name"],
        model=spec["model"],
        engine=spec["engine"]["kind"],
        num_ready=num_ready,
        num_desired=num_desired,
        tone="idle" if asleep else "good" if num_ready >= num_desired else "bad" if failing else "wait",
        deleting=deleting,
        scaling="" if scaling is None else _scaling(scaling, live["at"]),
        num_held=0 if scaling is None else scaling["num_waiting"],
        asleep=asleep,
        in_flight=sum(replica.in_flight for replica in replicas),
        num_running=sum(replica.num_running or 0 for replica in replicas),
        num_waiting=sum(replica.num_waiting or 0 for replica in replicas),
        tokens_per_s=speeds.get(service["name"]),
        ttft_p50_s=None if numbers is None else numbers["ttft_s"]["p50"],
        ttft_predicted_s=None if numbers is None else numbers["ttft_predicted_s"]["p50"],
        restarts=sum(replica.restarts for replica in replicas),
        replicas=replicas,
    )


def _scaling(scaling: dict[str, Any], now: float) -> str:
    """`0..4, load decides (roadbed), 3 s ago: load: 7.5 in flight, 3 is right for one`"""
    span = f"{scaling['num_min']}..{scaling['num_max']}"
    if scaling["pinned"]:
        return f"{span}, {scaling['why']}"
    when = "" if scaling["decided_at"] is None else f", {duration(now - scaling['decided_at'])} ago"
    return f"{span}, load decides ({scaling['policy']}){when}: {scaling['why']}"


def _replica(replica: dict[str, Any], load: dict[str, Any] | None, speed: float | None, now: float) -> ReplicaView:
    reported = load is not None and load["reported_at"] is not None
    said: dict[str, Any] = load if load is not None and reported else {}
    state = replica["state"]
    message = "" if state == "ready" else ": ".join(part for part in (replica["reason"], replica["message"]) if part)
    return ReplicaView(
        id=replica["id"],
        state=state,
        tone=_STATE_TONES.get(state, "idle"),
        age=duration(now - replica["since"]),
        in_flight=0 if load is None else load["in_flight"],
        num_running=said.get("num_running"),
        num_waiting=said.get("num_waiting"),
        kv_usage=said.get("kv_usage"),
        tokens_per_s=speed if reported else None,
        restarts=replica["restarts"],
        message=message,
    )


def _bars(counts: dict[str, int], known: dict[str, tuple[str, Tone]]) -> list[Bar]:
    total = sum(counts.values())
    ordered = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    bars = []
    for label, count in ordered:
        meaning, tone = known.get(label, ("", "idle"))
        bars.append(Bar(label=label, meaning=meaning, count=count, share=count / total if total else 0.0, tone=tone))
    return bars


def event_view(event: dict[str, Any]) -> EventView:
    """One line of a story."""
    at = datetime.fromtimestamp(event["at"], UTC)
    return EventView(
        seq=event["seq"],
        iso=at.isoformat(timespec="milliseconds"),
        clock=at.strftime("%H:%M:%S"),
        noun=event["noun"],
        name=event["name"],
        code=event["code"],
        message=event["message"],
        tone=_NOUN_TONES.get(event["code"].rpartition(".")[2], "idle"),
    )


def number(value: float | None) -> str:
    """A rate: two decimals below 1, one below 100; a dash when not known."""
    if value is None:
        return "–"
    if value == 0 or value >= 99.95:
        return f"{value:,.0f}"
    return f"{value:.1f}" if value >= 0.995 else f"{value:.2f}"


def seconds(value: float | None) -> str:
    """A latency: milliseconds below a second."""
    if value is None:
        return "–"
    return f"{value * 1000:.0f} ms" if value < 0.9995 else f"{value:.2f} s"


def duration(value: float) -> str:
    """How long ago, in its largest unit."""
    for size, unit in ((86_400, "d"), (3600, "h"), (60, "min")):
        if value >= size:
            return f"{int(value // size)} {unit}"
    return f"{max(0, int(value))} s"


def percent(value: float | None) -> str:
    return "–" if value is None else f"{value * 100:.0f} %"
