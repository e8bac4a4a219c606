"""`fabric compare`: designs side by side."""

from pathlib import Path

import pytest

from tests.cli.fabric_shell import roadbed

Capsys = pytest.CaptureFixture[str]


def test_the_promised_figures(capsys: Capsys) -> None:
    said = roadbed(
        capsys, "fabric", "compare", "hpn7", "dcn_plus", "--gpus", "448", "--model", "gpt3-175b", "--json"
    ).json()  # fmt: skip
    hpn, dcn = said["rows"]
    for row in (hpn, dcn):
        assert {"step_time_s", "samples_per_s", "cross_segment_bytes", "max_queue_bytes", "usd_per_gpu"} <= set(row)
    assert hpn["samples_per_s"] > dcn["samples_per_s"]
    assert hpn["cross_segment_bytes"] < dcn["cross_segment_bytes"]


def test_all_carry_the_first_ones_chip(capsys: Capsys) -> None:
    words = ("fabric", "compare", "hpn7", "spectrum_x", "--gpus", "64", "--model", "llama-7b", "--json")
    rows = roadbed(capsys, *words).json()["rows"]
    assert rows[0]["step"]["compute_s"] == rows[1]["step"]["compute_s"]
    other = roadbed(capsys, *words, "--set", "chip=A100-80GB").json()["rows"]
    assert other[0]["step"]["compute_s"] > rows[0]["step"]["compute_s"]
    assert other[0]["step"]["compute_s"] == other[1]["step"]["compute_s"]


def test_for_people(capsys: Capsys) -> None:
    said = roadbed(capsys, "fabric", "compare", "hpn7", "rail_only", "--gpus", "64", "--model", "llama-7b")
    assert said.code == 0
    assert said.out.splitlines()[0].split() == ["hpn7", "rail_only"]
    assert "against the first" in said.out


def test_a_report(capsys: Capsys, tmp_path: Path) -> None:
    file = tmp_path / "r.html"
    words = ("fabric", "compare", "hpn7", "dcn_plus", "--gpus", "64", "--model", "llama-7b", "--report", str(file))
    assert roadbed(capsys, *words).code == 0
    assert "dcn_plus: all gradients at once" in file.read_text()


@pytest.mark.parametrize(("words", "said"), [
    (["hpn8", "--gpus", "64"], "hpn7"),
    (["hpn7", "--gpus", "64", "--model", "nobody"], "there is no model"),
    (["hpn7"] * 17 + ["--gpus", "8"], "at most 16"),
    ([], "missing argument"),
])  # fmt: skip
def test_what_is_wrong_is_named(capsys: Capsys, words: list[str], said: str) -> None:
    answer = roadbed(capsys, "fabric", "compare", *words)
    assert answer.code in (2, 3)
    assert said.casefold() in answer.err.casefold()
