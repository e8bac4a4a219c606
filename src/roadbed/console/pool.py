"""From the control API's answers to the pool as the page draws it: machines as cells, quotas as bars, tasks as rows.

Pure functions of one reading. Styles can't be inline here (the content security policy), so what differs by datum is an
SVG attribute or one of a few classes: owners share NUM_COLOURS colours, and their names are told beside them.
"""

import zlib
from collections.abc import Iterable
from typing import Any

import msgspec

from roadbed.console.reader import PoolReading
from roadbed.console.view import Tone, duration

NUM_COLOURS = 8
MAX_NODES = 200
"""Machines drawn one by one; more are counted."""
MAX_DEPTH = 6
_TONES: dict[str, Tone] = {
    "queued": "wait", "starting": "busy", "running": "good", "stopping": "busy", "failed": "bad",
}  # fmt: skip


class Cell(msgspec.Struct, frozen=True, kw_only=True):
    """One device. taken: 0…1. colour: of who has it first; -1 while it is free."""

    taken: float
    colour: int
    label: str


class Owner(msgspec.Struct, frozen=True, kw_only=True):
    name: str
    colour: int


class NodeView(msgspec.Struct, frozen=True, kw_only=True):
    """cpu, memory: share taken, 0…1, with the words for it."""

    name: str
    chip: str
    word: str
    tone: Tone
    out: bool
    """Takes nothing new: drawn hatched."""
    cells: list[Cell]
    summary: str
    cpu: float
    cpu_text: str
    memory: float
    memory_text: str
    owners: list[Owner]


class Share(msgspec.Struct, frozen=True, kw_only=True):
    """One resource of a quota; amounts as they are and as places 0…100 on the bar."""

    resource: str
    used_at: float
    min_at: float
    fair_at: float
    max_at: float | None
    over: bool
    """Uses more than its guarantee: lent by others."""
    text: str


class QuotaView(msgspec.Struct, frozen=True, kw_only=True):
    name: str
    depth: int
    note: str
    num_waiting: int
    shares: list[Share]


class TaskRow(msgspec.Struct, frozen=True, kw_only=True):
    name: str
    state: str
    tone: Tone
    age: str
    num_processes: int
    quota: str
    priority: int
    position: str
    num_failures: int
    num_preemptions: int
    message: str


class PoolView(msgspec.Struct, frozen=True, kw_only=True):
    """What three parts of the page place. num_hidden: machines not drawn."""

    nodes: list[NodeView]
    num_hidden: int
    num_devices: int
    num_free: float
    quotas: list[QuotaView]
    tasks: list[TaskRow]
    ended: list[TaskRow]
    num_waiting: int


def pool_view(pool: PoolReading, now: float) -> PoolView:
    """The pool of one reading; `now` in Unix seconds."""
    position = {entry["name"]: entry for entry in pool.queue if entry["noun"] == "task"}
    of_quota: dict[str, int] = {}
    for entry in pool.queue:
        of_quota[entry["quota"]] = of_quota.get(entry["quota"], 0) + 1
    capacity = _capacity(pool.nodes)
    shown = pool.nodes[:MAX_NODES]
    colours = colours_of(holder["name"] for node in shown for holder in node["holders"])
    depth: dict[str | None, int] = {None: -1}
    quotas = []
    for quota in pool.quotas:  # parents come first
        depth[quota["name"]] = depth.get(quota["parent"], -1) + 1
        quotas.append(_quota(quota, min(depth[quota["name"]], MAX_DEPTH), capacity))
    order = {"stopping": 0, "running": 1, "starting": 2, "queued": 3}
    tasks = sorted(pool.tasks, key=lambda row: (order.get(row["state"], 4), _turn(position.get(row["name"]))))
    return PoolView(
        nodes=[_node(node, colours) for node in shown],
        num_hidden=max(0, len(pool.nodes) - MAX_NODES),
        num_devices=sum(node["num_devices"] for node in pool.nodes),
        num_free=sum(sum(node["free"]) for node in pool.nodes),
        quotas=quotas,
        tasks=[task_row(row, now, position.get(row["name"]), of_quota) for row in tasks],
        ended=[task_row(row, now) for row in pool.ended],
        num_waiting=len(pool.queue),
    )


def task_row(
    row: dict[str, Any], now: float, entry: dict[str, Any] | None = None, of_quota: dict[str, int] | None = None
) -> TaskRow:
    """One task; `entry`: its place in the queue, `of_quota`: how many wait in each quota."""
    spec = row["spec"]
    message = row["message"] or (entry["message"] if entry else "")
    place = f"{entry['position']} of {(of_quota or {}).get(entry['quota'], entry['position'])}" if entry else ""
    return TaskRow(
        name=row["name"],
        state=row["state"],
        tone=_TONES.get(row["state"], "idle"),
        age=duration(now - row["since"]),
        num_processes=len(row["exit_codes"]) or spec["processes"] or (spec["workers"] or {}).get("min") or 1,
        quota=spec["quota"] or "default",
        priority=spec["priority"],
        position=place,
        num_failures=row["num_failures"],
        num_preemptions=row["num_preemptions"],
        message="" if row["state"] in ("running", "finished") else message,
    )


