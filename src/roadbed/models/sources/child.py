"""Runs a downloader (pip, a hub's client) as a process of its own: killable, and its bytes can be counted.

Progress comes from what the child prints where it prints numbers, else from the growth of the folder it writes to.
"""

import os
import re
import signal
import subprocess
import tempfile
import time
from pathlib import Path

from roadbed.errors import ModelSourceError
from roadbed.models.sources.base import Report

POLL_S = 0.2
_PROGRESS = re.compile(rb"Progress (\d+) of (\d+)")
TAIL_BYTES = 65_536


def run(argv: list[str], watched: Path, report: Report, env: dict[str, str] | None = None) -> str:
    """Its output once it succeeded. Raises ModelSourceError with its last error line; kills it if `report` raises."""
    with tempfile.TemporaryFile() as output:
        child = subprocess.Popen(
            argv,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env={**os.environ, **(env or {})},
            start_new_session=True,
        )
        try:
            while True:
                try:
                    child.wait(POLL_S)
                    break
                except subprocess.TimeoutExpired:
                    report(*_progress(_tail(output.fileno()), watched))
        finally:
            if child.returncode is None:
                _end(child)
        text = _tail(output.fileno()).decode(errors="replace")
    if child.returncode != 0:
        raise ModelSourceError(_last_error(text, child.returncode))
    return text


def _progress(output: bytes, watched: Path) -> tuple[int, int | None]:
    numbers = _PROGRESS.findall(output)
    if numbers:
        return int(numbers[-1][0]), int(numbers[-1][1]) or None
    return folder_bytes(watched), None


def folder_bytes(folder: Path) -> int:
    """Bytes in a folder that somebody is writing to."""
    total = 0
    for directory, _, names in os.walk(folder):
        for name in names:
            try:
                total += (Path(directory) / name).lstat().st_size
            except FileNotFoundError:
                continue  # renamed meanwhile
    return total


def _tail(fd: int) -> bytes:
    size = os.fstat(fd).st_size
    return os.pread(fd, TAIL_BYTES, max(0, size - TAIL_BYTES))


def _last_error(text: str, code: int) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip() and not _PROGRESS.match(line.strip().encode())]
    errors = [line for line in lines if re.match(r"(?i)error\b|\w*(error|exception)\b:", line)]
    # pip's first line says what is wrong, its last one only that something is; a traceback has it the other way round.
    chosen = errors[-1:] if "Traceback" in text else errors[:1]
    return " ".join((chosen or lines[-1:] or [f"exit code {code}"])[0].split())[:300]


def _end(child: "subprocess.Popen[bytes]") -> None:
    for number, wait_s in ((signal.SIGTERM, 2.0), (signal.SIGKILL, 5.0)):
        try:
            os.killpg(child.pid, number)
        except ProcessLookupError:
            pass  # it ended by itself in this very moment
        deadline = time.monotonic() + wait_s
        while child.poll() is None and time.monotonic() < deadline:
            time.sleep(0.01)
        if child.poll() is not None:
            return
