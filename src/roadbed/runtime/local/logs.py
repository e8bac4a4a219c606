"""Rotated logs, one directory per process: current.log, then 1.log (newest) … N.log (oldest).

Numbered files are renamed, never copied, so a reader that holds a file open keeps its place and finds the newer one by
inode. A full or broken disk loses output (counted), never the process that wrote it nor the agent's memory.
"""

import os
from pathlib import Path

MAX_FILE_BYTES = 8 * 2**20
NUM_FILES = 4
CURRENT = "current.log"


class RotatingLog:
    """Appends bytes; rotates by size. Files are private to the user (0600)."""

    def __init__(self, directory: Path, *, max_file_bytes: int = MAX_FILE_BYTES, num_files: int = NUM_FILES) -> None:
        self.directory = directory
        self.path = directory / CURRENT
        self.num_dropped_bytes = 0
        self._max_file_bytes = max_file_bytes
        self._num_files = num_files
        self._fd = -1
        self._size_bytes = 0

    def write(self, data: bytes) -> None:
        """Never raises for a failing disk: what can't be written is dropped and counted."""
        view = memoryview(data)
        while view:
            try:
                written = os.write(self._writable(), view[: max(1, self._max_file_bytes - self._size_bytes)])
            except OSError:
                self.num_dropped_bytes += len(view)
                self.close()
                return
            self._size_bytes += written
            view = view[written:]

    def close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def _writable(self) -> int:
        if self._fd >= 0 and self._size_bytes >= self._max_file_bytes:
            self.close()
            self._rotate()
        if self._fd < 0:
            self.directory.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._fd = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
            self._size_bytes = os.fstat(self._fd).st_size
            if self._size_bytes >= self._max_file_bytes:
                return self._writable()
        return self._fd

    def _rotate(self) -> None:
        newest_first = log_files(self.directory, self._num_files)
        for index in reversed(range(len(newest_first))):
            if index + 1 >= self._num_files:
                newest_first[index].unlink(missing_ok=True)
            elif newest_first[index].exists():
                newest_first[index].rename(self.directory / f"{index + 1}.log")


def log_files(directory: Path, num_files: int = NUM_FILES) -> list[Path]:
    """Every path a log may have, newest first; some may not exist yet."""
    return [directory / CURRENT, *(directory / f"{index}.log" for index in range(1, num_files))]


def tail(directory: Path, num_bytes: int) -> bytes:
    """The last `num_bytes` across rotated files, oldest byte first; b"" when nothing was ever logged."""
    parts: list[bytes] = []
    wanted = num_bytes
    for path in log_files(directory):
        if wanted <= 0:
            break
        try:
            with path.open("rb") as file:
                size = file.seek(0, os.SEEK_END)
                file.seek(max(0, size - wanted))
                parts.append(file.read(wanted))
        except FileNotFoundError:
            break
        wanted -= len(parts[-1])
    return b"".join(reversed(parts))


class LogFollower:
    """Reads what is appended to a log, across rotations, without missing a byte that is still on disk.

    Call `read()` as often as you like; it returns b"" when there is nothing new. Close it when done.
    """

    def __init__(self, directory: Path, *, start_bytes: int = 16_384) -> None:
        """Begins `start_bytes` before the end (within the newest file)."""
        self._directory = directory
        self._start_bytes: int | None = start_bytes
        self._fd = -1

    def read(self, max_bytes: int = 2**16) -> bytes:
        """The next bytes, at most `max_bytes`; b"" when nothing is new."""
        if self._fd < 0:
            self._open(self._directory / CURRENT, self._start_bytes)
        if self._fd < 0:
            self._start_bytes = None  # nothing logged so far: once there is something, begin with its first byte
            return b""
        data = os.read(self._fd, max_bytes)
        if not data and (newer := self._newer()) is not None:
            data = os.read(self._fd, max_bytes)  # what was written between our last read and the rename
            if not data:
                self.close()
                self._open(newer, None)
                return self.read(max_bytes)
        return data

    def close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def _open(self, path: Path, from_end_bytes: int | None) -> None:
        try:
            self._fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            return
        if from_end_bytes is not None:
            os.lseek(self._fd, max(0, os.fstat(self._fd).st_size - from_end_bytes), os.SEEK_SET)

    def _newer(self) -> Path | None:
        """The file that follows ours, or None while ours is the newest."""
        ours = os.fstat(self._fd).st_ino
        newer: Path | None = None
        for path in log_files(self._directory):
            try:
                inode = path.stat().st_ino
            except FileNotFoundError:
                continue  # between a rename and the next open of current.log
            if inode == ours:
                return newer
            newer = path
        return newer  # ours was rotated out: go on with the oldest one left
