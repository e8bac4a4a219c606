"""Compiled modules stand in for their sources only while they are true to them."""

import os
import subprocess
import sys
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path

import pytest

from roadbed import _native

ROOT = Path(__file__).parent.parent


@pytest.fixture
def built(tmp_path: Path) -> tuple[Path, Path]:
    """(folder of artefacts, folder of sources) of one compiled module and its library."""
    folder, source = tmp_path / "compiled", tmp_path / "src"
    folder.mkdir()
    (source / "pack").mkdir(parents=True)
    module = source / "pack" / "fast.py"
    module.write_text("ANSWER = 42\n")
    stat = module.stat()
    lines = [EXTENSION_SUFFIXES[0], f"pack.fast {stat.st_size} {stat.st_mtime_ns}", "pack__mypyc 0 0"]
    (folder / "manifest").write_text("\n".join(lines) + "\n")
    return folder, source


def test_what_fits_its_sources_is_used(built: tuple[Path, Path]) -> None:
    files = _native.fresh(*built)
    assert files == {name: str(built[0] / f"{name}.so") for name in ("pack.fast", "pack__mypyc")}
    finder = _native.CompiledFinder(files)
    spec = finder.find_spec("pack.fast")
    assert spec is not None
    assert spec.origin == files["pack.fast"]
    assert finder.find_spec("pack.slow") is None


def test_an_edited_source_runs_instead(built: tuple[Path, Path]) -> None:
    (built[1] / "pack" / "fast.py").write_text("ANSWER = 43  # edited\n")
    assert _native.fresh(*built) == {}


def test_a_touched_source_of_the_same_size_runs_instead(built: tuple[Path, Path]) -> None:
    os.utime(built[1] / "pack" / "fast.py", ns=(1, 1))
    assert _native.fresh(*built) == {}


def test_a_source_that_left_takes_its_artefact_along(built: tuple[Path, Path]) -> None:
    (built[1] / "pack" / "fast.py").unlink()
    assert _native.fresh(*built) == {}


@pytest.mark.parametrize("text", ["", "cp27\npack.fast 1 1\n", f"{EXTENSION_SUFFIXES[0]}\npack.fast\n"])
def test_a_manifest_of_another_python_or_torn_is_nothing(built: tuple[Path, Path], text: str) -> None:
    (built[0] / "manifest").write_text(text)
    assert _native.fresh(*built) == {}


def test_nothing_built_is_nothing(tmp_path: Path) -> None:
    assert _native.fresh(tmp_path / "none", tmp_path) == {}


def test_plain_python_on_request() -> None:
    code = "import roadbed.router.core as core; print(core.__file__)"
    shown = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "ROADBED_PURE": "1"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert shown.stdout.strip().endswith("core.py")


def test_every_module_named_for_compiling_exists() -> None:
    names = subprocess.run(
        [sys.executable, "-c", "import compile; print(*compile.MODULES)"],
        cwd=ROOT / "scripts", capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert names.stdout.split()
    for name in names.stdout.split():
        assert (ROOT / "src" / "roadbed" / f"{name.replace('.', '/')}.py").is_file(), name
