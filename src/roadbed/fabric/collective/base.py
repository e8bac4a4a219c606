"""Nouns of a collective: operation, ranks, and the traffic an algorithm makes of them.

Sizes follow nccl-tests: all-reduce, broadcast and send/recv count one rank's buffer; all-gather the gathered result;
reduce-scatter the buffer before it is scattered; all-to-all what one rank sends altogether. algbw = size ÷ time and
busbw = algbw × `BUS_FACTOR`, the figure that is comparable between operations and numbers of ranks
(nccl-tests, doc/PERFORMANCE.md).

An algorithm is described per byte of the operation, so one solution of the network serves every size.
"""

from collections.abc import Callable
from typing import Literal

import msgspec
import numpy as np

from roadbed.errors import UsageError
from roadbed.fabric.base import Fabric, Floats, Ints

Op = Literal["allreduce", "allgather", "reducescatter", "alltoall", "broadcast", "sendrecv"]
Form = Literal["ring", "tree", "messages"]
OPS: tuple[Op, ...] = ("allreduce", "allgather", "reducescatter", "alltoall", "broadcast", "sendrecv")

BUS_FACTOR: dict[str, Callable[[int], float]] = {
    "allreduce": lambda n: 2 * (n - 1) / n,
    "allgather": lambda n: (n - 1) / n,
    "reducescatter": lambda n: (n - 1) / n,
    "alltoall": lambda n: (n - 1) / n,
    "broadcast": lambda n: 1.0,
    "sendrecv": lambda n: 1.0,
}
"""busbw ÷ algbw on n ranks."""

MAX_BYTES = 1 << 50


def check_op(op: str) -> Op:
    """The operation of a name; UsageError with those there are."""
    for known in OPS:
        if op == known:
            return known
    raise UsageError(f"there is no collective {op!r}; there are {', '.join(OPS)}", field="op")


class Ranks(msgspec.Struct, frozen=True):
    """GPUs of one communicator in rank order, grouped by server.

    Servers keep the order of their first rank; the ranks of a server keep theirs. g ranks on every server: algorithms
    that join the same place of every server ask for `per_server`.
    """

    gpus: Ints
    """[n] GPU numbers in rank order."""
    servers: Ints
    """[N] Server of each group, in ring order."""
    start: Ints
    """[N + 1] into `members`."""
    members: Ints
    """[n] GPU numbers, grouped by server."""

    @property
    def num(self) -> int:
        return len(self.gpus)

    @property
    def num_servers(self) -> int:
        return len(self.servers)

    @property
    def per_server(self) -> int:
        """Ranks of every server; 0 when servers differ."""
        sizes = np.diff(self.start)
        return int(sizes[0]) if len(sizes) and (sizes == sizes[0]).all() else 0

    def grid(self) -> Ints:
        """[N, g] GPU of each place of each server. Servers with fewer ranks use theirs several times."""
        sizes = np.diff(self.start)
        places = np.arange(int(sizes.max()), dtype=np.int32)[None, :] % sizes[:, None]
        found: Ints = self.members[self.start[:-1, None] + places]
        return found


def ranks_of(fabric: Fabric, gpus: "Ints | list[int]") -> Ranks:
    """Ranks in this order; UsageError on GPUs there are not or that come twice, and on fewer than two."""
    chosen = np.asarray(gpus, np.int64)
    if len(chosen) < 2:
        raise UsageError(f"a collective needs at least 2 ranks, not {len(chosen)}", field="gpus")
    bad = chosen[(chosen < 0) | (chosen >= fabric.num_gpus)]
    if len(bad):
        raise UsageError(f"there is no gpu-{bad[0]}: {fabric.name} has {fabric.num_gpus} GPUs", field="gpus")
    unique, counts = np.unique(chosen, return_counts=True)
    if (counts > 1).any():
        raise UsageError(f"gpu-{unique[counts > 1][0]} is named twice", field="gpus")
    ordered = chosen.astype(np.int32)
    server = fabric.server[ordered]
    _, first, inverse = np.unique(server, return_index=True, return_inverse=True)
    place = np.argsort(np.argsort(first))[inverse]
    order = np.argsort(place, kind="stable")
    sizes = np.bincount(place)
    start = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int32)
    return Ranks(ordered, server[np.sort(first)].astype(np.int32), start, ordered[order])


class Traffic(msgspec.Struct, frozen=True, kw_only=True):
    """What one algorithm sends for one byte of the operation. E connections between servers.

    Connections of one `session` move in step (see docs/design/fabric.md); all of a session carry the same.
    """

    algorithm: str
    src: Ints
    """[E] GPU at whose card the connection begins."""
    dst: Ints
    """[E] GPU at whose card it ends."""
    session: Ints
    """[E] 0 … num_sessions − 1."""
    share: Floats
    """[num_sessions] Bytes over one connection of the session per byte of the operation."""
    scale_up_share: float
    """Bytes one GPU sends to its scale-up switch per byte of the operation; 0 = no ranks share a server."""
    scale_up_efficiency: float
    """Of the raw link, for this algorithm's copy loop."""
    latency_s: float
    """Critical path of an empty message in software, cards on one switch."""
    num_net_steps: float
    """Network hops on that path: each adds what its wires take beyond one switch."""
    form: Form
    """How chunks follow each other; see `run.time_s`."""
    why: str
    """One line for people: what this does."""

    @property
    def num_sessions(self) -> int:
        return len(self.share)


def empty() -> Ints:
    """No connections."""
    return np.zeros(0, np.int32)
