import hashlib
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from roadbed.models.digest import file_digest, folder_digest, folder_files


def ignore(done: int, total: int | None) -> None:
    pass


@given(st.binary(max_size=5000))
def test_a_file_s_digest_is_its_sha256(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    path = tmp_path_factory.mktemp("d") / "f"
    path.write_bytes(data)
    assert file_digest(path, ignore) == f"sha256:{hashlib.sha256(data).hexdigest()}"


def test_a_folder_s_digest_is_what_sha256sum_prints(tmp_path: Path) -> None:
    for name, data in (("b.bin", b"2"), ("a/c.json", b"{}"), ("a.txt", b"1")):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(data)
    (tmp_path / ".cache").mkdir()
    (tmp_path / ".cache" / "lock").write_bytes(b"x")
    names = [path.relative_to(tmp_path).as_posix() for path in folder_files(tmp_path)]
    printed = subprocess.run(["sha256sum", *names], cwd=tmp_path, capture_output=True, check=True).stdout
    assert folder_digest(tmp_path, ignore) == f"sha256:{hashlib.sha256(printed).hexdigest()}"
    (tmp_path / "a.txt").rename(tmp_path / "z.txt")
    assert folder_digest(tmp_path, ignore) != f"sha256:{hashlib.sha256(printed).hexdigest()}"


def test_progress_of_a_folder_grows_to_its_size(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).write_bytes(bytes(5 * 2**20))
    seen: list[tuple[int, int | None]] = []
    folder_digest(tmp_path, lambda done, total: seen.append((done, total)))
    assert [done for done, _ in seen] == sorted(done for done, _ in seen)
    assert seen[-1] == (10 * 2**20, 10 * 2**20)
