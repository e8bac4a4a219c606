"""Which algorithm, which rank order: prices every one that fits and says why the best one wins."""

from collections.abc import Callable, Sequence
from typing import Literal

import msgspec
import numpy as np

from roadbed.errors import UsageError
from roadbed.fabric.base import Fabric, Floats, Health, Ints
from roadbed.fabric.collective import exchange, hierarchical, ring, tree
from roadbed.fabric.collective.base import OPS, Op, Ranks, Traffic, ranks_of
from roadbed.fabric.collective.run import Job, PathOptions, Solution, price, time_s

Menu = Literal["nccl", "all"]
"""What there is to choose from: the algorithms of NCCL 2.18, or also those a planner of its own could use."""
MENUS: tuple[Menu, ...] = ("nccl", "all")
Maker = Callable[..., Traffic]
MAX_CHANNELS = 32
MAKERS: dict[str, Maker] = {
    "nvls": tree.nvls,
    "ring": ring.ring,
    "tree": tree.tree,
    "hierarchical": hierarchical.hierarchical,
    "pxn": exchange.pxn,
    "direct": exchange.direct,
    "sendrecv": exchange.neighbours,
    "flat_ring": ring.flat_ring,
}
"""Algorithm → what it sends. `nvls` is `nvls_tree` on more than one server."""


def algorithms(fabric: Fabric, op: Op, ranks: Ranks, menu: Menu = "nccl") -> list[str]:
    """Names of those that fit, the usual one first. flat_ring fits but is nobody's choice: it must be asked for."""
    if op not in OPS:
        raise UsageError(f"there is no collective {op!r}; there are {', '.join(OPS)}", field="op")
    if op == "sendrecv":
        return ["sendrecv"]
    if op == "alltoall":
        crosses = not fabric.traits.rail_only
        return (["pxn"] if fabric.traits.scale_up_routes else []) + (["direct"] if crosses else [])
    found = []
    if tree.can_nvls(fabric, op, ranks):
        found.append("nvls")
    if op in ring.RING_OPS:
        found.append("ring")
    if op in tree.TREE_OPS:
        found.append("tree")
    if menu == "all" and op in hierarchical.HIERARCHICAL_OPS and hierarchical.can_hierarchical(ranks):
        found.append("hierarchical")
    return found


def traffic_of(fabric: Fabric, op: Op, ranks: Ranks, algorithm: str, channels: int | None = None) -> Traffic:
    """What an algorithm sends over so many channels per card (None: as many as it usually has); UsageError when there
    is no such one or it does not fit."""
    if channels is not None and not 1 <= channels <= MAX_CHANNELS:
        raise UsageError(f"{channels} channels: a card has 1 to {MAX_CHANNELS}", field="channels")
    if algorithm == "flat_ring" and op in ring.RING_OPS:
        return ring.flat_ring(fabric, op, ranks)
    fitting = algorithms(fabric, op, ranks, "all")
    if algorithm not in fitting:
        raise UsageError(
            f"{algorithm!r} does not do {op} on these ranks; {', '.join(fitting)} would", field="algorithm"
        )
    make = MAKERS[algorithm]
    return make(fabric, op, ranks) if channels is None else make(fabric, op, ranks, channels)


class Choice(msgspec.Struct, frozen=True):
    """The best of several ways, for one size."""

    algorithm: str
    seconds: float
    why: str
    others: dict[str, float]
    """Seconds by algorithm, the chosen one included."""
    link_bytes: Floats
    """[L] Over each link, of all groups together."""


class Ways(msgspec.Struct, frozen=True):
    """All ways to do one operation, priced: sizes are looked up, not solved again."""

    op: Op
    ranks: list[Ranks]
    ways: dict[str, Solution]
    traffic: dict[str, Traffic]

    def best(self, size: float) -> Choice:
        """The quickest way for this size: the slowest of the groups counts."""
        seconds = {name: max(time_s(one, size) for one in way.jobs) for name, way in self.ways.items()}
        name = min(seconds, key=lambda one: seconds[one])
        link_bytes = self.ways[name].link_bytes * size
        why = self._why(name, size, seconds)
        return Choice(self.traffic[name].algorithm, seconds[name], why, seconds, link_bytes)

    def _why(self, name: str, size: float, seconds: dict[str, float]) -> str:
        priced = max(self.ways[name].jobs, key=lambda one: time_s(one, size))
        kernel, net = priced.kernel_s_per_byte * size, priced.net_s_per_byte * size
        limit = max(("latency", priced.latency_s), ("the network", net), ("the server's inside", kernel), key=_second)
        words = (
            f"{self.traffic[name].why}; {limit[0]} holds it ({limit[1] * 1e3:.3g} ms of {seconds[name] * 1e3:.3g} ms)"
        )
        rest = sorted((value, other) for other, value in seconds.items() if other != name)
        if rest:
            words += f"; {rest[0][1]} would take {rest[0][0] / seconds[name]:.2f}×"
        return words


def _second(pair: tuple[str, float]) -> float:
    return pair[1]


def price_all(
    fabric: Fabric,
    op: Op,
    groups: Sequence[Ints],
    options: PathOptions | None = None,
    health: Health | None = None,
    algorithm: str | None = None,
    menu: Menu = "nccl",
) -> Ways:
    """Every algorithm that fits (or the one asked for), with all groups running at the same time."""
    ranks = [ranks_of(fabric, gpus) for gpus in groups]
    names = [algorithm] if algorithm else algorithms(fabric, op, ranks[0], menu)
    ways, traffic = {}, {}
    for name in names:
        jobs = [Job(op, one, traffic_of(fabric, op, one, name)) for one in ranks]
        ways[name] = price(fabric, jobs, options, health)
        traffic[name] = jobs[0].traffic
    return Ways(op, ranks, ways, traffic)


def by_topology(fabric: Fabric, gpus: Ints) -> Ints:
    """The rank order that keeps neighbours near: pod, segment, server, then rail. What the launcher is handed."""
    chosen = np.asarray(gpus, np.int32)
    keys = (fabric.rail[chosen], fabric.server[chosen], fabric.segment[chosen], fabric.pod[chosen])
    found: Ints = chosen[np.lexsort(keys)]
    return found
