import stat
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from roadbed.runtime.local.logs import LogFollower, RotatingLog, log_files, tail
from tests.runtime.local.conftest import num_open_files


def test_rotates_by_size_and_keeps_only_so_many_files(tmp_path: Path) -> None:
    log = RotatingLog(tmp_path / "p", max_file_bytes=10, num_files=3)
    for number in range(10):
        log.write(f"{number}".encode() * 10)
    log.close()
    assert sorted(path.name for path in (tmp_path / "p").iterdir()) == ["1.log", "2.log", "current.log"]
    assert tail(tmp_path / "p", 1000) == b"777777777788888888889999999999"


def test_one_big_write_is_cut_at_file_ends_and_loses_only_what_rotated_out(tmp_path: Path) -> None:
    log = RotatingLog(tmp_path, max_file_bytes=10, num_files=3)
    log.write(bytes(range(95)))
    log.close()
    assert tail(tmp_path, 100) == bytes(range(70, 95))


def test_files_are_private(tmp_path: Path) -> None:
    log = RotatingLog(tmp_path / "p")
    log.write(b"x")
    log.close()
    assert stat.S_IMODE(log.path.stat().st_mode) == 0o600
    assert stat.S_IMODE(log.directory.stat().st_mode) == 0o700


def test_a_second_run_appends(tmp_path: Path) -> None:
    for text in (b"first ", b"second"):
        log = RotatingLog(tmp_path, max_file_bytes=8, num_files=4)
        log.write(text)
        log.close()
    assert tail(tmp_path, 100) == b"first second"


def test_a_broken_disk_loses_output_and_nothing_else(tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_bytes(b"")
    log = RotatingLog(blocked / "p")
    log.write(b"12345")
    assert log.num_dropped_bytes == 5
    blocked.unlink()
    log.write(b"back")
    log.close()
    assert tail(blocked / "p", 100) == b"back"


@given(pieces=st.lists(st.binary(min_size=1, max_size=50), max_size=30), wanted=st.integers(0, 200))
def test_tail_is_the_end_of_all_that_was_written(
    tmp_path_factory: pytest.TempPathFactory, pieces: list[bytes], wanted: int
) -> None:
    directory = tmp_path_factory.mktemp("log")
    log = RotatingLog(directory, max_file_bytes=64, num_files=4)
    for piece in pieces:
        log.write(piece)
    log.close()
    written = b"".join(pieces)
    kept = sum(path.stat().st_size for path in log_files(directory) if path.exists())
    assert kept >= min(len(written), 3 * 64)
    assert tail(directory, wanted) == written[len(written) - min(wanted, kept) :]


@given(pieces=st.lists(st.binary(min_size=1, max_size=60), max_size=20))
def test_a_follower_sees_every_byte_across_rotations(
    tmp_path_factory: pytest.TempPathFactory, pieces: list[bytes]
) -> None:
    directory = tmp_path_factory.mktemp("log")
    log = RotatingLog(directory, max_file_bytes=64, num_files=4)
    follower = LogFollower(directory)
    assert follower.read() == b""
    seen = b""
    for piece in pieces:
        log.write(piece)
        while data := follower.read():
            seen += data
    follower.close()
    log.close()
    assert seen == b"".join(pieces)


def test_a_follower_left_behind_goes_on_with_the_oldest_file_left(tmp_path: Path) -> None:
    log = RotatingLog(tmp_path, max_file_bytes=10, num_files=2)
    log.write(b"0" * 10)
    follower = LogFollower(tmp_path)
    assert follower.read() == b"0" * 10
    log.write(b"1" * 10 + b"2" * 10 + b"3" * 10)
    seen = b""
    while data := follower.read():
        seen += data
    assert seen == b"2" * 10 + b"3" * 10
    follower.close()
    log.close()


def test_a_follower_starts_near_the_end(tmp_path: Path) -> None:
    log = RotatingLog(tmp_path)
    log.write(b"0123456789")
    follower = LogFollower(tmp_path, start_bytes=4)
    assert follower.read() == b"6789"
    before = num_open_files()
    follower.close()
    follower.close()
    assert num_open_files() == before - 1
    log.close()
