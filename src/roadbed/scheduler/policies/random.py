"""A uniformly random node among those that fit, and random fitting devices on it: the floor of every comparison."""

import numpy as np

from roadbed.scheduler.policies.base import Ask
from roadbed.scheduler.state import Ints, State


class Random:
    """rng: injected. Scores are drawn anew for every process, so they are never cached (`volatile`)."""

    name = "random"
    volatile = True

    def __init__(self, rng: np.random.Generator) -> None:
        self.rng = rng

    def score(self, state: State, ask: Ask, nodes: Ints) -> tuple[Ints, Ints | None]:
        return self.rng.integers(0, 1 << 40, len(nodes)), None

    def devices(self, state: State, ask: Ask, node: int) -> tuple[int, ...]:
        fitting = np.flatnonzero((state.left[node] >= ask.shape.milli) & state.exists[node])
        return tuple(sorted(self.rng.permutation(fitting)[: ask.shape.num_devices].tolist()))
