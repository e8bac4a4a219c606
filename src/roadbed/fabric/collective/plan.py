"""The plan of one collective: algorithm, channels and rank order, and why.

Every combination is priced on the network as it is. More channels mean more connections, so hashing spreads them
better, but each takes a multiprocessor from compute: of plans within WORTH of the best, the one with the fewest
channels wins, and of those the ranks as they were given.
"""

from collections.abc import Sequence

import msgspec
import numpy as np

from roadbed.fabric.base import Fabric, Health, Ints
from roadbed.fabric.collective.base import Op, ranks_of
from roadbed.fabric.collective.chooser import algorithms, by_topology, traffic_of
from roadbed.fabric.collective.run import Job, PathOptions, busbw, price, time_s

CHANNELS = (1, 2, 4, 8)
WORTH = 0.02


class Candidate(msgspec.Struct, frozen=True):
    """One way to do it."""

    algorithm: str
    channels: int
    """Per card."""
    order: str
    """given, or planned: by pod, segment, server, rail."""
    seconds: float


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """What to do for one size."""

    op: Op
    bytes: int
    algorithm: str
    channels: int
    order: str
    gpus: Ints
    """In rank order."""
    seconds: float
    busbw_bytes_s: float
    why: str
    tried: list[Candidate]
    """All, the quickest first."""


def plan(
    fabric: Fabric,
    op: Op,
    gpus: Ints,
    sizes: Sequence[int],
    options: PathOptions | None = None,
    health: Health | None = None,
) -> list[Plan]:
    """One plan per size. Raises UsageError for ranks that can't reach each other."""
    orders = {"given": np.asarray(gpus, np.int32), "planned": by_topology(fabric, gpus)}
    if (orders["given"] == orders["planned"]).all():
        del orders["planned"]
    solved = []
    for name, order in orders.items():
        ranks = ranks_of(fabric, order)
        for algorithm in algorithms(fabric, op, ranks, "all"):
            for channels in CHANNELS:
                traffic = traffic_of(fabric, op, ranks, algorithm, channels)
                priced = price(fabric, [Job(op, ranks, traffic)], options, health).jobs[0]
                solved.append((traffic.algorithm, channels, name, priced))
    out = []
    for size in sizes:
        tried = [Candidate(what, num, name, time_s(priced, float(size))) for what, num, name, priced in solved]
        tried.sort(key=lambda one: (one.seconds, one.channels))
        near = [one for one in tried if one.seconds <= tried[0].seconds * (1 + WORTH)]
        best = min(near, key=lambda one: (one.channels, one.order != "given", one.seconds))
        out.append(
            Plan(
                op=op,
                bytes=size,
                algorithm=best.algorithm,
                channels=best.channels,
                order=best.order,
                gpus=orders[best.order],
                seconds=best.seconds,
                busbw_bytes_s=busbw(op, len(gpus), size, best.seconds),
                why=_why(best, tried),
                tried=tried,
            )
        )
    return out


def _why(best: Candidate, tried: list[Candidate]) -> str:
    """What the next choices would have cost."""

    def other(field: str) -> str:
        rest = [one for one in tried if getattr(one, field) != getattr(best, field)]
        if not rest:
            return ""
        nearest = rest[0]
        return f"{field} {getattr(nearest, field)} would take {nearest.seconds / best.seconds:.2f}×"

    said = [words for words in (other("algorithm"), other("channels"), other("order")) if words]
    return "; ".join(said) or "there is no other way"
