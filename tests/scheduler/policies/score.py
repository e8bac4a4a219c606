"""One node, one shape, one policy: what each policy says, without caches."""

import numpy as np

from roadbed.scheduler.base import Shape, Slot
from roadbed.scheduler.policies.base import Ask, Policy
from roadbed.scheduler.state import State
from roadbed.spec.inventory import NodeInfo


def machine(name: str = "n", devices: int = 8, cpu: int = 96_000, chip: str = "G2") -> NodeInfo:
    return NodeInfo(name=name, cpu_milli=cpu, memory_mib=1 << 20, chip=chip, num_devices=devices)


def scores(policy: Policy, state: State, shape: Shape) -> list[int]:
    """Of all nodes, fitting or not."""
    found, _ = policy.score(state, Ask(state, shape), np.arange(state.num_nodes))
    return [int(score) for score in found]


def used(state: State, node: int, milli: int, device: int = 0, cpu: int = 0) -> None:
    state.take(Slot(node, (device,)), Shape(num_devices=1, milli=milli, cpu_milli=cpu))
