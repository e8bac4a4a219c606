"""Filling a cluster up: how much of it a policy can give out before nothing fits any more.

The protocol of FGD's evaluation (hkust-adsl/kubernetes-scheduler-simulator): pods in a seeded random order, more
of them resampled until the demand is `inflate` times the capacity, each offered once and dropped for good when it fits
nowhere; nobody ever leaves. Nodes stand in a seeded random order, which is the order ties are broken in. Measured is
what share of all devices is given out, and what share of them is a fragment no expected pod could use, as functions of
how much demand has arrived: the mean over all events whose arrived percentage rounds to a number.

Policies of one seed see the same pods and the same order of nodes, so their differences are paired.
"""

import random
import time
from collections.abc import Callable, Sequence

import msgspec
import numpy as np

from roadbed.errors import UsageError
from roadbed.scheduler.base import Gang, Shape
from roadbed.scheduler.fragment import Fragments
from roadbed.scheduler.planner import TreePlanner
from roadbed.scheduler.policies.registry import make_planner
from roadbed.scheduler.state import State
from roadbed.scheduler.target import target_of
from roadbed.spec.inventory import NodeInfo

MAX_PODS = 20_000_000
_KEYS_EVERY = 10
_EXTRA_KEYS = (95,)
_TICK_EVERY = 256


class FillRow(msgspec.Struct, frozen=True):
    """One run. alloc, frag: per cent of all devices, by arrived per cent. decisions_per_s: pods offered per second of
    CPU time spent deciding and booking."""

    policy: str
    workload: str
    seed: int
    alloc: dict[str, float]
    frag: dict[str, float]
    decisions_per_s: float


class Curve:
    """Values along the arrived percentage; `at` is the mean of those that rounded to one per cent."""

    def __init__(self) -> None:
        self._sum: dict[int, float] = {}
        self._num: dict[int, int] = {}

    def add(self, percent: int, value: float) -> None:
        """One event's value."""
        self._sum[percent] = self._sum.get(percent, 0.0) + value
        self._num[percent] = self._num.get(percent, 0) + 1

    def at(self, percent: int) -> float:
        """The mean there; where large pods jumped over it, that of the nearest one before. 0 before the first."""
        known = [key for key in self._sum if key <= percent]
        if not known:
            return 0.0
        key = max(known)
        return self._sum[key] / self._num[key]


def arrivals(shapes: Sequence[Shape], seed: int, capacity_milli: int, inflate: float) -> list[Shape]:
    """The pods of one run in order: all of them shuffled, then resampled ones until inflate × capacity is reached.

    Where they demand more than that, random ones are left out. As upstream, the check before adding one counts a
    single device of it. UsageError when the pods are so small that there would be more than MAX_PODS.
    """
    mean = sum(shape.total_milli for shape in shapes) / max(1, len(shapes))
    if mean and not 0 <= inflate * capacity_milli / mean <= MAX_PODS:
        words = f"it takes more than {MAX_PODS:,} of these pods to demand {inflate:g} × the capacity"
        raise UsageError(words, hint="roadbed twin schedule --help", field="inflate")
    rng = random.Random(seed)
    order = list(shapes)
    rng.shuffle(order)
    demand = sum(shape.total_milli for shape in order)
    target = inflate * capacity_milli
    while demand > target:
        demand -= order.pop(rng.randrange(len(order))).total_milli
    wanting = any(shape.total_milli for shape in shapes)
    while wanting:
        shape = rng.choice(shapes)
        if demand + (shape.milli if shape.num_devices else 0) > target:
            break
        order.append(shape)
        demand += shape.total_milli
    return order


def fill(
    nodes: Sequence[NodeInfo],
    shapes: Sequence[Shape],
    policy: str,
    seed: int,
    *,
    workload: str = "",
    inflate: float = 1.3,
    tick: Callable[[float], None] | None = None,
) -> FillRow:
    """One run of one policy and seed. tick: told now and then which share is done. UsageError: no such policy."""
    rng = np.random.default_rng(seed)
    state = State([nodes[at] for at in rng.permutation(len(nodes))])
    target = target_of(shapes)
    planner = make_planner(policy, state, target, rng)
    order = arrivals(shapes, seed, state.total_milli, inflate)
    fragments = Fragments(state, target)
    of_node = fragments.of(state, np.arange(state.num_nodes, dtype=np.int64))
    amount, capacity = float(of_node.sum()), max(1, state.total_milli)
    alloc, frag = Curve(), Curve()
    arrived = used = 0
    spent_s = 0.0
    for at, shape in enumerate(order):
        arrived += shape.total_milli
        began_s = time.process_time()
        node = _place(planner, state, shape)
        spent_s += time.process_time() - began_s
        if node >= 0:
            used += shape.total_milli
            now = float(fragments.of(state, np.array([node], np.int64))[0])
            amount += now - of_node[node]
            of_node[node] = now
        percent = round(100 * arrived / capacity)
        alloc.add(percent, round(100 * used / capacity, 2))
        frag.add(percent, 100 * amount / capacity)
        if tick is not None and at % _TICK_EVERY == 0:
            tick(at / len(order))
    keys = _keys(inflate)
    return FillRow(
        policy,
        workload,
        seed,
        {str(key): round(alloc.at(key), 4) for key in keys},
        {str(key): round(frag.at(key), 4) for key in keys},
        round(len(order) / spent_s, 1) if spent_s else 0.0,
    )


def _place(planner: TreePlanner, state: State, shape: Shape) -> int:
    """Offers one pod; the node it went to, -1 where it fits nowhere."""
    placement = planner.plan(Gang(shape=shape))
    if placement is None:
        return -1
    state.take_all(placement, shape)
    return placement.slots[0].node


def _keys(inflate: float) -> list[int]:
    last = round(100 * inflate)
    return sorted({*range(0, last + 1, _KEYS_EVERY), *(key for key in _EXTRA_KEYS if key <= last), last})
