"""Ours: fragmentation gradient, the price of a scarce chip, and CPU kept in step with devices.

    gain  = (F_n − F_n′) − λ·price_chip·k + w·(B_n − B_n′)      k: milli-accelerators placed
    B_n   = max(0, R_n − cpu_left_n / c̄)                        devices left that no CPU is left for
    score = ⌊200·σ(gain / 1000)⌋

F is FGD's measure (fragment.py), R the free milli of a node, c̄ the CPU wanted per milli-accelerator over the whole
target workload, price how contended a chip is (scarcity.py). FGD sees CPU only once a process no longer fits; B sees a
node running out of it while there is time, and sends CPU-heavy processes where CPU is plentiful. Among equal scores the
first node wins, as in FGD. Constants were chosen on the tuning lists of the openb trace and on synthetic ones.
"""

import numpy as np

from roadbed.scheduler.base import WHOLE
from roadbed.scheduler.fragment import ROUNDING, Floats, Fragments
from roadbed.scheduler.policies.base import Ask, tightest
from roadbed.scheduler.scarcity import chip_prices
from roadbed.scheduler.state import Ints, State
from roadbed.scheduler.target import Target

PRICE_WEIGHT = 2.5
BALANCE_WEIGHT = 0.1
STEPS = 200.0


class Roadbed:
    name = "roadbed"
    volatile = False

    def __init__(self, state: State, target: Target) -> None:
        self.fragments = Fragments(state, target)
        self.price = (PRICE_WEIGHT * chip_prices(state, target))[state.chip]  # per node
        self.cpu_per_milli = target.cpu_per_milli

    def score(self, state: State, ask: Ask, nodes: Ints) -> tuple[Ints, Ints | None]:
        shape = ask.shape
        device: Ints | None = None
        if shape.num_devices == 1 and shape.milli < WHOLE:
            now, each = self.fragments.after_share(state, nodes, shape.milli, shape.cpu_milli)
            device = each.argmin(1)
            after = each[np.arange(len(nodes)), device]
        else:
            now, after = self.fragments.after_devices(state, nodes, shape.num_devices, shape.milli, shape.cpu_milli)
        gain = now - after + self._balance(state, nodes, shape.total_milli, shape.cpu_milli)
        if shape.num_devices:
            gain -= self.price[nodes] * shape.total_milli
        score: Ints = (STEPS / (1.0 + np.exp(-gain / 1000.0)) + ROUNDING).astype(np.int64)
        return score, device

    def devices(self, state: State, ask: Ask, node: int) -> tuple[int, ...]:
        return tightest(state, ask.shape, node)

    def _balance(self, state: State, nodes: Ints, milli: int, cpu: int) -> Floats:
        """w·(B_n − B_n′): how many fewer milli-accelerators would be left without CPU, weighed."""
        if not self.cpu_per_milli:
            return np.zeros(len(nodes))
        idle = state.left[nodes].sum(1)
        fed = state.cpu_left[nodes] / self.cpu_per_milli
        stranded = np.maximum(idle - fed, 0.0)
        after = np.maximum(idle - milli - fed + cpu / self.cpu_per_milli, 0.0)
        gain: Floats = BALANCE_WEIGHT * (stranded - after)
        return gain
