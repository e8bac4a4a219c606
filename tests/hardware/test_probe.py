"""The probe finds what is there, says what it could not find, and never raises.

`Nvml` speaks as pynvml does (the same names, the same exception, the same quirks), because no test machine has eight
GPUs; the machine itself is probed for real.
"""

import os
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psutil
import pytest
from hypothesis import given
from hypothesis import strategies as st

from roadbed.hardware.machine import Machine
from roadbed.hardware.probe import _cpus, probe

GPU, SWITCH = 0, 2


class NVMLError(Exception):
    """pynvml's only exception."""


class Nvml:
    """Eight-GPU servers in a few words: per device the peers of its links (a number, or SWITCHED)."""

    NVMLError = NVMLError
    NVML_NVLINK_MAX_LINKS = 18
    NVML_NVLINK_DEVICE_TYPE_SWITCH = SWITCH
    SWITCHED = "switch"

    def __init__(
        self, links: Sequence[Sequence[Any]], *, sick: Sequence[int] = (), name: Any = "NVIDIA H100 80GB HBM3"
    ):
        self.links, self.sick, self.name = links, sick, name
        self.mig: set[int] = set()
        self.num_open = 0

    def nvmlInit(self) -> None:
        self.num_open += 1

    def nvmlShutdown(self) -> None:
        self.num_open -= 1

    def nvmlDeviceGetCount(self) -> int:
        return len(self.links)

    def nvmlDeviceGetHandleByIndex(self, index: int) -> int:
        if index in self.sick:
            raise NVMLError("GPU is lost")
        return index

    def nvmlDeviceGetName(self, handle: int) -> Any:
        return self.name

    def nvmlDeviceGetUUID(self, handle: int) -> str:
        return f"GPU-{handle}"

    def nvmlDeviceGetMemoryInfo(self, handle: int) -> Any:
        return SimpleNamespace(total=81559 * 2**20)

    def nvmlDeviceGetPciInfo(self, handle: int) -> Any:
        return SimpleNamespace(busId=f"00000000:{0x1B + handle:02X}:00.0")

    def nvmlDeviceGetMigMode(self, handle: int) -> list[int]:
        if handle in self.mig:
            return [1, 1]
        raise NVMLError("Not Supported")

    def nvmlDeviceGetNvLinkState(self, handle: int, link: int) -> int:
        if not self.links[handle]:
            raise NVMLError("Not Supported")
        return int(link < len(self.links[handle]))

    def nvmlDeviceGetNvLinkRemoteDeviceType(self, handle: int, link: int) -> int:
        return SWITCH if self.links[handle][link] == self.SWITCHED else GPU

    def nvmlDeviceGetNvLinkRemotePciInfo(self, handle: int, link: int) -> Any:
        return self.nvmlDeviceGetPciInfo(self.links[handle][link])


def islands(machine: Machine) -> list[int]:
    return [device.island for device in machine.devices]


@pytest.fixture
def sys_root(tmp_path: Path) -> Path:
    """Two sockets; devices 1b… to 1e… on the first, the rest on the second."""
    for node, cpus in enumerate(("0-1,4", "2-3")):
        folder = tmp_path / "devices" / "system" / "node" / f"node{node}"
        folder.mkdir(parents=True)
        (folder / "cpulist").write_text(cpus + "\n")
    for device in range(8):
        folder = tmp_path / "bus" / "pci" / "devices" / f"0000:{0x1B + device:02x}:00.0"
        folder.mkdir(parents=True)
        (folder / "numa_node").write_text(f"{device // 4}\n")
    return tmp_path


def test_this_machine() -> None:
    machine = probe()
    assert machine.num_cpus == len(os.sched_getaffinity(0))
    assert machine.memory_mib == psutil.virtual_memory().total // 2**20
    assert [device.index for device in machine.devices] == list(range(len(machine.devices)))


def test_an_hgx_is_one_island(sys_root: Path) -> None:
    nvml = Nvml([[Nvml.SWITCHED] * 18] * 8)
    machine = probe(nvml, sys_root)
    assert islands(machine) == [0] * 8
    assert {device.chip for device in machine.devices} == {"H100"}
    assert [device.numa_node for device in machine.devices] == [0] * 4 + [1] * 4
    assert machine.devices[1].pci_address == "0000:1c:00.0"
    assert machine.devices[1].uuid == "GPU-1"
    assert machine.numa_cpus == ((0, 1, 4), (2, 3))
    assert machine.warnings == ()
    assert nvml.num_open == 0


def test_direct_links_make_islands_by_reach(sys_root: Path) -> None:
    """A chain is one island though its ends share no link; pairs are islands of two."""
    assert islands(probe(Nvml([[1], [0, 2], [1, 3], [2]]), sys_root)) == [0, 0, 0, 0]
    assert islands(probe(Nvml([[2], [3], [0], [1]]), sys_root)) == [0, 1, 0, 1]
    assert islands(probe(Nvml([[1], [0], []]), sys_root)) == [0, 0, 1]


