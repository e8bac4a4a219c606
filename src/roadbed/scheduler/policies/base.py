"""What a placement policy is: a score for each node a shape fits on, and the devices to take there.

A policy sees the state and changes nothing. Scores are integers, as kube-scheduler's are, and that is part of the
policies: near-equal nodes tie, ties go to the node that comes first, and so load gathers instead of spreading
(without it FGD loses 1.7 points of allocation; docs/design/scheduler.md).
"""

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from roadbed.scheduler.base import WHOLE, Shape
from roadbed.scheduler.state import Ints, State, allowed

Floats = NDArray[np.float64]


class Ask:
    """A shape as one state sees it: which nodes it could ever run on."""

    __slots__ = ("allowed", "shape")

    def __init__(self, state: State, shape: Shape) -> None:
        self.shape = shape
        self.allowed = allowed(state, shape)

    def fits(self, state: State, nodes: Ints) -> NDArray[np.bool_]:
        """Which of the nodes have room for one process now. bool[D]."""
        shape = self.shape
        fits: NDArray[np.bool_] = (
            self.allowed[nodes]
            & state.schedulable[nodes]
            & (state.cpu_left[nodes] >= shape.cpu_milli)
            & (state.memory_left[nodes] >= shape.memory_mib)
        )
        if shape.num_devices and shape.milli == WHOLE:
            fits &= state.whole[nodes] >= shape.num_devices
        elif shape.num_devices:
            fits &= (state.left[nodes] >= shape.milli).sum(1) >= shape.num_devices
        return fits


class Policy(Protocol):
    """One instance serves one state. volatile: scores differ from call to call on the same state, never cached."""

    name: str
    volatile: bool

    def score(self, state: State, ask: Ask, nodes: Ints) -> tuple[Ints, Ints | None]:
        """For nodes the shape fits on: int64[D], ≥ 0, higher is better; and the device a fraction would take on each,
        int64[D], where the policy has found it on the way (else `devices` is asked). O(D)."""
        ...

    def devices(self, state: State, ask: Ask, node: int) -> tuple[int, ...]:
        """The devices one process takes on a node it fits on."""
        ...


def tightest(state: State, shape: Shape, node: int) -> tuple[int, ...]:
    """The fitting devices with least left, lowest index first among equals."""
    if not shape.num_devices:
        return ()
    row: list[int] = state.left[node].tolist()  # a handful: plain Python is quicker than arrays
    if shape.milli == WHOLE:
        return tuple(at for at, left in enumerate(row) if left == WHOLE)[: shape.num_devices]
    fitting = sorted((left, at) for at, left in enumerate(row) if left >= shape.milli)
    return tuple(at for _, at in fitting[: shape.num_devices])
