"""Drivers' words lead to the catalogue's chips; words we do not know stay as they are."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from roadbed.hardware.chips import CHIPS, CPU
from roadbed.hardware.machine import Device, Machine, chip_of


@pytest.mark.parametrize(
    ("name", "memory_mib", "chip"),
    [
        ("NVIDIA H100 80GB HBM3", 81559, "H100"),
        ("NVIDIA H200", 143771, "H200"),
        ("NVIDIA H20", 97871, "H20"),
        ("NVIDIA H800", 81559, "H800"),
        ("NVIDIA A100-SXM4-40GB", 40960, "A100-40GB"),
        ("NVIDIA A100-SXM4-80GB", 81920, "A100-80GB"),
        ("NVIDIA A100 80GB PCIe", 81920, "A100-80GB"),
        ("Tesla V100-SXM2-16GB", 16160, "V100-16GB"),
        ("Tesla V100-SXM2-32GB", 32510, "V100-32GB"),
        ("Tesla P100-PCIE-16GB", 16280, "P100"),
        ("Tesla T4", 15360, "T4"),
        ("NVIDIA A10", 23028, "A10"),
        ("NVIDIA A10G", 23028, "NVIDIA A10G"),
        ("NVIDIA L40S", 46068, "L40S"),
        ("NVIDIA L20", 46068, "L20"),
        ("NVIDIA GB200", 189471, "GB200"),
        ("Ascend 910B", 65536, "Ascend-910B"),
        ("NVIDIA GeForce RTX 4090", 24564, "NVIDIA GeForce RTX 4090"),
        ("", 0, ""),
    ],
)
def test_drivers_words(name: str, memory_mib: int, chip: str) -> None:
    assert chip_of(name, memory_mib) == chip


@pytest.mark.parametrize("chip", sorted(set(CHIPS) - {CPU}))
def test_a_chip_is_found_by_its_own_name(chip: str) -> None:
    assert chip_of(chip, CHIPS[chip].memory_mib) == chip


@given(st.text(max_size=20), st.integers(0, 2**20))
def test_any_words_are_a_chip_or_themselves(name: str, memory_mib: int) -> None:
    found = chip_of(name, memory_mib)
    assert found == name or found in CHIPS


def test_a_bare_machine_has_nothing_to_hide() -> None:
    bare = Machine(num_cpus=2, memory_mib=1024)
    assert (bare.devices, bare.warnings, bare.numa_cpus) == ((), (), ())
    assert Device(index=0, name="x", chip="x", memory_mib=1).numa_node == -1
