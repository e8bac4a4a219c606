"""Does a replica fit on this node, and if not, which number says so. Pure; first fit in the order it is asked.

Resources are reservations, not measurements: what was promised to a replica is taken whether it uses it or not, so a
decision can be repeated from the store alone.
"""

from typing import Literal

import msgspec

from roadbed.spec.service import Resources

Reason = Literal["no_capacity", "too_large"]


class Node(msgspec.Struct, frozen=True):
    """What of this machine may be handed out: cores and bytes."""

    cpu: float
    memory_bytes: int


class Refusal(msgspec.Struct, frozen=True):
    """`too_large`: would not fit on an empty node. `no_capacity`: would fit if others left."""

    reason: Reason
    message: str


class Room:
    """What is left of a node while replicas are being placed on it."""

    def __init__(self, node: Node) -> None:
        self.node = node
        self.cpu = node.cpu
        self.memory_bytes = node.memory_bytes

    def take(self, need: Resources) -> None:
        """Takes what a replica holds, fitting or not (what runs already runs)."""
        self.cpu -= need.cpu
        self.memory_bytes -= need.memory

    def give_back(self, need: Resources) -> None:
        self.cpu += need.cpu
        self.memory_bytes += need.memory

    def refuse(self, need: Resources) -> Refusal | None:
        """None when it fits; else why not, in numbers."""
        node = self.node
        if need.cpu > node.cpu or need.memory > node.memory_bytes:
            has = f"{_cores(node.cpu)} and {_gib(node.memory_bytes)}"
            return Refusal("too_large", f"needs {_amount(need)}; the whole node has {has}")
        # Sums of fractions of a core are not exact; a thousandth is not worth refusing over.
        if need.cpu > self.cpu + 1e-3 or need.memory > self.memory_bytes:
            free = f"{_cores(max(0.0, self.cpu))} and {_gib(max(0, self.memory_bytes))}"
            total = f"{_cores(node.cpu)} and {_gib(node.memory_bytes)}"
            return Refusal("no_capacity", f"needs {_amount(need)}; free are {free} of {total}")
        return None


def threads_per_replica(node: Node, num_replicas: int) -> int:
    """OpenMP threads of each engine on the node: cores − 1 shared out, at least one, never oversubscribed."""
    return max(1, (int(node.cpu) - 1) // max(1, num_replicas))


def _amount(need: Resources) -> str:
    return f"{_cores(need.cpu)} and {_gib(need.memory)}"


def _cores(count: float) -> str:
    return f"{count:g} core{'' if count == 1 else 's'}"


def _gib(num_bytes: int) -> str:
    return f"{num_bytes / 2**30:.1f} GiB"
