"""The few facts read from /proc, so that a number is never mistaken for the process that had it before."""

from pathlib import Path


def start_ticks(pid: int) -> int | None:
    """Clock ticks after boot at which `pid` started: with the pid it identifies a process. None if there is none."""
    try:
        return int(Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()[19])
    except (FileNotFoundError, ProcessLookupError, IndexError, ValueError):
        return None


def pids_with_environment(marker: bytes) -> list[int]:
    """Processes (of this user) that were started with `marker` ("NAME=value") in their environment."""
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            if marker in (entry / "environ").read_bytes().split(b"\0"):
                found.append(int(entry.name))
        except OSError:
            continue  # gone meanwhile, or another user's
    return found
