"""What a network is: arrays of nodes and directed links, and where each node stands.

Nothing here knows a topology by name. A builder (`topology/`) fills the arrays once; path selection, flow simulation
and drawing only read them. Nodes are numbered in the order GPUs, scale-up switches, NICs, network switches, so the
GPU with rank-order index g is node g and every lookup is an array access. Two cables between the same two switches are
two links: they fail, and are hashed to, one by one.

The trade-off: a `Fabric` is frozen. Failures are not edits of it but a mask of links beside it (`Health`), so one
fabric is shared by all jobs and by all what-if runs.
"""

from enum import IntEnum
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from roadbed.errors import NotFoundError, UsageError

Ints = npt.NDArray[np.int32]
Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]
Bytes8 = npt.NDArray[np.int8]

GBIT = 1e9 / 8
"""Bytes per second of one gigabit per second."""
NOWHERE = -1
"""A coordinate that a node does not have."""


class Kind(IntEnum):
    """What a node is. Order is the order of node numbers."""

    GPU = 0
    SCALE_UP = 1
    """The switch (or mesh, drawn as one) that joins the GPUs of one scale-up domain."""
    NIC = 2
    """One backend network card. Both of its ports are links of this node."""
    TOR = 3
    AGG = 4
    CORE = 5


class LinkKind(IntEnum):
    """What a link is, by its lower end."""

    SCALE_UP = 0
    """GPU – scale-up switch."""
    PCIE = 1
    """GPU – NIC."""
    ACCESS = 2
    """NIC port – ToR."""
    FABRIC = 3
    """ToR – Agg."""
    CORE = 4
    """Agg – Core."""


class Traits(msgspec.Struct, frozen=True, kw_only=True):
    """How a network behaves, beside what it is made of."""

    dual_tor: bool = False
    """The ports of one NIC end at two ToRs that both announce the NIC: either reaches it."""
    dual_plane: bool = False
    """A plane's ToRs are joined by that plane's Aggs alone: the port a packet leaves by is the port it arrives at."""
    rail_optimised: bool = False
    """GPU i of every server of a segment hangs on rail i's ToRs."""
    rail_only: bool = False
    """The network joins equal rails only; other traffic must change rails inside a server."""
    scale_up_routes: bool = True
    """Traffic between rails may cross inside the server first (PXN)."""
    core_by_port: bool = False
    """Cores forward by ingress port, not by hash (HPN 7.0)."""


