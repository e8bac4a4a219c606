"""What of this machine may be handed out, and how an engine's threads follow from it. Pure.

Where things go is decided by the scheduler (`control/pool.py`); resources there are reservations, not measurements:
what was promised is taken whether it is used or not, so a decision can be repeated from the store alone.
"""

import msgspec

from roadbed.hardware.machine import Machine
from roadbed.spec.inventory import NodeInfo, node_of


class Node(msgspec.Struct, frozen=True):
    """What of this machine may be handed out: cores and bytes."""

    cpu: float
    memory_bytes: int


def node_info(node: Node, machine: Machine, name: str) -> NodeInfo:
    """This machine as the scheduler sees it; without accelerators its whole cores are devices of chip `cpu`."""
    slots = 0 if machine.devices else int(node.cpu)
    found = node_of(machine, name, slots)
    memory_mib = node.memory_bytes // 2**20
    return msgspec.structs.replace(found, cpu_milli=round(node.cpu * 1000), memory_mib=memory_mib)


def threads_per_replica(node: Node, num_replicas: int) -> int:
    """OpenMP threads of each engine on the node: cores − 1 shared out, at least one, never oversubscribed."""
    return max(1, (int(node.cpu) - 1) // max(1, num_replicas))
