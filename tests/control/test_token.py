"""The admin token: made once, private, and refused when it is not."""

import stat
from pathlib import Path

import pytest

from roadbed.control.token import ensure_token
from roadbed.errors import RuntimeFailure


def test_made_once_and_private(tmp_path: Path) -> None:
    path = tmp_path / "admin.token"
    token = ensure_token(path)
    assert len(token) >= 40
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert ensure_token(path) == token


def test_open_or_empty_files_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "admin.token"
    ensure_token(path)
    path.chmod(0o644)
    with pytest.raises(RuntimeFailure, match="can be read by others"):
        ensure_token(path)
    path.chmod(0o600)
    path.write_text("\n")
    with pytest.raises(RuntimeFailure, match="is empty"):
        ensure_token(path)
