"""Machines: what they have free, drawn and in numbers, and what the probe sees without a platform."""

from typing import Any

import pytest
from click import unstyle
from hypothesis import given
from hypothesis import strategies as st

from roadbed.cli.nodes import MAP_WIDTH, _row, device_map
from tests.cli.conftest import Shell


def node(**fields: Any) -> dict[str, Any]:
    said = {
        "name": "n0", "chip": "H100", "num_devices": 2, "free": [1.0, 0.0], "cpu": 8.0, "cpu_free": 4.0,
        "memory_mib": 2048, "memory_free_mib": 1024, "cordoned": False, "drain": False, "risk": 0.0,
        "schedulable": True, "holders": [],
    }  # fmt: skip
    return {**said, **fields}


@pytest.mark.parametrize(
    ("fields", "word"),
    [
        ({}, "ready"),
        ({"cordoned": True}, "cordoned"),
        ({"cordoned": True, "drain": True}, "draining"),
        ({"schedulable": False}, "failed"),
    ],
)
def test_a_node_in_a_word(fields: dict[str, Any], word: str) -> None:
    assert unstyle(_row(node(**fields))[1]) == word


def test_a_row_names_the_first_who_run_there() -> None:
    holders = [{"name": f"t{at}", "num_processes": 1 + at} for at in range(8)]
    row = _row(node(holders=holders))
    assert row[8] == "t0, t1 ×2, t2 ×3, t3 ×4, t4 ×5, t5 ×6 and 2 more"
    assert row[4:7] == ("1 of 2", "4 of 8", "1.0 of 2.0 GiB")


def test_devices_are_drawn() -> None:
    assert device_map([1.0, 0.5, 0.0]) == "░▄█"
    assert device_map([1.0] * (MAP_WIDTH + 3)) == "░" * MAP_WIDTH + " +3"
    assert device_map([]) == ""


@given(st.lists(st.floats(0, 1), max_size=MAP_WIDTH))
def test_every_device_has_its_character(free: list[float]) -> None:
    drawn = device_map(free)
    assert len(drawn) == len(free)
    assert drawn.count("░") == sum(share == 1 for share in free)


def test_the_probe_needs_no_platform(shell: Shell) -> None:
    said = shell("nodes", "--probe")
    assert (said.code, "CPUs on" in said.out) == (0, True)
    machine = shell("nodes", "--probe", "--json").json()
    assert machine["num_cpus"] >= 1
    assert machine["memory_mib"] > 0
    assert shell("nodes").code == 7


@pytest.mark.e2e
def test_nodes(platform: Shell) -> None:
    header, line = platform("nodes").out.splitlines()
    assert header.split()[:4] == ["NODE", "STATE", "CHIP", "DEVICES"]
    assert line.split()[:2] == ["local", "ready"]
    assert "chat-0" in line
    (row,) = platform("nodes", "--json").json()["nodes"]
    assert row["cpu_free"] == row["cpu"] - 1
