"""One real machine as a value: what a probe found, whoever probed.

Kept apart from the probe so that everyone may read a machine and nobody needs NVML or a file system to do so.
"""

import msgspec

from roadbed.hardware.chips import CHIPS


class Device(msgspec.Struct, frozen=True, kw_only=True):
    """One accelerator as its driver describes it."""

    index: int
    name: str
    """The driver's words, such as `NVIDIA H100 80GB HBM3`."""
    chip: str
    """Name in the catalogue, or the driver's words where it is not there."""
    memory_mib: int
    """As the driver reports it: a little below nominal."""
    uuid: str = ""
    pci_address: str = ""
    """As in /sys/bus/pci/devices."""
    numa_node: int = -1
    """-1 = unknown."""
    island: int = 0
    """Devices of one island reach each other over the chip's own link; numbered from 0 by first device."""


class Machine(msgspec.Struct, frozen=True, kw_only=True):
    """What this machine has, and what could not be found out about it."""

    num_cpus: int
    """Logical CPUs this process may use."""
    memory_mib: int
    numa_cpus: tuple[tuple[int, ...], ...] = ()
    """CPUs of each NUMA node, by node; () = unknown."""
    devices: tuple[Device, ...] = ()
    warnings: tuple[str, ...] = ()


def chip_of(name: str, memory_mib: int) -> str:
    """The catalogue's name for a driver's device name, or that name itself when no chip of ours is in it.

    Where a family comes in sizes, the one nearest to the reported memory is meant.
    """
    words = name.upper().replace("_", " ").replace("-", " ").split()
    found = [one for one in CHIPS.values() if one.memory_mib and _family(one.name) in words]
    nearest = min(found, key=lambda one: (abs(one.memory_mib - memory_mib), one.name), default=None)
    return nearest.name if nearest else name


def _family(chip: str) -> str:
    """`A100` of A100-40GB, `910B` of Ascend-910B: the word drivers print."""
    return next(part for part in chip.upper().split("-") if any(letter.isdigit() for letter in part)) if chip else ""
