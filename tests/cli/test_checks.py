"""What doctor finds on machines that are well and machines that are not."""

import socket
import sqlite3
from pathlib import Path

import pytest

from roadbed.cli import checks
from roadbed.cli.checks import Finding, Machine
from roadbed.home import Home
from roadbed.models.sources import parse
from roadbed.models.store import ModelStore
from roadbed.spec.platform import ControlConfig, GatewayConfig, NodeConfig, PlatformConfig


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    home = Home(tmp_path / "home")
    home.create()
    ports = PlatformConfig(gateway=GatewayConfig(port=0, max_connections=1), control=ControlConfig(port=0))
    return Machine(home, ports)


def worst(check: checks.Check, machine: Machine) -> Finding:
    order = ("ok", "warning", "failed")
    return max(check(machine), key=lambda finding: order.index(finding.status))


def test_this_machine_is_well(machine: Machine) -> None:
    findings = checks.examine(machine)
    assert [finding for finding in findings if finding.status == "failed"] == []
    assert {"python", "cpu", "memory", "disk", "open files", "gpu", "llama.cpp engine", "database", "platform"} <= {
        finding.check for finding in findings
    }


def test_whatever_is_not_well_has_a_fix(machine: Machine) -> None:
    machine.config_error = "config.yaml:1: no"
    machine.agent_pid = 1
    for finding in checks.examine(machine):
        assert finding.status == "ok" or finding.fix, finding


def test_a_taken_port_is_found(machine: Machine) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        machine.config = PlatformConfig(control=ControlConfig(port=port), gateway=GatewayConfig(port=0))
        found = worst(checks.check_ports, machine)
    assert (found.check, found.status) == ("port control", "failed")
    assert "Address already in use" in found.detail
    assert str(port) in found.fix
    machine.agent_pid = 1
    assert worst(checks.check_ports, machine).status == "ok", "our own platform may hold it"


def test_more_cores_handed_out_than_there_are(machine: Machine) -> None:
    machine.config = PlatformConfig(node=NodeConfig(cpu=4000))
    assert "node.cpu hands out 4000" in worst(checks.check_cpu, machine).detail


def test_too_few_open_files(machine: Machine) -> None:
    machine.config = PlatformConfig(gateway=GatewayConfig(max_connections=10**9))
    found = worst(checks.check_files, machine)
    assert (found.status, found.fix) == ("warning", f"ulimit -n {2 * 10**9}")


def test_a_damaged_database_is_found(machine: Machine) -> None:
    path = machine.home.database
    with sqlite3.connect(path) as made:
        made.execute("CREATE TABLE t (x)")
    made.close()
    assert worst(checks.check_database, machine) == Finding("database", "ok", str(path))
    path.write_bytes(b"this was a database" * 400)
    found = worst(checks.check_database, machine)
    assert (found.status, "not a database" in found.detail) == ("failed", True)
    before = path.read_bytes()
    assert before == path.read_bytes()


def test_a_database_elsewhere_that_does_not_answer(machine: Machine) -> None:
    url = "postgresql+psycopg://user:geheim@127.0.0.1:1/db?connect_timeout=2"
    machine.config = PlatformConfig(control=ControlConfig(database_url=url))
    found = worst(checks.check_database, machine)
    assert found.status == "failed"
    assert "geheim" not in found.detail + found.fix


def test_a_truncated_model_is_found(machine: Machine, tmp_path: Path) -> None:
    source = tmp_path / "m.gguf"
    source.write_bytes(b"x" * 100)
    ModelStore(machine.home.models).pull(parse(f"file:{source}"))
    assert "1 here, 100 B" in [finding.detail for finding in checks.check_models(machine)]
    source.write_bytes(b"x" * 7)
    found = worst(checks.check_models, machine)
    assert (found.status, "7 bytes, should be 100" in found.detail) == ("failed", True)
    assert found.fix == f"roadbed models rm 'file:{source}' -y"


def test_a_platform_that_is_half_there(machine: Machine) -> None:
    machine.agent_pid = 7
    assert worst(checks.check_platform, machine) == Finding(
        "control", "failed", "does not answer", "roadbed logs control"
    )
    machine.platform = {
        "processes": [{"state": "exited", "labels": {"noun": "gateway"}}],
        "services": [{"name": "chat", "num_ready": 0, "num_desired": 2, "num_needed": 2}],
    }
    found = {finding.check: finding for finding in checks.check_platform(machine)}
    assert found["gateway"].fix == "roadbed logs gateway-0"
    assert (found["service chat"].status, found["service chat"].fix) == ("warning", "roadbed explain chat")


@pytest.mark.parametrize(
    ("script", "status", "words"),
    [
        ("echo 'NVIDIA H100, 81559 MiB, 570.1'", "ok", "NVIDIA H100, 81559 MiB, 570.1"),
        ("echo 'Failed to initialize NVML: Driver/library version mismatch'; exit 18", "warning", "version mismatch"),
    ],
)
def test_gpus(
    machine: Machine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str, status: str, words: str
) -> None:
    tool = tmp_path / "nvidia-smi"
    tool.write_text(f"#!/bin/sh\n{script}\n")
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    found = next(iter(checks.check_gpu(machine)))
    assert found.status == status
    assert words in found.detail


def test_the_network_is_only_asked_when_told_to(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    assert list(checks.check_network(machine)) == []
    machine.network = True
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:1/simple")
    monkeypatch.setenv("PIP_RETRIES", "0")
    found = worst(checks.check_network, machine)
    assert (found.check, found.status) == ("pip index", "failed")


def test_look_at_a_home_where_nothing_runs(machine: Machine) -> None:
    machine.home.config.write_text("gatway: {}\n")
    found = checks.look_at(machine.home)
    assert (found.agent_pid, found.platform) == (None, None)
    assert "'gatway' is not a key of config; did you mean 'gateway'?" in found.config_error
    assert worst(checks.check_config, found).status == "failed"
