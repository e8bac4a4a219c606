"""How much free capacity of a node no expected process could use: the fragmentation measure of FGD.

For a node with free milli `left_g` on its devices, R = Σ left_g, and a process m of the target workload with share p_m:

    f_n(m) = R                              if m needs no device, or m does not fit on the node at all
           = Σ_g left_g·[left_g < milli_m]   otherwise
    F_n    = Σ_m p_m f_n(m)

(Weng et al., "Beware of Fragmentation", ATC '23, §4; CPU counts as a reason not to fit, memory does not.) A device's
part of every sum depends on its free milli alone, so both sums are looked up in one table of 1001 rows; a change of one
device is two look-ups.
"""

import numpy as np
from numpy.typing import NDArray

from roadbed.scheduler.base import WHOLE
from roadbed.scheduler.state import Ints, State, allowed
from roadbed.scheduler.target import Target

Floats = NDArray[np.float64]


class Fragments:
    """F of nodes, and of what nodes would become. M target shapes, K distinct device sizes among them."""

    def __init__(self, state: State, target: Target) -> None:
        needing = [
            (shape, share) for shape, share in zip(target.shapes, target.shares, strict=True) if shape.total_milli
        ]
        self.share = np.array([share for _, share in needing], np.float64)
        self.no_device = float(sum(target.shares)) - float(self.share.sum())  # their f is R, whatever happens
        self.num = np.array([shape.num_devices for shape, _ in needing], np.int64)
        self.cpu = np.array([shape.cpu_milli for shape, _ in needing], np.int64)
        masks = [allowed(state, shape) for shape, _ in needing]
        self.allowed = np.stack(masks, 1) if masks else np.zeros((state.num_nodes, 0), bool)
        sizes = sorted({shape.milli for shape, _ in needing})
        self.size = np.array([sizes.index(shape.milli) for shape, _ in needing], np.int64)
        left = np.arange(WHOLE + 1)[:, None]
        enough = left >= np.array(sizes, np.int64)[None, :]
        # float64[1001, 2K]: does the device host size k; the milli it holds that are too few for k.
        self.table = np.concatenate([enough.astype(np.float64), np.where(enough, 0, left)], 1)
        self.num_sizes = len(sizes)

    def of(self, state: State, nodes: Ints) -> Floats:
        """F_n in milli for each node. float64[D]."""
        left = state.left[nodes]
        return self._amount(self.table[left].sum(1), left.sum(1), state.cpu_left[nodes], self.allowed[nodes])

    def after_share(self, state: State, nodes: Ints, milli: int, cpu: int) -> tuple[Floats, Floats]:
        """F now, float64[D], and after one device gives `milli`, float64[D, G]; inf where the device lacks it."""
        left = state.left[nodes]
        cpu_left, allowed_here = state.cpu_left[nodes], self.allowed[nodes]
        rows = self.table[left]
        sums = rows.sum(1)
        total = left.sum(1)
        now = self._amount(sums, total, cpu_left, allowed_here)
        fits = left >= milli
        changed = sums[:, None, :] - rows + self.table[np.where(fits, left - milli, left)]
        after = self._amount(changed, (total - milli)[:, None], (cpu_left - cpu)[:, None], allowed_here[:, None, :])
        return now, np.where(fits, after, np.inf)

    def after_devices(self, state: State, nodes: Ints, num: int, milli: int, cpu: int) -> tuple[Floats, Floats]:
        """F now and after `num` devices with the least sufficient left each give `milli`. float64[D] twice."""
        left = state.left[nodes]
        now = self._amount(self.table[left].sum(1), left.sum(1), state.cpu_left[nodes], self.allowed[nodes])
        if num:
            order = np.argsort(np.where(left >= milli, left, WHOLE + 1), axis=1, kind="stable")[:, :num]
            taken = np.take_along_axis(left, order, 1) - milli
            left = left.copy()
            np.put_along_axis(left, order, np.maximum(taken, 0), 1)
        after = self._amount(self.table[left].sum(1), left.sum(1), state.cpu_left[nodes] - cpu, self.allowed[nodes])
        return now, after

    def _amount(self, sums: Floats, total: NDArray[np.generic], cpu: Ints, allowed_here: NDArray[np.bool_]) -> Floats:
        """Σ_m p_m f(m) from the summed table rows [..., 2K], R [...], free CPU [...] and allowed [..., M]."""
        hosts = sums[..., : self.num_sizes][..., self.size] >= self.num
        hosts = hosts & allowed_here & (cpu[..., None] >= self.cpu)
        few = sums[..., self.num_sizes :][..., self.size]
        each = np.where(hosts, few, np.asarray(total, np.float64)[..., None])
        amount: Floats = each @ self.share + self.no_device * np.asarray(total, np.float64)
        return amount
