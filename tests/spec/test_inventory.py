"""A sound inventory passes; each contradiction is named with its node, all at once."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from roadbed.errors import SpecError
from roadbed.hardware.machine import Device, Machine
from roadbed.hardware.probe import probe
from roadbed.spec.accelerator import parse_accelerators
from roadbed.spec.inventory import NodeInfo, check_nodes, node_of


def node(**fields: object) -> NodeInfo:
    return msgspec.convert({"name": "a", "cpu_milli": 1000, "memory_mib": 1024, **fields}, NodeInfo)


def test_defaults_are_one_flat_network_without_accelerators() -> None:
    plain = node()
    assert (plain.chip, plain.num_devices, plain.pod, plain.segment, plain.island) == ("", 0, "pod-0", "segment-0", "")
    check_nodes([plain])


def test_islands_and_rails_default_to_one_island_and_the_index() -> None:
    plain = node(chip="H100", num_devices=2)
    assert [plain.island_of(i) for i in range(2)] == [0, 0]
    assert [plain.rail_of(i) for i in range(2)] == [0, 1]
    split = node(chip="Ascend 910B", num_devices=2, device_islands=[0, 1], rails=[3, 3])
    assert [split.island_of(i) for i in range(2)] == [0, 1]
    assert [split.rail_of(i) for i in range(2)] == [3, 3]


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"name": ""}, "needs a name"),
        ({"cpu_milli": -1}, "cpu_milli is -1, below 0"),
        ({"memory_mib": -5}, "memory_mib is -5, below 0"),
        ({"num_devices": -2}, "num_devices is -2, below 0"),
        ({"num_devices": 2}, "2 devices of no chip"),
        ({"chip": "H100", "num_devices": 2, "rails": [0]}, "rails names 1 devices of 2"),
        ({"chip": "H100", "num_devices": 1, "device_islands": [0, 1]}, "device_islands names 2 devices of 1"),
        ({"chip": "H100", "num_devices": 1, "rails": [-1]}, "rails holds an index below 0"),
        ({"risk": 1.5}, "risk 1.5 is no probability"),
        ({"risk": float("nan")}, "risk nan is no probability"),
    ],
)
def test_contradictions_are_named(fields: dict[str, object], words: str) -> None:
    with pytest.raises(SpecError, match=words):
        check_nodes([node(**fields)])


def test_every_problem_is_listed_at_once() -> None:
    with pytest.raises(SpecError) as caught:
        check_nodes([node(), node(cpu_milli=-1), node(name="b", pod="pod-1")])
    assert caught.value.message.splitlines() == [
        "node 'a' is there twice",
        "node 'a': cpu_milli is -1, below 0",
        "node 'b': segment 'segment-0' lies in 'pod-0', not in 'pod-1'",
    ]
    assert caught.value.hint == "roadbed schema cluster"


@given(
    st.builds(
        NodeInfo,
        name=st.text(max_size=3),
        cpu_milli=st.integers(-1, 9),
        memory_mib=st.integers(-1, 9),
        chip=st.sampled_from(["", "H100"]),
        num_devices=st.integers(-1, 4),
        device_islands=st.lists(st.integers(-1, 2), max_size=4).map(tuple),
        rails=st.lists(st.integers(-1, 2), max_size=4).map(tuple),
        labels=st.dictionaries(st.text(max_size=2), st.text(max_size=2), max_size=2),
        risk=st.floats(),
    )
)
def test_what_passes_can_be_read_for_every_device(one: NodeInfo) -> None:
    try:
        check_nodes([one])
    except SpecError as caught:
        sound = repr(one.name) in caught.message
    else:
        sound = all(one.island_of(i) >= 0 and one.rail_of(i) >= 0 for i in range(one.num_devices))
    assert sound


def device(index: int, chip: str, memory_mib: int, island: int) -> Device:
    return Device(index=index, name=chip, chip=chip, memory_mib=memory_mib, island=island)


def test_a_probed_machine_is_a_node() -> None:
    machine = Machine(num_cpus=8, memory_mib=64, devices=(device(0, "T4", 15360, 0), device(1, "T4", 15109, 1)))
    assert node_of(machine, "here") == NodeInfo(
        name="here",
        cpu_milli=8000,
        memory_mib=64,
        chip="T4",
        num_devices=2,
        device_memory_mib=15109,
        device_islands=(0, 1),
    )
    mixed = Machine(num_cpus=8, memory_mib=64, devices=(device(0, "H100", 81559, 0), device(1, "T4", 15360, 1)))
    assert node_of(mixed, "here").num_devices == 1
    check_nodes([node_of(probe(), "here")])
    check_nodes([node_of(mixed, "here", cpu_slots=4)])
    assert node_of(mixed, "here", cpu_slots=4).num_devices == 1


def test_a_machine_without_accelerators_may_offer_its_cores() -> None:
    bare = Machine(num_cpus=8, memory_mib=64)
    plain, slots = node_of(bare, "here"), node_of(bare, "here", cpu_slots=4)
    assert (plain.chip, plain.num_devices) == ("", 0)
    assert (slots.chip, slots.num_devices, slots.device_memory_mib) == ("cpu", 4, 0)
    assert parse_accelerators("cpu:2").allows(slots.chip, slots.device_memory_mib)
    check_nodes([slots])


def test_it_travels_as_json() -> None:
    one = node(chip="H100", num_devices=2, rails=[1, 0], labels={"zone": "a"})
    assert msgspec.json.decode(msgspec.json.encode(one), type=NodeInfo) == one
