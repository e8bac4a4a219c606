import json
from pathlib import Path

import pytest

from roadbed.errors import ModelSourceError
from roadbed.models.sources import hub
from roadbed.models.sources.base import HubSource

CLIENT = """
import json, os, pathlib
def _note(repo, file, revision, local_dir):
    if "absent" in repo:
        raise RuntimeError("404 Client Error: Repository Not Found")
    folder = pathlib.Path(local_dir)
    (folder / ".cache").mkdir()
    (folder / ".cache" / "lock").write_text("x")
    target = folder / (file or "config.json")
    target.parent.mkdir(exist_ok=True)
    target.write_text(json.dumps([repo, file, revision]))
def hf_hub_download(repo, file, revision=None, local_dir=None):
    _note(repo, file, revision, local_dir)
def snapshot_download(repo, revision=None, local_dir=None):
    _note(repo, None, revision, local_dir)
"""


def ignore(done: int, total: int | None) -> None:
    pass


@pytest.fixture
def client(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A client with the real one's functions, so that what we pass to them is seen without a network."""
    folder = tmp_path / "site"
    folder.mkdir()
    (folder / "huggingface_hub.py").write_text(CLIENT)
    monkeypatch.setenv("PYTHONPATH", str(folder))
    monkeypatch.syspath_prepend(str(folder))
    staging = tmp_path / "staging"
    staging.mkdir()
    return staging


def test_one_file_of_a_revision(client: Path) -> None:
    found = hub.fetch(HubSource("hf", "o/r", "v1", "sub/x.gguf"), client, ignore)
    assert found.name == "x.gguf"
    assert json.loads(found.read_text()) == ["o/r", "sub/x.gguf", "v1"]


def test_a_whole_repository(client: Path) -> None:
    found = hub.fetch(HubSource("hf", "o/r", None, None), client, ignore)
    assert json.loads((found / "config.json").read_text()) == ["o/r", None, None]
    assert hub.is_leftover(Path(".cache/lock"))
    assert not hub.is_leftover(Path("config.json"))


def test_the_client_s_error_is_one_sentence(client: Path) -> None:
    with pytest.raises(ModelSourceError, match=r"hf:absent/r: RuntimeError: 404 Client Error: Repository Not Found"):
        hub.fetch(HubSource("hf", "absent/r", None, None), client, ignore)


def test_a_missing_client_names_the_extra(tmp_path: Path) -> None:
    with pytest.raises(ModelSourceError, match="needs the package modelscope") as caught:
        hub.fetch(HubSource("modelscope", "o/r", None, None), tmp_path, ignore)
    assert caught.value.hint == "pip install 'roadbed[modelscope]'"
