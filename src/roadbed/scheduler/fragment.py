"""How much free capacity of a node no expected process could use: the fragmentation measure of FGD.

For a node with free milli `left_g` on its devices, R = Σ left_g, and a process m of the target workload with share p_m:

    f_n(m) = R                              if m needs no device, or m does not fit on the node at all
           = Σ_g left_g·[left_g < milli_m]   otherwise
    F_n    = Σ_m p_m f_n(m)

(Weng et al., "Beware of Fragmentation", ATC '23, §4; CPU counts as a reason not to fit, memory does not.) A device's
part of every sum depends on its free milli alone, so both sums are looked up in one table of 1001 rows; a change of one
device is two look-ups. And which processes of one device size fit depends only on how many devices are large enough,
how much CPU is free and what kind of node it is, so their share is looked up too:

    F_n = R·Σ_m p_m − Σ_k P_k·(R − Σ_g left_g·[left_g < k])     P_k: share of the processes of size k that fit
"""

import numpy as np
from numpy.typing import NDArray

from roadbed.scheduler.base import WHOLE
from roadbed.scheduler.state import Ints, State, allowed
from roadbed.scheduler.target import Target

Floats = NDArray[np.float64]
ROUNDING = 1e-9
"""Added to a score before it is truncated: a gain of nothing must not fall a step for the last bit of a sum."""


class Fragments:
    """F of nodes, and of what nodes would become. K distinct device sizes among the target's shapes."""

    def __init__(self, state: State, target: Target) -> None:
        needing = [
            (shape, share) for shape, share in zip(target.shapes, target.shares, strict=True) if shape.total_milli
        ]
        self.all_share = float(sum(target.shares))
        sizes = sorted({shape.milli for shape, _ in needing})
        self.num_sizes = len(sizes)
        left = np.arange(WHOLE + 1)[:, None]
        enough = left >= np.array(sizes, np.int64)[None, :]
        # float64[1001, 2K]: does the device host size k; the milli it holds that are too few for k.
        self.table = np.concatenate([enough.astype(np.float64), np.where(enough, 0, left)], 1)
        masks = [allowed(state, shape) for shape, _ in needing]
        suits = np.stack(masks, 1) if masks else np.zeros((state.num_nodes, 0), bool)
        kinds, kind = np.unique(suits, axis=0, return_inverse=True)
        self.cpus = np.array(sorted({shape.cpu_milli for shape, _ in needing}), np.int64)
        most = state.left.shape[1]
        # float64[kinds of node, CPU demands met, K, devices that host size k]: P_k.
        fits = np.zeros((len(kinds), len(self.cpus) + 1, self.num_sizes, most + 1))
        for at, (shape, share) in enumerate(needing):
            met = int(np.searchsorted(self.cpus, shape.cpu_milli)) + 1
            fits[kinds[:, at], met:, sizes.index(shape.milli), shape.num_devices :] += share
        self._fits = fits.ravel()
        self._step = self.num_sizes * (most + 1)  # from one number of CPU demands met to the next
        self._kind: Ints = kind.reshape(-1).astype(np.int64) * (len(self.cpus) + 1) * self._step
        self._size = np.arange(self.num_sizes, dtype=np.int64) * (most + 1)

    def of(self, state: State, nodes: Ints) -> Floats:
        """F_n in milli for each node. float64[D]."""
        left = state.left[nodes]
        return self._amount(self.table[left].sum(1), left.sum(1), self._row(nodes, state.cpu_left[nodes]))

    def after_share(self, state: State, nodes: Ints, milli: int, cpu: int) -> tuple[Floats, Floats]:
        """F now, float64[D], and after one device gives `milli`, float64[D, G]; inf where the device lacks it or has as
        much left as the one before it, which is then as good."""
        left, cpu_left = state.left[nodes], state.cpu_left[nodes]
        sums, total = self.table[left].sum(1), left.sum(1)
        fits = left >= milli
        fits[:, 1:] &= left[:, 1:] != left[:, :-1]
        at, device = fits.nonzero()
        own = left[at, device]
        changed = sums[at] + (self.table[own - milli] - self.table[own])
        after = np.full(left.shape, np.inf)
        after[at, device] = self._amount(changed, (total - milli)[at], self._row(nodes, cpu_left - cpu)[at])
        return self._amount(sums, total, self._row(nodes, cpu_left)), after

    def after_devices(self, state: State, nodes: Ints, num: int, milli: int, cpu: int) -> tuple[Floats, Floats]:
        """F now and after `num` devices with the least sufficient left each give `milli`. float64[D] twice."""
        left, cpu_left = state.left[nodes], state.cpu_left[nodes]
        sums, total = self.table[left].sum(1), left.sum(1)
        now = self._amount(sums, total, self._row(nodes, cpu_left))
        if num and milli == WHOLE:
            sums = sums + num * (self.table[0] - self.table[WHOLE])
            total = total - num * WHOLE
        elif num:
            order = np.argsort(np.where(left >= milli, left, WHOLE + 1), axis=1, kind="stable")[:, :num]
            taken = np.take_along_axis(left, order, 1) - milli
            left = left.copy()
            np.put_along_axis(left, order, np.maximum(taken, 0), 1)
            sums, total = self.table[left].sum(1), left.sum(1)
        return now, self._amount(sums, total, self._row(nodes, cpu_left - cpu))

    def _row(self, nodes: Ints, cpu_left: Ints) -> Ints:
        """Where in the table of P a node of that kind with that much CPU begins. int64[D]."""
        row: Ints = self._kind[nodes] + self._step * np.searchsorted(self.cpus, cpu_left, side="right")
        return row

    def _amount(self, sums: Floats, total: NDArray[np.integer], row: Ints) -> Floats:
        """F from the summed table rows [D, 2K], R [D] and rows of the table of P [D]."""
        hosts, few = sums[:, : self.num_sizes].astype(np.int64), sums[:, self.num_sizes :]
        hosts += self._size
        hosts += row[:, None]
        share = self._fits[hosts]
        amount: Floats = total * self.all_share - (share * (total[:, None] - few)).sum(1)
        return amount
