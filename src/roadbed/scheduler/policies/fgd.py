"""Fragmentation gradient descent: place where the fragmentation of the cluster grows least (Weng et al., ATC '23).

score = ⌊100·σ((F_n − F_n′)/1000)⌋ with σ the logistic function. A fraction goes to the device with the best score,
whole devices to those lowest in index. Formulas as in hkust-adsl/kubernetes-scheduler-simulator (pkg/simulator/plugin).
"""

import numpy as np

from roadbed.scheduler.base import WHOLE
from roadbed.scheduler.fragment import ROUNDING, Floats, Fragments
from roadbed.scheduler.policies.base import Ask, tightest
from roadbed.scheduler.state import Ints, State
from roadbed.scheduler.target import Target


class Fgd:
    name = "fgd"
    volatile = False

    def __init__(self, state: State, target: Target) -> None:
        self.fragments = Fragments(state, target)

    def score(self, state: State, ask: Ask, nodes: Ints) -> tuple[Ints, Ints | None]:
        shape = ask.shape
        if shape.num_devices == 1 and shape.milli < WHOLE:
            now, each = self.fragments.after_share(state, nodes, shape.milli, shape.cpu_milli)
            scores = _logistic(now[:, None] - each)
            device: Ints = scores.argmax(1)
            return scores[np.arange(len(nodes)), device], device
        now, after = self.fragments.after_devices(state, nodes, shape.num_devices, shape.milli, shape.cpu_milli)
        return _logistic(now - after), None

    def devices(self, state: State, ask: Ask, node: int) -> tuple[int, ...]:
        return tightest(state, ask.shape, node)


def _logistic(gain: Floats) -> Ints:
    score: Ints = (100.0 / (1.0 + np.exp(-gain / 1000.0)) + ROUNDING).astype(np.int64)
    return score
