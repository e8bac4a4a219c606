import sys
import threading
import time
from pathlib import Path

import pytest

from roadbed.errors import ModelSourceError
from roadbed.models.sources import child

PY = [sys.executable, "-u", "-c"]


def ignore(done: int, total: int | None) -> None:
    pass


def test_returns_the_output(tmp_path: Path) -> None:
    assert child.run([*PY, "print('hello')"], tmp_path, ignore).strip() == "hello"


def test_progress_is_what_the_child_says(tmp_path: Path) -> None:
    seen: list[tuple[int, int | None]] = []

    def report(done: int, total: int | None) -> None:
        seen.append((done, total))
        (tmp_path / "go").touch()

    wait = "import time, pathlib\nprint('Progress 5 of 9')\nwhile not pathlib.Path(r'%s').exists(): time.sleep(0.01)"
    child.run([*PY, wait % (tmp_path / "go")], tmp_path, report)
    assert seen[0] == (5, 9)


def test_without_numbers_the_folder_is_measured(tmp_path: Path) -> None:
    (tmp_path / "part").write_bytes(b"1234")
    assert child._progress(b"no numbers", tmp_path) == (4, None)
    assert child._progress(b"Progress 1 of 0\nProgress 7 of 0", tmp_path) == (7, None)


def test_the_error_is_one_telling_line(tmp_path: Path) -> None:
    with pytest.raises(ModelSourceError) as caught:
        child.run([*PY, "print('Progress 1 of 2'); raise KeyError('nothing')"], tmp_path, ignore)
    assert caught.value.message == "KeyError: 'nothing'"
    with pytest.raises(ModelSourceError) as caught:
        child.run([*PY, "print('ERROR: first'); print('ERROR: second'); raise SystemExit(1)"], tmp_path, ignore)
    assert caught.value.message == "ERROR: first"
    with pytest.raises(ModelSourceError, match="exit code 3"):
        child.run([*PY, "raise SystemExit(3)"], tmp_path, ignore)


def test_cancelling_ends_the_child_even_if_it_resists(tmp_path: Path) -> None:
    mark = tmp_path / "up"
    resist = "import signal, time, pathlib\nsignal.signal(15, signal.SIG_IGN)"
    script = f"{resist}\npathlib.Path(r'{mark}').touch()\ntime.sleep(60)"

    def cancel(done: int, total: int | None) -> None:
        if mark.exists():
            raise ModelSourceError("cancelled")

    began, threads = time.monotonic(), set(threading.enumerate())
    with pytest.raises(ModelSourceError, match="cancelled"):
        child.run([*PY, script], tmp_path, cancel)
    assert time.monotonic() - began < 20
    assert set(threading.enumerate()) <= threads
