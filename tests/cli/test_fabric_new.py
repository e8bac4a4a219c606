"""`fabric new`: a recipe on stdout or in a file, families listed."""

from pathlib import Path

import pytest

from roadbed.fabric import registry
from tests.cli.fabric_shell import roadbed

Capsys = pytest.CaptureFixture[str]


def test_a_recipe_is_data(capsys: Capsys) -> None:
    said = roadbed(capsys, "fabric", "new", "hpn7", "--gpus", "448", "--set", "planes=1")
    assert (said.code, said.out) == (0, "fabric: hpn7\ngpus: 448\nplanes: 1\n")
    assert "448 GPUs in 56 servers; 16 ToRs, 60 Aggs" in said.err


def test_the_file_is_what_other_commands_take(capsys: Capsys, tmp_path: Path) -> None:
    out = tmp_path / "pod.yaml"
    said = roadbed(capsys, "fabric", "new", "dcn-plus", "--gpus", "64", "--out", str(out))
    assert (said.code, said.out) == (0, "")
    assert roadbed(capsys, "fabric", "check", "--fabric", str(out)).code == 0


def test_json_has_every_count(capsys: Capsys) -> None:
    said = roadbed(capsys, "fabric", "new", "fat_tree", "--set", "k=4", "--json").json()
    assert (said["fabric"], said["gpus"]) == ("fat_tree", 16)
    assert said["parameters"]["k"] == 4


def test_families_are_listed_with_their_counts(capsys: Capsys) -> None:
    said = roadbed(capsys, "fabric", "new")
    assert said.code == 0
    assert all(name in said.out for name in registry.FAMILIES)
    assert "aggs_per_plane=60" in said.err
    listed = roadbed(capsys, "fabric", "new", "--json").json()
    assert listed["hpn7"]["parameters"]["aggs_per_plane"] == 60


@pytest.mark.parametrize(
    ("args", "code", "words"),
    [
        (("hpn8",), 3, "did you mean 'hpn7'?"),
        (("hpn7", "--set", "plane=1"), 2, "did you mean 'planes'?"),
        (("hpn7", "--set", "planes=3"), 2, "planes=3"),
        (("hpn7", "--set", "chip=H900", "--gpus", "8"), 3, "there is no chip 'H900'"),
        (("hpn7", "--gpus", "8", "--set", "aggs_per_plane=1000000"), 2, "cables between switches"),
    ],
)
def test_mistakes_are_named(capsys: Capsys, args: tuple[str, ...], code: int, words: str) -> None:
    said = roadbed(capsys, "fabric", "new", *args)
    assert said.code == code
    assert words in said.err
    assert said.out == ""
