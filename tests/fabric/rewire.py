"""A fabric with other cables: what a technician's mistakes do to a good one."""

import msgspec
import numpy as np

from roadbed.fabric.base import Fabric, LinkKind


class Wires:
    """The cables of a fabric as lists that may be edited; `fabric()` is the network with them."""

    def __init__(self, fabric: Fabric) -> None:
        self._fabric = fabric
        once = np.flatnonzero(np.arange(fabric.num_links) < fabric.reverse)
        self.a = fabric.src[once].tolist()
        self.b = fabric.dst[once].tolist()
        self.kind = fabric.link_kind[once].tolist()
        self.capacity = fabric.capacity[once].tolist()
        self.latency_s = fabric.latency_s[once].tolist()

    def of(self, kind: LinkKind) -> list[int]:
        """Positions of cables of a kind."""
        return [at for at, one in enumerate(self.kind) if one == kind]

    def name(self, at: int) -> str:
        return f"{self._fabric.node_name(self.a[at])}:{self._fabric.node_name(self.b[at])}"

    def swap(self, one: int, other: int) -> None:
        """The upper ends of two cables change places."""
        self.b[one], self.b[other] = self.b[other], self.b[one]

    def drop(self, at: int) -> None:
        for column in self._columns():
            del column[at]

    def duplicate(self, at: int) -> None:
        for column in self._columns():
            column.append(column[at])

    def _columns(self) -> tuple[list[float], ...]:
        return self.a, self.b, self.kind, self.capacity, self.latency_s

    def fabric(self) -> Fabric:
        num = len(self.a)
        src, dst = np.empty(2 * num, np.int32), np.empty(2 * num, np.int32)
        src[0::2], src[1::2], dst[0::2], dst[1::2] = self.a, self.b, self.b, self.a
        start = np.zeros(self._fabric.num_nodes + 1, np.int32)
        np.cumsum(np.bincount(src, minlength=self._fabric.num_nodes), out=start[1:])
        return msgspec.structs.replace(
            self._fabric,
            src=src,
            dst=dst,
            capacity=np.repeat(np.array(self.capacity), 2),
            latency_s=np.repeat(np.array(self.latency_s), 2),
            link_kind=np.repeat(np.array(self.kind, np.int8), 2),
            reverse=np.arange(2 * num, dtype=np.int32) ^ 1,
            out_start=start,
            out_links=np.argsort(src, kind="stable").astype(np.int32),
        )
