"""One directory, named once, private."""

from pathlib import Path

import pytest

from roadbed.home import Home, find_home


def test_find_home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("ROADBED_HOME", str(tmp_path / "a" / ".." / "b"))
    assert find_home() == Home(tmp_path / "b")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("XDG_DATA_HOME", raising=False)
    monkeypatch.setenv("ROADBED_HOME", "~/mine")
    assert find_home().root == tmp_path / "mine"
    monkeypatch.setenv("ROADBED_HOME", "")
    assert find_home().root == tmp_path / ".local" / "share" / "roadbed"


def test_create_is_private_and_may_be_repeated(tmp_path: Path) -> None:
    home = Home(tmp_path / "home")
    home.create()
    home.create()
    for folder in (home.root, home.models, home.ledger, home.logs, home.run):
        assert folder.stat().st_mode & 0o077 == 0


def test_no_two_paths_are_the_same(tmp_path: Path) -> None:
    home = Home(tmp_path)
    names = [name for name, value in vars(Home).items() if isinstance(value, property)]
    paths = [getattr(home, name) for name in names]
    assert len(set(paths)) == len(paths) == 13
    assert all(path.is_relative_to(tmp_path) for path in paths)
