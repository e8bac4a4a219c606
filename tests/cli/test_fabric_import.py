"""`fabric import`: what SimAI's file holds, whether it is sound, and the same as YAML."""

from pathlib import Path

import pytest

from tests.cli.fabric_shell import roadbed

Capsys = pytest.CaptureFixture[str]


@pytest.fixture
def file(capsys: Capsys, tmp_path: Path) -> Path:
    out = tmp_path / "hpn.topo"
    assert roadbed(capsys, "fabric", "export", "--gpus", "64", "--format", "simai", "--out", str(out)).code == 0
    return out


def test_what_it_holds(capsys: Capsys, file: Path) -> None:
    said = roadbed(capsys, "fabric", "import", str(file))
    assert said.code == 0
    assert "dual plane      True" in said.out
    data = roadbed(capsys, "fabric", "import", str(file), "--json").json()
    assert (data["gpus"], data["tors"], data["aggs"], data["faults"]) == (64, 16, 120, [])


def test_as_yaml_it_is_the_same_network(capsys: Capsys, file: Path, tmp_path: Path) -> None:
    out = tmp_path / "hpn.yaml"
    assert roadbed(capsys, "fabric", "import", str(file), "--out", str(out)).code == 0
    said = roadbed(capsys, "fabric", "check", "--fabric", str(out), "--json").json()
    assert (said["gpus"], said["faults"]) == (64, [])


def test_a_broken_cable_fails(capsys: Capsys, file: Path) -> None:
    text = file.read_text()
    head, *links = [line for line in text.splitlines() if not line.startswith("0 80 ")]
    numbers = head.split()
    numbers[4] = str(int(numbers[4]) - (len(text.splitlines()) - len(links) - 1))
    file.write_text("\n".join([" ".join(numbers), *links]) + "\n")
    said = roadbed(capsys, "fabric", "import", str(file), "--blueprint", "hpn7")
    assert said.code == 1
    assert "counts" in said.out


def test_a_line_that_is_no_link(capsys: Capsys, file: Path) -> None:
    file.write_text(file.read_text().replace("200Gbps", "fast", 1))
    said = roadbed(capsys, "fabric", "import", str(file))
    assert said.code == 2
    assert "hpn.topo:67: bandwidth: 'fast' is not a rate" in said.err


def test_no_file(capsys: Capsys, tmp_path: Path) -> None:
    assert roadbed(capsys, "fabric", "import", str(tmp_path / "x")).code == 3
