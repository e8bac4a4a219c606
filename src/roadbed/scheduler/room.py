"""How many processes of a shape each node has room for, and which devices each would take.

Devices never add up across a server's inner scale-up islands where the gang asks to stay inside one: of 6 + 2 free
devices in two islands of eight, none hosts a process of eight.
"""

import numpy as np
from numpy.typing import NDArray

from roadbed.scheduler.base import WHOLE, Shape
from roadbed.scheduler.policies.base import Ask
from roadbed.scheduler.state import Ints, State

_ENDLESS = 1 << 30
ONE_ISLAND = -1  # `together`: all processes of a node in one inner island


class Inner:
    """The devices of each node by scale-up island inside the server. width: the most islands any server has."""

    def __init__(self, state: State) -> None:
        self.width = 1 + max((max(node.device_islands, default=0) for node in state.nodes), default=0)
        self.mask = np.zeros((self.width, *state.left.shape), bool)
        for at, node in enumerate(state.nodes):
            for device in range(node.num_devices):
                self.mask[node.island_of(device), at, device] = True


def room(state: State, ask: Ask, nodes: Ints, inner: Inner, together: int, *, empty: bool = False) -> Ints:
    """Processes each node has room for. int64[D].

    together: 0, inner islands do not matter; k, multiples of k in each inner island; ONE_ISLAND, what the roomiest
    inner island hosts. empty: as if nothing ran anywhere."""
    shape = ask.shape
    left = np.where(state.exists[nodes], WHOLE, 0) if empty else state.left[nodes]
    cpu, memory = (state.cpu, state.memory) if empty else (state.cpu_left, state.memory_left)
    num = np.full(len(nodes), _ENDLESS, np.int64)
    if shape.cpu_milli:
        num = np.minimum(num, cpu[nodes] // shape.cpu_milli)
    if shape.memory_mib:
        num = np.minimum(num, memory[nodes] // shape.memory_mib)
    if shape.num_devices:
        if together and inner.width > 1:
            each = [per_devices(np.where(inner.mask[at][nodes], left, 0), shape) for at in range(inner.width)]
            whole = np.stack(each) if together == ONE_ISLAND else np.stack(each) // together * together
            hosted = whole.max(0) if together == ONE_ISLAND else whole.sum(0)
        else:
            hosted = per_devices(left, shape)
        num = np.minimum(num, hosted)
    return np.where(ask.allowed[nodes] & state.schedulable[nodes], np.maximum(num, 0), 0)


def per_devices(left: NDArray[np.integer], shape: Shape) -> Ints:
    """Processes that rows of free devices host: each takes shape.num_devices different devices. int64[D]."""
    fold: Ints = (left // shape.milli).astype(np.int64)
    if shape.num_devices == 1:
        return np.asarray(fold.sum(1), np.int64)
    if shape.milli > WHOLE // 2:
        return np.asarray(fold.sum(1) // shape.num_devices, np.int64)
    best = np.zeros(len(left), np.int64)
    # k processes fit iff Σ_g min(fold_g, k) ≥ k·num: no device serves one process twice.
    for count in range(1, int(fold.sum(1).max(initial=0)) // shape.num_devices + 1):
        best = np.where(np.minimum(fold, count).sum(1) >= count * shape.num_devices, count, best)
    return best


def pick(state: State, shape: Shape, node: int, count: int, inner: Inner, together: int) -> list[tuple[int, ...]]:
    """Devices of `count` processes on one node, one tuple each; fewer than asked when they do not fit."""
    if not shape.num_devices:
        return [()] * count
    row = state.left[node].astype(np.int64)
    groups = [np.flatnonzero(inner.mask[at][node]) for at in range(inner.width)] if inner.width > 1 else []
    groups = [group for group in groups if len(group)]
    if len(groups) < 2:
        return _pick_from(row, np.arange(len(row)), shape, count)
    out: list[tuple[int, ...]] = []
    unit = count if together == ONE_ISLAND else max(1, together)
    while len(out) < count:
        hosted = [int(per_devices(row[group][None, :], shape)[0]) for group in groups]
        need = min(unit, count - len(out))
        # The island that fits with least to spare; where none does, devices of any island if the gang allows it.
        fitting = [(num, at) for at, num in enumerate(hosted) if num >= need]
        devices = groups[min(fitting)[1]] if fitting else np.arange(len(row))
        if not fitting and together:
            return out
        picked = _pick_from(row, devices, shape, need)
        if not picked:
            return out
        out += picked
    return out


def _pick_from(row: Ints, devices: Ints, shape: Shape, count: int) -> list[tuple[int, ...]]:
    """Takes from `row` in place: the fullest devices that fit, lowest index first among equals."""
    num, milli = shape.num_devices, shape.milli
    if milli == WHOLE:
        free = devices[row[devices] == WHOLE].tolist()
        out = [tuple(free[at : at + num]) for at in range(0, min(len(free) // num, count) * num, num)]
        row[[device for each in out for device in each]] = 0
        return out
    out = []
    for _ in range(count):
        fitting = devices[row[devices] >= milli]
        if len(fitting) < num:
            break
        # A process of several fractions takes the emptiest devices, so that the next one finds different ones too.
        keys = row[fitting] if num == 1 else -row[fitting]
        chosen = np.sort(fitting[np.argsort(keys, kind="stable")][:num])
        row[chosen] -= milli
        out.append(tuple(chosen.tolist()))
    return out