def test_without_links_the_sockets_are_islands(sys_root: Path, tmp_path: Path) -> None:
    assert islands(probe(Nvml([[]] * 8), sys_root)) == [0] * 4 + [1] * 4
    assert islands(probe(Nvml([[]] * 3), tmp_path / "nothing")) == [0, 0, 0]


def test_a_lost_device_is_left_out_and_said(sys_root: Path) -> None:
    machine = probe(Nvml([[Nvml.SWITCHED]] * 4, sick=[2]), sys_root)
    assert [device.index for device in machine.devices] == [0, 1, 3]
    assert machine.warnings == ("device 2 is left out, NVML can't ask it: GPU is lost",)


def test_mig_is_said(sys_root: Path) -> None:
    nvml = Nvml([[]])
    nvml.mig = {0}
    assert probe(nvml, sys_root).warnings == ("device 0 is cut up by MIG; it is counted as one device",)


def test_several_kinds_are_said(sys_root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    nvml = Nvml([[], []])
    monkeypatch.setattr(nvml, "nvmlDeviceGetName", lambda handle: ("Tesla T4", "NVIDIA H20")[handle])
    machine = probe(nvml, sys_root)
    assert [device.chip for device in machine.devices] == ["T4", "H20"]
    assert machine.warnings == (
        "devices of several kinds (H20, T4); as a node it offers those of the first one's kind",
    )  # fmt: skip


def test_a_driver_that_does_not_start(sys_root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise NVMLError("Driver Not Loaded")

    nvml = Nvml([[]])
    monkeypatch.setattr(nvml, "nvmlInit", refuse)
    assert probe(nvml, sys_root).warnings == ("NVML does not start: Driver Not Loaded",)
    nvml = Nvml([[]])
    monkeypatch.setattr(nvml, "nvmlDeviceGetCount", refuse)
    assert probe(nvml, sys_root).warnings == ("NVML can't list devices: Driver Not Loaded",)
    assert nvml.num_open == 0


def test_old_bindings_answer_bytes_and_know_less(sys_root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(Nvml, "nvmlDeviceGetMigMode")
    monkeypatch.delattr(Nvml, "nvmlDeviceGetPciInfo")
    machine = probe(Nvml([[]], name=b"Tesla T4"), sys_root)
    assert machine.devices[0].name == "Tesla T4"
    assert machine.devices[0].pci_address == ""
    assert machine.warnings == ()


def test_gaps_between_numa_nodes_are_said(sys_root: Path) -> None:
    (sys_root / "devices" / "system" / "node" / "node1").rename(sys_root / "devices" / "system" / "node" / "node7")
    machine = probe(Nvml([]), sys_root)
    assert machine.numa_cpus == ()
    assert machine.warnings == ("NUMA nodes are numbered with gaps (0, 7); taken as unknown",)


def test_files_that_say_nonsense_are_unknown(sys_root: Path) -> None:
    (sys_root / "bus" / "pci" / "devices" / "0000:1b:00.0" / "numa_node").write_bytes(b"\xff\n")
    (sys_root / "devices" / "system" / "node" / "node0" / "cpulist").unlink()
    machine = probe(Nvml([[]]), sys_root)
    assert machine.devices[0].numa_node == -1
    assert machine.numa_cpus == ((), (2, 3))


@given(st.lists(st.lists(st.just(Nvml.SWITCHED) | st.integers(0, 5), max_size=3), min_size=6, max_size=6))
def test_islands_are_the_connected_groups(links: list[list[Any]]) -> None:
    machine = probe(Nvml(links), Path("/nowhere"))
    found = islands(machine)
    for device, peers in enumerate(links):
        for peer in peers:
            if peer != Nvml.SWITCHED:
                assert found[device] == found[peer]
    switched = {found[device] for device, peers in enumerate(links) if Nvml.SWITCHED in peers}
    assert len(switched) <= 1
    assert found[0] == 0
    assert sorted(set(found)) == list(range(len(set(found))))
    if not any(links):
        assert found == [0] * 6


@given(st.sets(st.integers(0, 300), min_size=1))
def test_cpu_lists(cpus: set[int]) -> None:
    assert _cpus(",".join(map(str, sorted(cpus)))) == tuple(sorted(cpus))
    assert _cpus(f"{min(cpus)}-{max(cpus)}") == tuple(range(min(cpus), max(cpus) + 1))


@given(st.text("0123456789-, x", max_size=12))
def test_any_cpu_list_is_cpus(text: str) -> None:
    assert all(cpu >= 0 for cpu in _cpus(text))
