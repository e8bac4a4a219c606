"""Kueue's topology-aware scheduling for one process: the node with the fewest places that still has one.

Gangs follow the rule "tas" of the planner: the smallest domain that fits, filled from its roomiest child (KEP-2724,
BestFit). Ties by name, that is by order.
"""

import numpy as np

from roadbed.scheduler.base import WHOLE
from roadbed.scheduler.policies.base import Ask, tightest
from roadbed.scheduler.room import per_devices
from roadbed.scheduler.state import Ints, State

_MOST = 1 << 20


class KubeTas:
    name = "kube_tas"
    volatile = False

    def score(self, state: State, ask: Ask, nodes: Ints) -> tuple[Ints, Ints | None]:
        shape = ask.shape
        places = np.full(len(nodes), _MOST, np.int64)
        if shape.cpu_milli:
            places = np.minimum(places, state.cpu_left[nodes] // shape.cpu_milli)
        if shape.memory_mib:
            places = np.minimum(places, state.memory_left[nodes] // shape.memory_mib)
        if shape.num_devices:
            left = state.left[nodes] if shape.milli < WHOLE else np.where(state.left[nodes] == WHOLE, WHOLE, 0)
            places = np.minimum(places, per_devices(left, shape))
        return _MOST - places, None

    def devices(self, state: State, ask: Ask, node: int) -> tuple[int, ...]:
        return tightest(state, ask.shape, node)
