"""Packing and clustering by hand-made rules, the baselines of Gandiva-like systems in the FGD evaluation.

Formulas as in hkust-adsl/kubernetes-scheduler-simulator (gpu_packing_score.go, gpu_clustering_score.go).
"""

import numpy as np

from roadbed.scheduler.base import WHOLE
from roadbed.scheduler.policies.base import Ask, tightest
from roadbed.scheduler.state import Ints, State, pod_class


class Packing:
    """Devices already shared first, then free devices of used nodes, idle nodes last."""

    name = "packing"
    volatile = False

    def score(self, state: State, ask: Ask, nodes: Ints) -> tuple[Ints, Ints | None]:
        shape = ask.shape
        if not shape.num_devices:
            return np.zeros(len(nodes), np.int64), None
        left = state.left[nodes]
        exists = state.exists[nodes]
        free = ((left == WHOLE) & exists).sum(1)
        order = np.sort(np.where((left >= shape.milli) & exists, left, 2 * WHOLE), axis=1)[:, : shape.num_devices]
        shared_only = (order < WHOLE).all(1)
        shared = np.maximum(100 - order.sum(1) // 100, 50)
        new_used = (order == WHOLE).sum(1)
        idle_node = free == state.num_devices[nodes]
        on_used = np.maximum(50 - new_used, 33)
        on_idle = np.maximum(33 - state.num_devices[nodes], 1)
        return np.where(shared_only, shared, np.where(idle_node, on_idle, on_used)).astype(np.int64), None

    def devices(self, state: State, ask: Ask, node: int) -> tuple[int, ...]:
        return tightest(state, ask.shape, node)


class Clustering:
    """Processes of one class (fraction, 1, 2, 4, 8 devices) gather on nodes of their own."""

    name = "clustering"
    volatile = False

    def score(self, state: State, ask: Ask, nodes: Ints) -> tuple[Ints, Ints | None]:
        mine = pod_class(ask.shape)
        if not mine:
            return np.zeros(len(nodes), np.int64), None
        used = state.used_by[nodes, 1:]
        same = used[:, mine - 1] > 0
        others = (used > 0).sum(1) - same
        idle = (used == 0).all(1)
        base = np.where(same & (others == 0), 75, np.where(same, 50, np.where(idle, 25, 0)))
        width = 8 * WHOLE
        score: Ints = base + 25 * np.maximum(width - state.left[nodes].sum(1), 0) // width
        return score, None

    def devices(self, state: State, ask: Ask, node: int) -> tuple[int, ...]:
        return tightest(state, ask.shape, node)
