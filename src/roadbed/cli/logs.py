"""`roadbed logs`: what processes wrote, also after they ended and while the control plane is away.

On this machine the files are read directly, so nothing has to run; a remote platform is asked over its API.
"""

import os
import re
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

from roadbed.cli.base import did_you_mean
from roadbed.errors import NotFoundError

if TYPE_CHECKING:
    from roadbed.home import Home

POLL_S = 0.1
BYTES_PER_LINE = 512
"""How much of a file is read for each line asked for: longer lines on average show fewer lines."""
COLOURS = ("cyan", "magenta", "yellow", "blue", "green")
_REPLICA = re.compile(r"service-(?P<service>.+)-\d+")
_RANK = re.compile(r"task-(?P<task>.+)\.(?P<generation>\d+)\.(?P<attempt>\d+)\.(?P<rank>\d+)")


@click.command("logs")
@click.argument("name")
@click.option("-f", "--follow", is_flag=True, help="Go on with what is written next, until Ctrl-C.")
@click.option(
    "-n",
    "--lines",
    "num_lines",
    default=100,
    show_default=True,
    type=click.IntRange(0, 100_000),
    help="How many to begin with.",
)
def command(name: str, follow: bool, num_lines: int) -> None:
    """Output of a service's replicas, of one replica, of a task's ranks, or of gateway-0, control, agent.

    \b
      roadbed logs chat -f          all its replicas
      roadbed logs chat-0 -n 20
      roadbed logs control
    """
    if os.environ.get("ROADBED_URL"):
        _remote(name, follow, num_lines)
        return
    from roadbed.home import find_home

    home = find_home()
    names = find_processes(name, known_processes(home))
    for process in names:
        echo = _echo(process, names)
        for line in _last_lines(home.logs / process, num_lines):
            echo(line)
    if follow:
        _follow(home, names)


def known_processes(home: "Home") -> list[str]:
    """Processes that have a log: they need not run."""
    return sorted(path.name for path in home.logs.iterdir() if path.is_dir()) if home.logs.is_dir() else []


def find_processes(name: str, known: list[str]) -> list[str]:
    """A process by its name, a replica by its id, or all replicas of a service. Raises NotFoundError."""
    if name in known:
        return [name]
    if f"service-{name}" in known and _REPLICA.fullmatch(f"service-{name}"):
        return [f"service-{name}"]
    matches = [(process, _REPLICA.fullmatch(process)) for process in known]
    replicas = [process for process, match in matches if match and match["service"] == name]
    if replicas:
        return replicas
    ranks = find_ranks(name, known)
    if ranks:
        return ranks
    tasks = [match["task"] if (match := _RANK.fullmatch(process)) else process for process in known]
    shown = sorted({match["service"] if match else task for (_, match), task in zip(matches, tasks, strict=True)})
    raise NotFoundError(f"nothing named {name!r} has a log{did_you_mean(name, shown)}", hint="roadbed ps -a")


def find_ranks(name: str, known: list[str]) -> list[str]:
    """The ranks of a task's last attempt, in order."""
    found = [(match, process) for process in known if (match := _RANK.fullmatch(process)) and match["task"] == name]
    runs = [((int(m["generation"]), int(m["attempt"])), int(m["rank"]), process) for m, process in found]
    last = max((run for run, _, _ in runs), default=None)
    return [process for _, process in sorted((rank, process) for run, rank, process in runs if run == last)]


def _last_lines(directory: Path, num_lines: int) -> list[str]:
    from roadbed.runtime.local.logs import tail

    if num_lines == 0:
        return []
    data = tail(directory, max(65_536, num_lines * BYTES_PER_LINE))
    return data.decode("utf-8", "replace").splitlines()[-num_lines:]


def _follow(home: "Home", names: list[str]) -> None:
    from roadbed.runtime.local.logs import LogFollower

    followers = [(_Lines(_echo(name, names)), LogFollower(home.logs / name, start_bytes=0)) for name in names]
    try:
        while True:
            chunks = [(lines, follower.read()) for lines, follower in followers]
            for lines, chunk in chunks:
                lines.feed(chunk)
            if not any(chunk for _, chunk in chunks):
                time.sleep(POLL_S)
    finally:
        for _, follower in followers:
            follower.close()


class _Lines:
    """Whole lines out of pieces."""

    def __init__(self, echo: Callable[[str], None]) -> None:
        self._echo = echo
        self._rest = b""

    def feed(self, chunk: bytes) -> None:
        *lines, self._rest = (self._rest + chunk).split(b"\n")
        for line in lines:
            self._echo(line.decode("utf-8", "replace").rstrip("\r"))


def _echo(process: str, names: list[str]) -> Callable[[str], None]:
    """Prefixed with the replica when there are several."""
    if len(names) == 1:
        return click.echo
    label = process.removeprefix("service-")
    prefix = click.style(f"{label} | ", fg=COLOURS[names.index(process) % len(COLOURS)])
    return lambda line: click.echo(prefix + line)


def _remote(name: str, follow: bool, num_lines: int) -> None:
    from roadbed.cli.base import client

    control = client()
    try:
        names = find_processes(name, [row["name"] for row in control.status()["processes"]])
    except NotFoundError:
        try:
            names = control.task(name)["processes"]  # ended processes are in no list, but their logs are there
        except NotFoundError:
            names = []
        if not names:
            raise

    def pump(process: str) -> None:
        lines = _Lines(_echo(process, names))
        for chunk in _pieces(process, num_lines, follow):
            lines.feed(chunk)

    if not follow or len(names) == 1:
        for process in names:
            pump(process)
        return
    threads = [threading.Thread(target=pump, args=(process,), daemon=True) for process in names]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def _pieces(process: str, num_lines: int, follow: bool) -> Iterator[bytes]:
    """A connection of its own for each, since one answer may last for ever."""
    from roadbed.cli.base import client

    num_bytes = min(2**20, max(1, num_lines * BYTES_PER_LINE))
    pieces = client(timeout_s=3600.0).logs(process, num_bytes=num_bytes, follow=follow)
    first = next(pieces, b"")
    yield b"\n".join(first.split(b"\n")[-num_lines - 1 :]) if num_lines else b""
    yield from pieces
