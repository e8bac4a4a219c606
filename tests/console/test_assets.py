"""Static files: small, free of foreign addresses, and importing only one another."""

import re
from importlib.resources import files

import pytest
from fastapi import HTTPException

from roadbed.console.assets import Assets

FOLDER = files("roadbed.console") / "static"
MAX_TOTAL_BYTES = 150_000


def test_all_together_are_small() -> None:
    assert sum(len(file.read_bytes()) for file in FOLDER.iterdir()) <= MAX_TOTAL_BYTES


def test_nothing_is_fetched_from_elsewhere() -> None:
    for file in FOLDER.iterdir():
        found = re.findall(r"https?://[^\s\"'`)]+", file.read_text())
        assert set(found) <= {"http://www.w3.org/2000/svg"}


def test_scripts_import_files_that_are_there() -> None:
    assets = Assets()
    for file in FOLDER.iterdir():
        for name in re.findall(r'from "\./([^"]+)"', file.read_text()):
            assert assets.url(name).endswith(f"/{assets.digest}/{name}")


def test_scripts_never_make_html_of_what_was_said() -> None:
    """Only morph.js parses HTML, and only what our templates rendered."""
    for file in FOLDER.iterdir():
        text = file.read_text()
        assert not re.search(r"insertAdjacentHTML|outerHTML|document\.write|\beval\(|new Function", text)
        assert text.count("innerHTML") == (1 if file.name == "morph.js" else 0)


def test_types_and_absence() -> None:
    assets = Assets()
    assert assets.response(assets.digest, "console.css").media_type == "text/css; charset=utf-8"
    assert assets.response(assets.digest, "morph.js").media_type == "text/javascript; charset=utf-8"
    with pytest.raises(HTTPException, match="404"):
        assets.response(assets.digest, "../app.py")
    with pytest.raises(KeyError):
        assets.url("missing.js")
