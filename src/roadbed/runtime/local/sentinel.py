"""Ends every process of an agent that died, however it died.

The agent holds the only write end of our standard input and tells us each process group it starts ("+PGID TICKS") and
each that is over ("-PGID"). End of file means the agent is gone: SIGTERM to the groups still listed, a short grace,
SIGKILL. A group leader's start time guards against a number that was given to somebody else meanwhile; processes that
left their group are found by the marker the agent puts into every environment. Standard library only: it starts in
the time of a bare interpreter and needs a few MB.
"""

import os
import signal
import sys
import time

from roadbed.runtime.local.procfs import pids_with_environment, start_ticks

GRACE_S = 2.0
POLL_S = 0.02


def follow(stream_fd: int) -> dict[int, int]:
    """Reads until end of file; returns the groups that are alive then, with their leaders' start ticks."""
    groups: dict[int, int] = {}
    rest = b""
    while chunk := os.read(stream_fd, 65536):
        *lines, rest = (rest + chunk).split(b"\n")
        for line in lines:
            parts = line[1:].split()
            if line[:1] == b"+" and len(parts) == 2:
                groups[int(parts[0])] = int(parts[1])
            elif line[:1] == b"-" and len(parts) == 1:
                groups.pop(int(parts[0]), None)
    return groups


def signal_group(pgid: int, ticks: int, number: int) -> bool:
    """False when the group is over (or its number belongs to somebody else now)."""
    now = start_ticks(pgid)
    if now is not None and now != ticks:
        return False
    try:
        os.killpg(pgid, number)
    except ProcessLookupError:
        return False
    return True


def end_all(groups: dict[int, int], marker: bytes) -> None:
    """SIGTERM, a short grace, SIGKILL; then the same for processes that left their group."""
    alive = {pgid: ticks for pgid, ticks in groups.items() if signal_group(pgid, ticks, signal.SIGTERM)}
    strays = pids_with_environment(marker)
    for pid in strays:
        _kill(pid, signal.SIGTERM)
    deadline = time.monotonic() + GRACE_S
    while time.monotonic() < deadline:
        alive = {pgid: ticks for pgid, ticks in alive.items() if signal_group(pgid, ticks, 0)}
        strays = pids_with_environment(marker)
        if not alive and not strays:
            return
        time.sleep(POLL_S)
    for pgid, ticks in alive.items():
        signal_group(pgid, ticks, signal.SIGKILL)
    for pid in pids_with_environment(marker):
        _kill(pid, signal.SIGKILL)


def _kill(pid: int, number: int) -> None:
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        pass  # it ended by itself


def main() -> None:
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    marker = sys.argv[1].encode()
    end_all(follow(sys.stdin.fileno()), marker)


if __name__ == "__main__":
    main()