class Fabric(msgspec.Struct, frozen=True, kw_only=True):
    """A network. N nodes, L directed links; link i and link reverse[i] are one cable."""

    name: str
    parameters: dict[str, Any]
    """What the builder was asked for, to print and to build again."""
    traits: Traits
    chip: str
    """Name in the hardware catalogue."""
    num_gpus: int
    gpus_per_server: int

    # nodes
    kind: Bytes8
    """[N] Kind."""
    server: Ints
    """[N] GPUs, scale-up switches and NICs: their server; else NOWHERE."""
    rail: Ints
    """[N] GPUs, NICs, and ToRs of a rail-optimised network."""
    segment: Ints
    """[N] All but Aggs and Cores."""
    pod: Ints
    """[N] All but Cores."""
    plane: Ints
    """[N] Switches of a dual-plane (or dual-ToR) network: 0 or 1; else NOWHERE."""
    index: Ints
    """[N] Number within its kind (GPU: its place in the fabric)."""
    gpu_nic: Ints
    """[num_gpus] Node of the card nearest to each GPU; several GPUs may share one."""
    gpu_scale_up: Ints
    """[num_gpus] Node of each GPU's scale-up switch; NOWHERE where a server has none."""

    # links
    src: Ints
    """[L] Node."""
    dst: Ints
    """[L] Node."""
    capacity: Floats
    """[L] Bytes per second, nominal."""
    latency_s: Floats
    """[L] Propagation and forwarding of one hop."""
    link_kind: Bytes8
    """[L] LinkKind."""
    reverse: Ints
    """[L] The other direction of the cable; NOWHERE for a one-way link (which `check` names)."""

    # links by node, CSR
    out_start: Ints
    """[N + 1]"""
    out_links: Ints
    """[L] Links leaving node n: out_links[out_start[n]:out_start[n + 1]], in port order."""

    @property
    def num_nodes(self) -> int:
        return len(self.kind)

    @property
    def num_links(self) -> int:
        return len(self.src)

    @property
    def num_servers(self) -> int:
        return int(self.server[: self.num_gpus].max()) + 1 if self.num_gpus else 0

    def nodes(self, kind: Kind) -> Ints:
        """All nodes of a kind, ascending."""
        return np.flatnonzero(self.kind == kind).astype(np.int32)

    def leaving(self, node: int) -> Ints:
        """Links leaving a node, in port order."""
        return self.out_links[self.out_start[node] : self.out_start[node + 1]]

    def node_name(self, node: int) -> str:
        """Such as gpu-17, nic-17, scaleup-2, tor-5, agg-60, core-3: the kind and the number within it."""
        return f"{_NAMES[Kind(self.kind[node])]}-{self.index[node]}"

    def link_name(self, link: int) -> str:
        """`tor-5:agg-2`, or `tor-5:agg-2#1` for the second of several cables between the two."""
        a, b = int(self.src[link]), int(self.dst[link])
        same = [one for one in self.leaving(a) if self.dst[one] == b]
        which = "" if len(same) == 1 else f"#{same.index(link)}"
        return f"{self.node_name(a)}:{self.node_name(b)}{which}"

    def find_node(self, name: str) -> int:
        """The node of a name; NotFoundError with the names there are."""
        prefix, _, digits = name.rpartition("-")
        for kind, known in _NAMES.items():
            if known == prefix and digits.isdecimal():
                found = self.nodes(kind)
                if int(digits) < len(found):
                    return int(found[int(digits)])
                raise NotFoundError(
                    f"{name}: this fabric has {len(found)} of kind {known}, numbered from 0", field="node"
                )
        raise NotFoundError(
            f"there is no node {name!r}; names look like {', '.join(f'{one}-0' for one in _NAMES.values())}",
            field="node",
        )

    def find_link(self, name: str) -> int:
        """The link of a name `A:B` or `A:B#k`, in that direction; NotFoundError when the two are not joined so."""
        ends, _, which = name.partition("#")
        left, colon, right = ends.partition(":")
        if not colon or (which and not which.isdecimal()):
            raise UsageError(f"{name!r} is not a link; links look like nic-0:tor-1 or tor-0:agg-3#1", field="link")
        a, b = self.find_node(left), self.find_node(right)
        same = [int(one) for one in self.leaving(a) if self.dst[one] == b]
        at = int(which or 0)
        if at >= len(same):
            raise NotFoundError(f"{left} and {right} are joined by {len(same)} cables, not {at + 1}", field="link")
        return same[at]


_NAMES = {
    Kind.GPU: "gpu",
    Kind.SCALE_UP: "scaleup",
    Kind.NIC: "nic",
    Kind.TOR: "tor",
    Kind.AGG: "agg",
    Kind.CORE: "core",
}


