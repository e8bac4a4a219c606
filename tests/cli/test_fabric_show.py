"""`fabric show`: figures, prices, a picture."""

from pathlib import Path

import pytest

from roadbed.fabric import prices
from tests.cli.fabric_shell import roadbed

Capsys = pytest.CaptureFixture[str]


def test_figures_for_people(capsys: Capsys) -> None:
    said = roadbed(capsys, "fabric", "show", "--set", "with_core=true")
    assert said.code == 0
    assert "hpn7: 15,360 GPUs, 1920 servers, 15 segments, 1 pod, 2 planes" in said.out
    assert "15 : 1" in said.out
    assert any(line.split() == ["paths", "between", "segments", "60"] for line in said.out.splitlines())
    assert "estimates" in said.err


def test_figures_for_programs(capsys: Capsys) -> None:
    said = roadbed(capsys, "fabric", "show", "--fabric", "rail_only", "--gpus", "2048", "--json").json()
    assert said["num_planes"] == 16
    assert said["paths"]["cross_segment"] == 60
    assert said["usd_per_gpu"] == said["usd"] / 2_048
    assert sum(tier["num"] for tier in said["tiers"]) == said["num_switches"]


def test_prices_of_the_user(capsys: Capsys, tmp_path: Path) -> None:
    file = tmp_path / "prices.yaml"
    listed = roadbed(capsys, "fabric", "show", "--list-prices")
    file.write_text(listed.out)
    assert set(prices.read(listed.out, "x")) == set(prices.DEFAULTS)
    usual = roadbed(capsys, "fabric", "show", "--gpus", "64", "--json").json()
    same = roadbed(capsys, "fabric", "show", "--gpus", "64", "--prices", str(file), "--json").json()
    assert same["usd"] == pytest.approx(usual["usd"])
    file.write_text("card: {usd: 3000}\n")
    dearer = roadbed(capsys, "fabric", "show", "--gpus", "64", "--prices", str(file), "--json").json()
    assert dearer["usd"] - usual["usd"] == pytest.approx(64 * 1_000)
    file.write_text("card: {usd: 3000}\ncards: {usd: 1}\n")
    said = roadbed(capsys, "fabric", "show", "--prices", str(file))
    assert said.code == 2
    assert "prices.yaml:2: cards is no part" in said.err


def test_a_picture(capsys: Capsys, tmp_path: Path) -> None:
    out = tmp_path / "pod.svg"
    assert roadbed(capsys, "fabric", "show", "--gpus", "64", "--svg", str(out)).code == 0
    assert out.read_text().startswith("<svg ")
