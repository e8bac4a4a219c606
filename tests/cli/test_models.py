"""Models with and without a platform."""

from pathlib import Path

import pytest

from roadbed.cli.models import _row, _shown
from tests.cli.conftest import Shell


def test_words() -> None:
    row = {
        "name": "m", "state": "pulling", "done_bytes": 5_000_000, "size_bytes": None, "num_parameters": 494_000_000,
        "license": None, "digest": None, "error": "",
    }  # fmt: skip
    assert _row(row) == ("m", "\x1b[34mpulling\x1b[0m 5.0 MB", "-", "0.49 B", "-", "-")
    assert _shown("architecture", {"num_layers": 2, "hidden": 8}) == "num_layers 2, hidden 8"
    assert _shown("engines", ("a", "b")) == "a, b"


def test_life_of_a_model_without_a_platform(shell: Shell, tmp_path: Path) -> None:
    assert "no model is here yet" in shell("models", "--here").err
    known = shell("models", "--json").json()["models"]
    assert "qwen2.5-0.5b-instruct" in [row["name"] for row in known]
    assert {row["state"] for row in known} == {"absent"}

    path = tmp_path / "mine.gguf"
    path.write_bytes(b"x" * 1000)
    pulled = shell("models", "pull", f"file:{path}", "--json")
    assert pulled.code == 0, pulled.err
    assert (pulled.json()["size_bytes"], pulled.json()["path"]) == (1000, str(path))
    assert "1.0 kB" in shell("models", "--here").out
    assert shell("models", "show", f"file:{path}", "--json").json()["state"] == "present"

    assert shell("models", "rm", f"file:{path}").code == 2, "nobody there to answer"
    assert shell("models", "rm", f"file:{path}", "-y").code == 0
    assert path.exists(), "a file: source is somebody's; only the reference goes"
    assert shell("models", "list", "--here", "--json").json()["models"] == []
    assert shell("models", "rm", f"file:{path}", "-y").code == 3


def test_show_what_is_not_here_yet(shell: Shell) -> None:
    said = shell("models", "show", "qwen2.5-0.5b-instruct")
    assert said.code == 0
    assert "Apache-2.0" in said.out
    assert "roadbed models pull qwen2.5-0.5b-instruct" in said.err


@pytest.mark.parametrize("args", [("pull", "smollm2-135m"), ("show", "smollm2-135m"), ("rm", "smollm2-135m", "-y")])
def test_an_unknown_model(shell: Shell, args: tuple[str, ...]) -> None:
    said = shell("models", *args)
    assert said.code == 3
    assert "smollm2-135m-instruct" in said.err


def test_a_source_that_is_none(shell: Shell) -> None:
    assert shell("models", "pull", "ftp:x").code == 2
    missing = shell("models", "pull", "file:/nowhere/m.gguf")
    assert (missing.code, "E_MODEL_SOURCE" in missing.err) == (1, True)


@pytest.mark.e2e
def test_models_beside_a_platform(platform: Shell, tmp_path: Path) -> None:
    listed = [line.split()[:2] for line in platform("models", "--here").out.splitlines()]
    assert ["smollm2-135m-instruct", "present"] in listed
    refused = platform("models", "rm", "smollm2-135m-instruct", "-y")
    assert (refused.code, "used by service chat" in refused.err) == (4, True)
    assert platform("models", "pull", "smollm2-135m-instruct").code == 0


@pytest.mark.e2e
def test_a_remote_platform_fetches_for_itself(platform: Shell, tmp_path: Path) -> None:
    import json

    path = tmp_path / "far.gguf"
    path.write_bytes(b"y" * 500)
    far = {
        "ROADBED_URL": json.loads((platform.home.run / "platform.json").read_text())["api_url"],
        "ROADBED_TOKEN": platform.home.admin_token.read_text().strip(),
        "ROADBED_HOME": str(tmp_path / "elsewhere"),
    }
    pulled = platform("models", "pull", f"file:{path}", **far)
    assert pulled.code == 0, pulled.err
    assert not (tmp_path / "elsewhere" / "models").exists()
    assert platform("models", "rm", f"file:{path}", "-y", **far).code == 2
    assert platform("models", "rm", f"file:{path}", "-y").code == 0
