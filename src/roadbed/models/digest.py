"""SHA-256 of a model: of its bytes for a file, of a sorted listing for a folder."""

import hashlib
import os
from pathlib import Path

from roadbed.models.sources.base import Report
from roadbed.models.sources.hub import is_leftover

READ_BYTES = 4 * 2**20


def file_digest(path: Path, report: Report) -> str:
    """`sha256:<hex>`; `report` hears of every 4 MiB and may raise."""
    total = path.stat().st_size
    done = 0
    state = hashlib.sha256()
    with path.open("rb") as file:
        while data := file.read(READ_BYTES):
            state.update(data)
            done += len(data)
            report(done, total)
    return f"sha256:{state.hexdigest()}"


def folder_digest(folder: Path, report: Report) -> str:
    """The digest of lines `<file digest>  <relative path>`, sorted by path: what `sha256sum` would print."""
    files = folder_files(folder)
    total = sum(path.stat().st_size for path in files)
    done = 0
    state = hashlib.sha256()

    def report_part(part: int, _: int | None) -> None:
        report(done + part, total)

    for path in files:
        digest = file_digest(path, report_part)
        done += path.stat().st_size
        state.update(f"{digest.removeprefix('sha256:')}  {path.relative_to(folder).as_posix()}\n".encode())
    return f"sha256:{state.hexdigest()}"


def folder_files(folder: Path) -> list[Path]:
    """Every regular file below, sorted, without the bookkeeping of download clients."""
    found = [Path(directory) / name for directory, _, names in os.walk(folder) for name in names]
    return sorted(path for path in found if not is_leftover(path.relative_to(folder)) and path.is_file())
