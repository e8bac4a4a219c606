"""`fabric check`: silence and 0 where all is well, names and 1 where not."""

from pathlib import Path

import pytest

from roadbed.fabric import simai
from roadbed.fabric.base import LinkKind
from roadbed.fabric.registry import build
from tests.cli.fabric_shell import roadbed
from tests.fabric.rewire import Wires

Capsys = pytest.CaptureFixture[str]


def test_a_sound_one(capsys: Capsys) -> None:
    said = roadbed(capsys, "fabric", "check", "--fabric", "dcn_plus", "--gpus", "448")
    assert (said.code, said.out) == (0, "")
    assert "448 GPUs, 2,304 cables, all where they belong" in said.err


@pytest.fixture
def miswired(tmp_path: Path) -> list[str]:
    wires = Wires(build("hpn7", gpus=64, aggs_per_plane=4))
    up = wires.of(LinkKind.FABRIC)
    wires.swap(up[0], up[5])
    (tmp_path / "seen.topo").write_text(simai.write(wires.fabric()))
    (tmp_path / "drawn.yaml").write_text("fabric: hpn7\ngpus: 64\naggs_per_plane: 4\n")
    return ["--fabric", str(tmp_path / "seen.topo"), "--blueprint", str(tmp_path / "drawn.yaml")]


def test_a_miswired_one_against_its_blueprint(capsys: Capsys, miswired: list[str]) -> None:
    said = roadbed(capsys, "fabric", "check", *miswired)
    assert said.code == 1
    assert "wrong-plane  tor-0:agg-5" in said.out
    assert "move it from agg-5 to agg-0" in said.out
    assert "2 faults" in said.err


def test_json_lists_all(capsys: Capsys, miswired: list[str]) -> None:
    said = roadbed(capsys, "fabric", "check", *miswired, "--json")
    assert said.code == 1
    assert {fault["where"] for fault in said.json()["faults"]} == {"tor-0:agg-5", "tor-1:agg-0"}


def test_many_faults_are_cut_short(capsys: Capsys) -> None:
    said = roadbed(capsys, "fabric", "check", "--set", "planes=1", "--set", "segments=15")
    assert said.code == 1
    assert len(said.out.splitlines()) == 51
    assert "... and 10 more" in said.err


def test_a_smaller_chip(capsys: Capsys) -> None:
    assert roadbed(capsys, "fabric", "check", "--fabric", "spectrum_x", "--chip-gbps", "25600").code == 1


HAND = """\
fabric: custom
chip: H100
servers: {count: 4, gpus: 2, nics: 2}
switches: {tor: 2, agg: 1}
links:
  - {from: "nic-[0-3]", to: tor-0, gbps: 400}
  - {from: "nic-[4-7]", to: tor-1, gbps: 400}
  - {from: tor-0, to: agg-0, gbps: 400}
"""


def test_a_hand_written_one_with_an_island_and_half_a_cable(capsys: Capsys, tmp_path: Path) -> None:
    file = tmp_path / "net.yaml"
    file.write_text(HAND)
    said = roadbed(capsys, "fabric", "check", "--fabric", str(file), "--json")
    assert said.code == 1
    assert [(fault["code"], fault["where"]) for fault in said.json()["faults"]] == [("island", "gpu-4")]
    file.write_text(HAND + "  - {from: tor-1, to: agg-0, gbps: 400, one_way: true}\n")
    said = roadbed(capsys, "fabric", "check", "--fabric", str(file))
    assert "one-way  tor-1:agg-0" in said.out
    file.write_text(HAND + "  - {from: tor-1, to: agg-0, gbps: 400}\n")
    assert roadbed(capsys, "fabric", "check", "--fabric", str(file)).code == 0


def test_a_mistake_in_the_file_has_its_line(capsys: Capsys, tmp_path: Path) -> None:
    file = tmp_path / "net.yaml"
    file.write_text(HAND.replace("agg-0", "agg-7"))
    said = roadbed(capsys, "fabric", "check", "--fabric", str(file))
    assert said.code == 2
    assert "net.yaml:8: links.2.to: 'agg-7': there are 1 of kind agg" in said.err
