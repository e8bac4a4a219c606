"""`fabric export`: every format, in a file or printed."""

from pathlib import Path

import pytest

from roadbed.cli.fabric_export import FORMATS
from tests.cli.fabric_shell import roadbed

Capsys = pytest.CaptureFixture[str]
BEGIN = {
    "simai": f"{16 + 2 + 16 + 120} 8 2 136 ",
    "graphml": "<?xml",
    "svg": "<svg",
    "yaml": "fabric: hpn7\ngpus: 16\n",
}


@pytest.mark.parametrize("name", FORMATS)
def test_every_format(capsys: Capsys, tmp_path: Path, name: str) -> None:
    args = ("fabric", "export", "--gpus", "16", "--set", "with_core=false", "--format", name)
    said = roadbed(capsys, *args)
    assert said.code == 0
    assert said.out.startswith(BEGIN[name])
    out = tmp_path / "x"
    again = roadbed(capsys, *args, "--out", str(out), "--json")
    assert out.read_text() == said.out
    assert again.json() == {"fabric": "hpn7", "gpus": 16, "format": name, "bytes": len(said.out.encode())}


def test_a_format_is_asked_for(capsys: Capsys) -> None:
    said = roadbed(capsys, "fabric", "export", "--format", "visio")
    assert said.code == 2
    assert "visio" in said.err