class Builder:
    """Collects nodes and links a block at a time, then numbers ports and freezes them.

    Blocks must be added in the order of Kind: GPUs first, Cores last. Links may be added in any order; the order in
    which links of a node are added is its port order.
    """

    def __init__(self) -> None:
        self._nodes: list[tuple[Kind, dict[str, Ints]]] = []
        self._links: list[tuple[Ints, Ints, Floats, Floats, Bytes8]] = []
        self._one_way: list[Ints] = []
        self.num_nodes = 0

    def add_nodes(self, kind: Kind, num: int, **where: "int | npt.ArrayLike") -> Ints:
        """Adds num nodes; where: server, rail, segment, pod, plane as scalars or arrays [num]. Their node numbers."""
        if self._nodes and kind < self._nodes[-1][0]:
            raise ValueError(f"{kind.name} after {self._nodes[-1][0].name}: blocks come in the order of Kind")
        unknown = set(where) - set(_WHERE)
        if unknown:
            raise ValueError(f"unknown coordinates {sorted(unknown)}")
        block = {
            name: np.broadcast_to(np.asarray(where.get(name, NOWHERE), np.int32), (num,)).copy() for name in _WHERE
        }
        self._nodes.append((kind, block))
        first = self.num_nodes
        self.num_nodes += num
        return np.arange(first, first + num, dtype=np.int32)

    def join(
        self,
        a: npt.ArrayLike,
        b: npt.ArrayLike,
        kind: LinkKind,
        capacity: float | Floats,
        latency_s: float | Floats,
        *,
        both_ways: bool = True,
    ) -> None:
        """Cables a[i] – b[i], each with this capacity (bytes/s) in each direction."""
        left, right = np.atleast_1d(np.asarray(a, np.int32)), np.atleast_1d(np.asarray(b, np.int32))
        left, right = np.broadcast_arrays(left, right)
        num = len(left)
        caps = np.broadcast_to(np.asarray(capacity, np.float64), (num,))
        lats = np.broadcast_to(np.asarray(latency_s, np.float64), (num,))
        kinds = np.full(num, kind, np.int8)
        self._links.append((left, right, caps, lats, kinds))
        self._one_way.append(np.full(num, 0 if both_ways else 1, np.int32))

    def freeze(
        self,
        *,
        name: str,
        parameters: dict[str, Any],
        traits: Traits,
        chip: str,
        gpus_per_server: int,
        gpu_nic: Ints,
        gpu_scale_up: Ints,
    ) -> Fabric:
        """The fabric. Directed links are numbered: cable i is link 2i (a → b) and 2i + 1 (b → a)."""
        kinds = np.concatenate([np.full(len(b["pod"]), k, np.int8) for k, b in self._nodes])
        where = {name: np.concatenate([block[name] for _, block in self._nodes]) for name in _WHERE}
        index = np.zeros(self.num_nodes, np.int32)
        for kind in Kind:
            mine = kinds == kind
            index[mine] = np.arange(int(mine.sum()), dtype=np.int32)
        links = self._directed()
        order = np.argsort(links["src"], kind="stable").astype(np.int32)
        start = np.zeros(self.num_nodes + 1, np.int32)
        np.cumsum(np.bincount(links["src"], minlength=self.num_nodes), out=start[1:])
        return Fabric(
            name=name,
            parameters=parameters,
            traits=traits,
            chip=chip,
            num_gpus=int((kinds == Kind.GPU).sum()),
            gpus_per_server=gpus_per_server,
            kind=kinds,
            index=index,
            gpu_nic=gpu_nic.astype(np.int32),
            gpu_scale_up=gpu_scale_up.astype(np.int32),
            out_start=start,
            out_links=order,
            **where,
            **links,
        )

    def _directed(self) -> dict[str, Any]:
        """Both directions of every cable; of a one-way one only the first is kept."""
        if self._links:
            a, b, caps, lats, kinds = (np.concatenate(part) for part in zip(*self._links, strict=True))
            one_way = np.concatenate(self._one_way).astype(bool)
        else:
            a = b = kinds = np.zeros(0, np.int32)
            caps = lats = np.zeros(0)
            one_way = np.zeros(0, bool)
        num = 2 * len(a)
        out: dict[str, Any] = {
            "src": np.empty(num, np.int32),
            "dst": np.empty(num, np.int32),
            "capacity": np.repeat(caps, 2),
            "latency_s": np.repeat(lats, 2),
            "link_kind": np.repeat(kinds, 2).astype(np.int8),
            "reverse": np.arange(num, dtype=np.int32) ^ 1,
        }
        out["src"][0::2], out["src"][1::2] = a, b
        out["dst"][0::2], out["dst"][1::2] = b, a
        if one_way.any():
            keep = np.ones(num, bool)
            keep[1::2] = ~one_way
            renumbered = np.cumsum(keep) - 1
            paired = keep[out["reverse"]]
            out["reverse"] = np.where(paired, renumbered[out["reverse"]], NOWHERE).astype(np.int32)
            out = {name: values[keep] for name, values in out.items()}
        return out


_WHERE = ("server", "rail", "segment", "pod", "plane")


class Health(msgspec.Struct, kw_only=True):
    """Which parts of a fabric work. Mutable; a fabric may have many."""

    link_up: Bools
    """[L]"""
    capacity: Floats
    """[L] Bytes per second now: nominal, less where a link has trained down."""

    @classmethod
    def of(cls, fabric: Fabric) -> "Health":
        """Everything works."""
        return cls(link_up=np.ones(fabric.num_links, bool), capacity=fabric.capacity.copy())

    def copy(self) -> "Health":
        return Health(link_up=self.link_up.copy(), capacity=self.capacity.copy())
