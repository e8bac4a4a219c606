"""Looks at the machine we are on. Never fails: what is missing is a warning, not an error.

A laptop has no NVML, a container no NUMA files, a sick machine a GPU that answers nothing; none of that may keep the
platform from starting. The trade-off: who needs accelerators has to read `devices`, not wait for an exception.

The NVML module and the root of /sys are arguments, so the logic is tested without either.
"""

import itertools
import os
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import msgspec
import psutil

from roadbed.hardware.machine import Device, Machine, chip_of

MIB = 2**20
_SWITCH = -1
"""Stands for all NVSwitches of the machine: whoever is on one reaches whoever is on another."""


def probe(nvml: Any = None, sys_root: Path = Path("/sys")) -> Machine:
    """What this machine has. `nvml` has the calls of `pynvml`; None = the installed one, if there is one.

    Raises nothing for missing libraries, drivers or files; takes milliseconds without accelerators, a second with.
    """
    warnings: list[str] = []
    if nvml is None:
        nvml = _installed_nvml(warnings)
    devices = _devices(nvml, sys_root, warnings) if nvml is not None else ()
    if len(kinds := sorted({device.chip for device in devices})) > 1:
        warnings.append(
            f"devices of several kinds ({', '.join(kinds)}); as a node it offers those of the first one's kind"
        )
    return Machine(
        num_cpus=_num_cpus(),
        memory_mib=psutil.virtual_memory().total // MIB,
        numa_cpus=_numa_cpus(sys_root, warnings),
        devices=devices,
        warnings=tuple(warnings),
    )


def _installed_nvml(warnings: list[str]) -> Any:
    try:
        import pynvml
    except ImportError:
        if Path("/proc/driver/nvidia").exists():
            warnings.append("an NVIDIA driver is loaded but its devices can't be asked: pip install 'roadbed[nvidia]'")
        return None
    return pynvml


def _num_cpus() -> int:
    """Those we may run on; every platform but Linux only tells how many there are."""
    allowed = getattr(os, "sched_getaffinity", None)
    return len(allowed(0)) if allowed else os.cpu_count() or 1


def _devices(nvml: Any, sys_root: Path, warnings: list[str]) -> tuple[Device, ...]:
    try:
        nvml.nvmlInit()
    except nvml.NVMLError as error:
        warnings.append(f"NVML does not start: {error}")
        return ()
    try:
        found: dict[int, tuple[Any, Device]] = {}
        for index in range(nvml.nvmlDeviceGetCount()):
            try:
                handle = nvml.nvmlDeviceGetHandleByIndex(index)
                found[index] = (handle, _device(nvml, handle, index, sys_root))
            except nvml.NVMLError as error:
                warnings.append(f"device {index} is left out, NVML can't ask it: {error}")
                continue
            if _ask(nvml, "nvmlDeviceGetMigMode", handle, otherwise=(0, 0))[0]:
                warnings.append(f"device {index} is cut up by MIG; it is counted as one device")
    except nvml.NVMLError as error:
        warnings.append(f"NVML can't list devices: {error}")
        return ()
    else:
        islands = _islands(nvml, found)
        return tuple(msgspec.structs.replace(one, island=islands[index]) for index, (_, one) in found.items())
    finally:
        _ask(nvml, "nvmlShutdown", otherwise=None)


def _device(nvml: Any, handle: Any, index: int, sys_root: Path) -> Device:
    name = _text(nvml.nvmlDeviceGetName(handle))
    memory_mib = int(nvml.nvmlDeviceGetMemoryInfo(handle).total) // MIB
    pci = _ask(nvml, "nvmlDeviceGetPciInfo", handle, otherwise=None)
    address = _sysfs_address(_text(pci.busId)) if pci else ""
    return Device(
        index=index,
        name=name,
        chip=chip_of(name, memory_mib),
        memory_mib=memory_mib,
        uuid=_text(nvml.nvmlDeviceGetUUID(handle)),
        pci_address=address,
        numa_node=_numa_of(sys_root, address),
    )


