"""What a chip is worth: how contended it would be if every process went where its chips are least contended.

Each kind of demand d_m spreads over the chips it may use in proportion to cap_c·exp(−β·price_c); the load that results
(demand over capacity) moves the prices, until neither changes — a smoothed form of the linear program that minimises
the highest load. All demand together is scaled to the capacity, so only its make-up matters. A chip nobody insists on
has price 0; without chip lists all have.
"""

import numpy as np

from roadbed.scheduler.policies.base import Floats
from roadbed.scheduler.state import State, allowed
from roadbed.scheduler.target import Target

_STEPS = 60
_SHARPNESS = 8.0
_DAMPING = 0.1


def chip_prices(state: State, target: Target) -> Floats:
    """float64[len(state.chips)]: load above that of the least contended chip, ≥ 0. O(kinds · chips)."""
    num = len(state.chips)
    capacity = np.bincount(state.chip, weights=state.num_devices, minlength=num)
    kinds = [(_chips(state, allowed(state, kind), num) * capacity, amount) for kind, amount in target.kinds]
    kinds = [(room, amount) for room, amount in kinds if room.any()]
    wanted = sum(amount for _, amount in kinds)
    if not wanted:
        return np.zeros(num)
    scale = capacity.sum() / wanted
    price = np.zeros(num)
    for _ in range(_STEPS):
        demand = np.zeros(num)
        for room, amount in kinds:
            weight = room * np.exp(-_SHARPNESS * price)
            demand += scale * amount * weight / weight.sum()
        load = np.divide(demand, capacity, out=np.zeros(num), where=capacity > 0)
        price = (1 - _DAMPING) * price + _DAMPING * load
    has = capacity > 0
    return np.where(has, price - price[has].min(), 0.0)


def _chips(state: State, nodes: np.ndarray[tuple[int], np.dtype[np.bool_]], num: int) -> Floats:
    """1.0 for each chip some allowed node has."""
    return (np.bincount(state.chip[nodes], minlength=num) > 0).astype(np.float64)