def colours_of(names: Iterable[str]) -> dict[str, int]:
    """Each name's own colour where it is free, else the next; shared only by more than NUM_COLOURS names."""
    found: dict[str, int] = {}
    for name in sorted(set(names)):
        own = zlib.crc32(name.encode())
        taken = set(found.values())
        tries = ((own + step) % NUM_COLOURS for step in range(NUM_COLOURS))
        found[name] = next((colour for colour in tries if colour not in taken), own % NUM_COLOURS)
    return found


def _turn(entry: dict[str, Any] | None) -> tuple[str, int]:
    return ("", 0) if entry is None else (entry["quota"], entry["position"])


def _capacity(nodes: list[dict[str, Any]]) -> dict[str, float]:
    found: dict[str, float] = {"gpu": 0.0, "cpu": 0.0}
    for node in nodes:
        found["cpu"] += node["cpu"]
        found["gpu"] += node["num_devices"]
        if node["num_devices"] and node["chip"] != "cpu":
            found[node["chip"]] = found.get(node["chip"], 0.0) + node["num_devices"]
    return found


def _node(node: dict[str, Any], colours: dict[str, int]) -> NodeView:
    on: dict[int, list[dict[str, Any]]] = {}
    for holder in node["holders"]:
        for device in holder["devices"]:
            on.setdefault(device, []).append(holder)
    out = not node["schedulable"]
    word = "draining" if node["drain"] else "cordoned" if node["cordoned"] else "out" if out else "ready"
    memory = node["memory_mib"] - node["memory_free_mib"]
    return NodeView(
        name=node["name"],
        chip=node["chip"],
        word=word,
        tone="good" if word == "ready" else "wait",
        out=out or word != "ready",
        cells=[_cell(at, free, on.get(at, []), colours) for at, free in enumerate(node["free"])],
        summary=f"{sum(node['free']):g} of {node['num_devices']} devices free",
        cpu=_ratio(node["cpu"] - node["cpu_free"], node["cpu"]),
        cpu_text=f"{node['cpu'] - node['cpu_free']:g} / {node['cpu']:g}",
        memory=_ratio(memory, node["memory_mib"]),
        memory_text=f"{memory / 1024:.1f} / {node['memory_mib'] / 1024:.1f}",
        owners=[
            Owner(name=_named(holder), colour=colours[holder["name"]])
            for holder in sorted(node["holders"], key=lambda holder: (holder["noun"], holder["name"]))
        ],
    )


def _cell(at: int, free: float, holders: list[dict[str, Any]], colours: dict[str, int]) -> Cell:
    who = ", ".join(f"{_named(holder)} ({holder['quota']})" for holder in holders)
    words = "free" if free >= 1 else f"{(1 - free) * 100:.0f} % taken" if free > 0 else "taken"
    return Cell(
        taken=min(1.0, max(0.0, 1 - free)),
        colour=colours[holders[0]["name"]] if holders else -1,
        label=f"device {at}: {words}" + (f" by {who}" if who else ""),
    )


def _named(holder: dict[str, Any]) -> str:
    num = holder["num_processes"]
    return f"{holder['noun']} {holder['name']}" + (f" ×{num}" if num > 1 else "")


def _quota(quota: dict[str, Any], depth: int, capacity: dict[str, float]) -> QuotaView:
    notes = [quota["strategy"], "" if quota["lending"] else "lends nothing", "borrows" if quota["borrowing"] else ""]
    return QuotaView(
        name=quota["name"],
        depth=depth,
        note=" · ".join(note for note in notes if note),
        num_waiting=quota["num_waiting"],
        shares=[_share(name, share, capacity.get(name, 0.0)) for name, share in sorted(quota["resources"].items())],
    )


def _share(resource: str, share: dict[str, Any], capacity: float) -> Share:
    used, low, high, fair = share["used"], share["min"], share["max"], share["fair"]
    whole = max(capacity, used, low, fair, high or 0.0) or 1.0
    words = [f"{used:g} used"]
    words += [f"min {low:g}"] if low else []
    words += [] if high is None else [f"max {high:g}"]
    words += [f"fair {fair:g}"]
    words += [f"asked {share['waiting']:g}"] if share["waiting"] else []
    return Share(
        resource=resource,
        used_at=_place(used, whole),
        min_at=_place(low, whole),
        fair_at=_place(fair, whole),
        max_at=None if high is None else _place(high, whole),
        over=used > low,
        text=" · ".join(words),
    )


def _place(amount: float, whole: float) -> float:
    return round(100 * amount / whole, 2)


def _ratio(part: float, whole: float) -> float:
    return part / whole if whole else 0.0
