"""What this machine hands out, and how engines share its cores."""

from roadbed.control.placement import Node, node_info, threads_per_replica
from roadbed.hardware.machine import Device, Machine

GIB = 2**30


def test_without_accelerators_whole_cores_are_devices() -> None:
    info = node_info(Node(cpu=3.5, memory_bytes=4 * GIB), Machine(num_cpus=8, memory_mib=16_384), "here")
    assert (info.name, info.chip, info.num_devices) == ("here", "cpu", 3)
    assert (info.cpu_milli, info.memory_mib) == (3500, 4096)


def test_accelerators_are_the_devices_where_there_are_any() -> None:
    device = Device(index=0, name="NVIDIA T4", chip="T4", memory_mib=15_000)
    info = node_info(Node(cpu=8.0, memory_bytes=4 * GIB), Machine(num_cpus=8, memory_mib=4096, devices=(device,)), "x")
    assert (info.chip, info.num_devices, info.device_memory_mib) == ("T4", 1, 15_000)


def test_engines_share_all_cores_but_one() -> None:
    node = Node(cpu=2.0, memory_bytes=GIB)
    assert [threads_per_replica(node, n) for n in (0, 1, 2)] == [1, 1, 1]
    assert [threads_per_replica(Node(17.0, GIB), n) for n in (1, 2, 5, 40)] == [16, 8, 3, 1]