def _sysfs_address(bus_id: str) -> str:
    """NVML writes 00000000:1B:00.0, /sys 0000:1b:00.0."""
    domain, _, rest = bus_id.lower().partition(":")
    return f"{domain[-4:]}:{rest}" if rest else ""


def _numa_of(sys_root: Path, address: str) -> int:
    text = _read(sys_root / "bus" / "pci" / "devices" / address / "numa_node") if address else ""
    return int(text) if re.fullmatch(r"-?[0-9]{1,4}", text) else -1


def _islands(nvml: Any, found: Mapping[int, tuple[Any, Device]]) -> dict[int, int]:
    """Device → island: connected over NVLink, or, where no device has any, in one NUMA node."""
    by_address = {one.pci_address: index for index, (_, one) in found.items() if one.pci_address}
    pairs = [(index, peer) for index, (handle, _) in found.items() for peer in _peers(nvml, handle, by_address)]
    if not pairs:
        return _numbered({index: one.numa_node for index, (_, one) in found.items()})
    group = {index: index for index in (*found, _SWITCH)}
    for one, other in pairs:
        kept, gone = group[one], group[other]
        group = {index: kept if name == gone else name for index, name in group.items()}
    return _numbered({index: group[index] for index in found})


def _peers(nvml: Any, handle: Any, by_address: Mapping[str, int]) -> Iterable[int]:
    """Whom the active links lead to: devices by index, or a switch."""
    for link in range(nvml.NVML_NVLINK_MAX_LINKS):
        if not _ask(nvml, "nvmlDeviceGetNvLinkState", handle, link, otherwise=0):
            continue
        kind = _ask(nvml, "nvmlDeviceGetNvLinkRemoteDeviceType", handle, link, otherwise=None)
        if kind == nvml.NVML_NVLINK_DEVICE_TYPE_SWITCH:
            yield _SWITCH
            continue
        remote = _ask(nvml, "nvmlDeviceGetNvLinkRemotePciInfo", handle, link, otherwise=None)
        peer = by_address.get(_sysfs_address(_text(remote.busId))) if remote else None
        if peer is not None:
            yield peer


def _numbered(groups: Mapping[int, int]) -> dict[int, int]:
    """The same groups, numbered from 0 in the order of their first device."""
    numbers: dict[int, int] = {}
    return {index: numbers.setdefault(group, len(numbers)) for index, group in groups.items()}


def _ask(nvml: Any, call: str, *arguments: Any, otherwise: Any) -> Any:
    """The answer, or `otherwise`: older drivers, older pynvml and smaller devices do not have them all."""
    function = getattr(nvml, call, None)
    if function is None:
        return otherwise
    try:
        return function(*arguments)
    except nvml.NVMLError:
        # Not supported here: what `otherwise` is for.
        return otherwise


def _numa_cpus(sys_root: Path, warnings: list[str]) -> tuple[tuple[int, ...], ...]:
    folder = sys_root / "devices" / "system" / "node"
    numbers = sorted(int(path.name[4:]) for path in folder.glob("node[0-9]*") if path.name[4:].isdigit())
    if numbers != list(range(len(numbers))):
        warnings.append(f"NUMA nodes are numbered with gaps ({', '.join(map(str, numbers))}); taken as unknown")
        return ()
    return tuple(_cpus(_read(folder / f"node{number}" / "cpulist")) for number in numbers)


def _cpus(text: str) -> tuple[int, ...]:
    """`0-3,8` → (0, 1, 2, 3, 8); what is not such a list is nobody's CPUs."""
    ranges = [re.fullmatch(r"([0-9]{1,5})(?:-([0-9]{1,5}))?", part) for part in text.split(",")]
    return tuple(
        itertools.chain.from_iterable(
            range(int(one[1]), int(one[2] or one[1]) + 1) for one in ranges if one is not None
        )
    )


def _read(path: Path) -> str:
    try:
        return path.read_text("ascii", "replace").strip()
    except OSError:
        # A container or another kernel: the file is not there, which callers take as unknown.
        return ""


def _text(value: Any) -> str:
    """pynvml before 11.5 answers bytes."""
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)
