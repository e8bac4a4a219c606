"""What breaks when, and when the network has noticed.

A fault happens twice. First physics: the link carries nothing, and whoever crosses it sends into the void. Then, one
convergence later, the routes: the /32 of a card whose link is gone is withdrawn, Aggs send to its other ToR, hosts use
their other port (HPN §5). A network with one ToR per card has nothing to converge to; its cards wait for the repair.
The same on the way back: a repaired link carries nothing until the switches use it again.

People write faults as words: `nic-0:tor-1` is that cable, in both directions; `nic-0>tor-1` only the direction given
(a one-way fault); `tor-3` and `nic-0` all cables of a node.
"""

import re
from collections.abc import Sequence
from typing import Literal

import msgspec
import numpy as np

from roadbed.errors import UsageError
from roadbed.fabric.base import NOWHERE, Fabric, Health, Ints, LinkKind
from roadbed.fabric.constants import CONVERGENCE_S

MAX_FLAPS = 10_000


class Event(msgspec.Struct, frozen=True, kw_only=True):
    """Links change state, or the routes have caught up (converged, then links may be empty)."""

    at_s: float
    links: Ints
    up: bool = True
    share: float = 1.0
    """Of nominal capacity, once up."""
    converged: bool = False
    words: str = ""
    """For people."""


class Fault(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that breaks, and perhaps heals."""

    what: str
    """As written: a link, or a node."""
    links: Ints
    at_s: float
    repair_s: float | None = None
    """How long until it works again, more than 0; None = never."""
    flaps: int = 1
    """How often it goes down; each time for repair_s, and then up for as long."""
    share: float = 0.0
    """What is left of the capacity while it is broken: 0 = dead, 0.5 = trained down to half."""


def parse(
    fabric: Fabric,
    what: str,
    *,
    at_s: float,
    repair_s: float | None = None,
    flaps: int = 1,
    share: float = 0.0,
    kind: Literal["link", "tor", "nic"] | None = None,
) -> Fault:
    """The fault of these words. kind: what it has to be, where the user said so (`--tor tor-3`).

    UsageError names what does not fit; NotFoundError a node or link that is not there.
    """
    if not 0 <= at_s < 1e9:
        raise UsageError(f"at is {at_s:g} s; it must be from 0 to 1e9", field="at")
    if repair_s is not None and not 0 < repair_s < 1e9:
        raise UsageError(f"repair is {repair_s:g} s; it must be more than 0 and below 1e9", field="repair")
    if not 0 <= share < 1:
        raise UsageError(f"share is {share:g}; a broken link has from 0 to less than 1 of its capacity", field="share")
    if not 1 <= flaps <= MAX_FLAPS:
        raise UsageError(f"flaps is {flaps}; it must be from 1 to {MAX_FLAPS:,}", field="flaps")
    if flaps > 1 and repair_s is None:
        raise UsageError("a link that flaps comes up again; say after how long", hint="add --repair 2s", field="repair")
    return Fault(what=what, links=links_of(fabric, what, kind), at_s=at_s, repair_s=repair_s, flaps=flaps, share=share)


def links_of(fabric: Fabric, what: str, kind: Literal["link", "tor", "nic"] | None = None) -> Ints:
    """The links of `nic-0:tor-1` (both directions), `nic-0>tor-1` (that one), or a node (its network cables)."""
    one_way = re.fullmatch(r"([^:>]+)>([^:>]+)", what)
    is_link = ":" in what or one_way is not None
    if kind is not None and is_link != (kind == "link"):
        example = {"link": "nic-0:tor-1", "tor": "tor-3", "nic": "nic-0"}[kind]
        raise UsageError(f"{what!r} is no {kind}; write it as {example}", hint=f"--{kind} {example}", field=kind)
    if one_way is not None:
        return np.array([fabric.find_link(f"{one_way[1]}:{one_way[2]}")], np.int32)
    if is_link:
        link = fabric.find_link(what)
        back = int(fabric.reverse[link])
        return np.array([link] if back == NOWHERE else sorted((link, back)), np.int32)
    if kind is not None and not what.startswith(f"{kind}-"):
        raise UsageError(f"{what!r} is no {kind}; write it as {kind}-0", hint=f"--{kind} {kind}-0", field=kind)
    node = fabric.find_node(what)
    network = fabric.link_kind >= LinkKind.ACCESS
    found = np.flatnonzero(network & ((fabric.src == node) | (fabric.dst == node))).astype(np.int32)
    if len(found) == 0:
        raise UsageError(f"{what} has no network cable that could break", field=kind or "node")
    return found


def schedule(fabric: Fabric, faults: Sequence[Fault], convergence_s: float = CONVERGENCE_S) -> list[Event]:
    """Events of these faults in order of time: down, converged, up, converged, … A link two faults hold down comes up
    when the last lets go of it. UsageError for a convergence that is negative or not finite."""
    if not 0 <= convergence_s < 1e9:
        raise UsageError(f"convergence is {convergence_s:g} s; it must be from 0 to 1e9", field="convergence")
    changes: list[tuple[float, int, Fault, bool]] = []
    for fault in faults:
        for turn in range(fault.flaps):
            down = fault.at_s + 2 * turn * (fault.repair_s or 0.0)
            changes.append((down, 1, fault, False))
            if fault.repair_s is not None:
                changes.append((down + fault.repair_s, 0, fault, True))
    changes.sort(key=lambda change: change[:2])
    held: dict[int, list[float]] = {}
    events = []
    for at_s, _, fault, heals in changes:
        events.extend(_apply(fabric, held, at_s, fault, heals))
        words = f"routes follow {fault.what}"
        nothing = np.zeros(0, np.int32)
        events.append(Event(at_s=at_s + convergence_s, links=nothing, converged=True, words=words))
    return sorted(events, key=lambda event: event.at_s)


def _apply(fabric: Fabric, held: dict[int, list[float]], at_s: float, fault: Fault, heals: bool) -> list[Event]:
    """Events of one fault's coming or going; `held` are the shares every fault leaves a link, while it lasts."""
    by_share: dict[float, list[int]] = {}
    for link in fault.links.tolist():
        shares = held.setdefault(link, [])
        if heals:
            shares.remove(fault.share)
        else:
            shares.append(fault.share)
        by_share.setdefault(min(shares, default=1.0), []).append(link)
    verb = "is back" if heals else ("is down" if fault.share == 0 else f"has {fault.share:.0%} left")
    return [
        Event(
            at_s=at_s, links=np.array(links, np.int32), up=share > 0, share=share if share > 0 else 1.0,
            words=f"{fault.what} {verb}",
        )
        for share, links in sorted(by_share.items())
    ]  # fmt: skip


def after(fabric: Fabric, health: Health, events: Sequence[Event], at_s: float) -> Health:
    """The state of the links once all events up to a moment have happened."""
    out = health.copy()
    for event in sorted(events, key=lambda one: one.at_s):
        if event.at_s > at_s:
            break
        out.link_up[event.links] = event.up
        out.capacity[event.links] = fabric.capacity[event.links] * event.share
    return out
