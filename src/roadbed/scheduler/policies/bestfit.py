"""Best fit and Tetris' dot product over (CPU, devices), the classic vector packers.

Sizes are weighed against 128 cores and 8 devices, the largest node of the trace they were published on. Formulas as in
hkust-adsl/kubernetes-scheduler-simulator; alignment after Grandl et al., SIGCOMM '14.
"""

import numpy as np

from roadbed.scheduler.policies.base import Ask, Floats, tightest
from roadbed.scheduler.state import Ints, State

_CPU = 128_000.0
_DEVICES = 8_000.0


class BestFit:
    """The node with least left after placing."""

    name = "bestfit"
    volatile = False

    def score(self, state: State, ask: Ask, nodes: Ints) -> tuple[Ints, Ints | None]:
        cpu, devices = _after(state, ask, nodes)
        return np.maximum(100.0 * (1.0 - 0.5 * (cpu / _CPU + devices / _DEVICES)), 0).astype(np.int64), None

    def devices(self, state: State, ask: Ask, node: int) -> tuple[int, ...]:
        return tightest(state, ask.shape, node)


class DotProd:
    """The node whose free vector, scaled, is least aligned with what is asked."""

    name = "dotprod"
    volatile = False

    def score(self, state: State, ask: Ask, nodes: Ints) -> tuple[Ints, Ints | None]:
        shape = ask.shape
        cpu = state.cpu_left[nodes] * (shape.cpu_milli / _CPU**2)
        devices = state.left[nodes].sum(1) * (shape.total_milli / _DEVICES**2)
        score: Ints = np.maximum(100.0 * (1.0 - 0.5 * (cpu + devices)), 0).astype(np.int64)
        return score, None

    def devices(self, state: State, ask: Ask, node: int) -> tuple[int, ...]:
        return tightest(state, ask.shape, node)


def _after(state: State, ask: Ask, nodes: Ints) -> tuple[Floats, Floats]:
    shape = ask.shape
    cpu: Floats = (state.cpu_left[nodes] - shape.cpu_milli).astype(np.float64)
    devices: Floats = (state.left[nodes].sum(1) - shape.total_milli).astype(np.float64)
    return cpu, devices
