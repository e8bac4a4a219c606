"""The machines as plain values: what a cluster document, a probe and a trace reader all turn into.

The scheduler, the twin and the control plane know machines only as `NodeInfo`, so none cares where a machine was
described. The trade-off: everything is spelled out per node (a template's islands are copied onto each of its nodes),
which costs about 230 bytes a node and saves every reader a second look-up. Values, not models: ten thousand of
them are made in a blink, and `check_nodes` is the one place that says what a sound inventory is.
"""

from collections.abc import Iterable, Iterator

import msgspec

from roadbed.errors import SpecError
from roadbed.hardware.chips import CPU
from roadbed.hardware.machine import Machine


class NodeInfo(msgspec.Struct, frozen=True, kw_only=True):
    """One machine: what it offers, where it stands in the network, and how it is doing."""

    name: str
    cpu_milli: int
    """Thousandths of a core."""
    memory_mib: int
    chip: str = ""
    """Name in `hardware.chips` or of a custom chip; "" = no accelerator."""
    num_devices: int = 0
    device_memory_mib: int = 0
    """Of one device; 0 = unknown."""
    pod: str = "pod-0"
    segment: str = "segment-0"
    """Unique in the whole cluster, such as `pod-0/seg-3`; a segment lies in one pod."""
    island: str = ""
    """Scale-up domain that spans servers; "" = none wider than the server."""
    device_islands: tuple[int, ...] = ()
    """Per device: its scale-up island inside the server; () = all in one."""
    rails: tuple[int, ...] = ()
    """Per device: its rail; () = the device's index."""
    tors: tuple[str, ...] = ()
    """Top-of-rack switches the machine's backend ports go to."""
    labels: dict[str, str] = {}
    cordoned: bool = False
    """Takes nothing new."""
    risk: float = 0.0
    """Predicted probability to fail soon, an input (0..1)."""

    def island_of(self, device: int) -> int:
        """The scale-up island inside the server that `device` is in. O(1)."""
        return self.device_islands[device] if self.device_islands else 0

    def rail_of(self, device: int) -> int:
        """The rail that `device` is on. O(1)."""
        return self.rails[device] if self.rails else device


def node_of(machine: Machine, name: str, cpu_slots: int = 0) -> NodeInfo:
    """A probed machine as a node that stands alone.

    Devices of another chip than the first are left out: a node has one kind. A machine without any offers `cpu_slots`
    devices of chip `cpu`, or none.
    """
    chip = machine.devices[0].chip if machine.devices else CPU if cpu_slots else ""
    devices = [device for device in machine.devices if device.chip == chip]
    islands = tuple(device.island for device in devices)
    return NodeInfo(
        name=name,
        cpu_milli=machine.num_cpus * 1000,
        memory_mib=machine.memory_mib,
        chip=chip,
        num_devices=len(devices) or cpu_slots,
        device_memory_mib=min((device.memory_mib for device in devices), default=0),
        device_islands=islands if len(set(islands)) > 1 else (),
    )


def check_nodes(nodes: Iterable[NodeInfo]) -> None:
    """Raises SpecError naming every node that contradicts itself or another; O(nodes)."""
    problems: list[str] = []
    seen: set[str] = set()
    pod_of_segment: dict[str, str] = {}
    for node in nodes:
        if node.name in seen:
            problems.append(f"node {node.name!r} is there twice")
        seen.add(node.name)
        pod = pod_of_segment.setdefault(node.segment, node.pod)
        if pod != node.pod:
            problems.append(f"node {node.name!r}: segment {node.segment!r} lies in {pod!r}, not in {node.pod!r}")
        problems.extend(f"node {node.name!r}: {words}" for words in _contradictions(node))
    if problems:
        raise SpecError("\n".join(problems), hint="roadbed schema cluster")


def _contradictions(node: NodeInfo) -> Iterator[str]:
    if not node.name:
        yield "a node needs a name"
    for name in ("cpu_milli", "memory_mib", "num_devices", "device_memory_mib"):
        if getattr(node, name) < 0:
            yield f"{name} is {getattr(node, name)}, below 0"
    if node.num_devices > 0 and not node.chip:
        yield f"{node.num_devices} devices of no chip"
    for name in ("device_islands", "rails"):
        given: tuple[int, ...] = getattr(node, name)
        if given and len(given) != node.num_devices:
            yield f"{name} names {len(given)} devices of {node.num_devices}"
        if any(index < 0 for index in given):
            yield f"{name} holds an index below 0"
    if not 0 <= node.risk <= 1:
        yield f"risk {node.risk} is no probability"
