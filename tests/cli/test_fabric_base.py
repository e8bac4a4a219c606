"""Which network is meant: names, files of three kinds, options over them, and mistakes."""

from pathlib import Path

import click
import pytest

from roadbed.cli.base import run
from roadbed.cli.fabric_base import fabric_options, load_fabric, read_text, write_text
from roadbed.errors import NotFoundError, RoadbedError, SpecError, UsageError
from roadbed.fabric import simai
from roadbed.fabric.registry import build


def test_a_family_by_name() -> None:
    assert load_fabric("hpn7", gpus=64, settings={"planes": "1"}).parameters["planes"] == 1
    assert load_fabric("dcn-plus", gpus=64, settings={}).name == "dcn_plus"


def test_files_of_every_kind(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("fabric: hpn7\ngpus: 64\n")
    (tmp_path / "b.yaml").write_text("fabric: custom\nservers: {count: 3}\n")
    (tmp_path / "c").write_text(simai.write(build("spectrum_x", gpus=16)))
    assert load_fabric(str(tmp_path / "a.yaml"), gpus=None, settings={}).num_gpus == 64
    assert load_fabric(str(tmp_path / "a.yaml"), gpus=128, settings={"planes": "1"}).num_gpus == 128
    assert load_fabric(str(tmp_path / "b.yaml"), gpus=None, settings={}).num_gpus == 24
    assert load_fabric(str(tmp_path / "c"), gpus=8, settings={}).num_gpus == 16


@pytest.mark.parametrize(
    ("name", "kind", "words"),
    [
        ("hpn", NotFoundError, "there is no network 'hpn'; did you mean 'hpn7'?"),
        ("pod.yaml", NotFoundError, "there is no file pod.yaml"),
        ("./pod", NotFoundError, "there is no"),
        ("/", SpecError, "Is a directory"),
    ],
)
def test_neither_name_nor_file(name: str, kind: type[RoadbedError], words: str) -> None:
    with pytest.raises(kind, match=words.replace("?", r"\?")):
        load_fabric(name, gpus=None, settings={})


def test_not_text(tmp_path: Path) -> None:
    (tmp_path / "x.yaml").write_bytes(b"fabric: hpn7\n\xff\n")
    with pytest.raises(SpecError, match=r"x\.yaml:2: not UTF-8"):
        read_text(tmp_path / "x.yaml")


def test_nowhere_to_write(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="can't be written"):
        write_text(tmp_path / "no" / "x", "")


def _given(*args: str) -> tuple[int, list[object]]:
    seen: list[object] = []

    @click.command()
    @fabric_options
    def command(fabric: str, gpus: int | None, settings: dict[str, str]) -> None:
        seen.extend([fabric, gpus, settings])

    return run(command, args), seen


def test_options_become_arguments() -> None:
    assert _given() == (0, ["hpn7", None, {}])
    args = ("--fabric", "x", "--gpus", "8", "--set", "a=1", "--set", "b = two ", "--set", "a=3")
    assert _given(*args) == (0, ["x", 8, {"a": "3", "b": "two"}])


@pytest.mark.parametrize("args", [("--set", "planes"), ("--set", "=1"), ("--gpus", "0"), ("--gpus", "9999999")])
def test_options_that_are_wrong(args: tuple[str, ...]) -> None:
    assert _given(*args) == (2, [])
