"""What commands share: errors on the terminal, JSON on request, tables, states and sizes for people.

Imports only click and the standard library, because every command pays for what is imported here.
"""

import json
import os
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from roadbed.errors import RoadbedError, UsageError
from roadbed.home import find_home

if TYPE_CHECKING:
    from roadbed.control.client import ControlClient

INTERRUPTED = 130
HEARTBEAT_S = 10.0

json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON, as the API answers.")


def run(command: click.Command, argv: Sequence[str] | None = None) -> int:
    """Runs a command and returns its exit code."""
    colour = False if os.environ.get("NO_COLOR") else None
    try:
        code = command.main(args=argv, prog_name="roadbed", standalone_mode=False, color=colour)
    except click.exceptions.Abort:
        click.echo("interrupted", err=True)
        return INTERRUPTED
    except click.exceptions.NoArgsIsHelpError as error:
        error.show()
        return error.exit_code
    except click.ClickException as error:
        path = error.ctx.command_path if isinstance(error, click.UsageError) and error.ctx else "roadbed"
        show_error(UsageError(error.format_message(), hint=f"{path} --help"))
        return error.exit_code
    except RoadbedError as error:
        show_error(error)
        return error.exit_code
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # `roadbed … | head` is no failure
        return 0
    except Exception as error:  # noqa: BLE001  the last line of defence: a file gets the traceback, the user a sentence
        show_crash(error)
        return 1
    return code if isinstance(code, int) else 0


def show_error(error: RoadbedError) -> None:
    """`error[CODE]: sentence` and `hint: command`, on stderr."""
    click.echo(click.style(f"error[{error.code}]: ", fg="red", bold=True) + error.message, err=True)
    if error.hint:
        click.echo(click.style("hint: ", fg="cyan") + error.hint, err=True)


def show_crash(error: Exception) -> None:
    """A bug: the traceback goes to a file whose path is printed."""
    path = Path(find_home().logs) / "cli-crash.log"
    where = ""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("".join(traceback.format_exception(error)))
        where = f" (details in {path})"
    except OSError:
        traceback.print_exception(error)
    click.echo(click.style("error[E_BUG]: ", fg="red", bold=True) + f"{type(error).__name__}: {error}{where}", err=True)


def talk(message: str) -> None:
    """A line for the person, on stderr."""
    click.echo(message, err=True)


def client(timeout_s: float = 30.0) -> "ControlClient":
    """The control plane of this home, or of ROADBED_URL."""
    from roadbed.control.client import ControlClient

    return ControlClient.find(timeout_s=timeout_s)


def print_json(value: Any) -> None:
    """Data for programs, on stdout."""
    click.echo(json.dumps(value, indent=2, ensure_ascii=False))


def print_table(headers: Sequence[str], rows: Sequence[Sequence[Any]], *, right: Sequence[int] = ()) -> None:
    """Columns as wide as their content; `right` are the indexes of numeric ones."""
    cells = [[str(value) for value in row] for row in rows]
    plain = [[click.unstyle(cell) for cell in row] for row in cells]
    widths = [max(len(row[i]) for row in [list(headers), *plain]) for i in range(len(headers))]

    def line(row: Sequence[str]) -> str:
        padded = []
        for i, cell in enumerate(row):
            fill = " " * (widths[i] - len(click.unstyle(cell)))
            padded.append(fill + cell if i in right else cell + fill)
        return "  ".join(padded).rstrip()

    click.echo(click.style(line(headers), bold=True))
    for row in cells:
        click.echo(line(row))


STATE_COLOURS = {
    "ready": "green", "ok": "green", "present": "green", "running": "green", "live": "green",
    "starting": "blue", "pulling": "blue", "draining": "blue", "stopping": "blue", "retrying": "blue",
    "finished": "green", "asleep": "blue", "queued": "yellow", "cordoned": "yellow",
    "pending": "yellow", "waiting": "yellow", "warning": "yellow", "failed": "red", "missing": "red",
    "stopped": "bright_black", "exited": "bright_black", "absent": "bright_black", "revoked": "bright_black",
    "expired": "bright_black",
}  # fmt: skip


def state(text: str) -> str:
    """A state word in its colour: blue moving, green well, yellow waiting, red failed, grey over."""
    return click.style(text, fg=STATE_COLOURS.get(text))


def human_bytes(size: float | None) -> str:
    """`92.8 MB`."""
    if size is None:
        return "-"
    for unit in ("B", "kB", "MB", "GB"):
        if size < 1000:
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1000
    return f"{size:.1f} TB"


def human_time(seconds: float) -> str:
    """With three digits, in the unit that suits."""
    for unit, scale in (("s", 1.0), ("ms", 1e-3)):
        if seconds >= scale:
            return f"{seconds / scale:.3g} {unit}"
    return f"{seconds / 1e-6:.3g} µs"


def age(since: float | None, now: float | None = None) -> str:
    """`12 s`, `5 min`, `3 h`, `2 d` ago."""
    if since is None:
        return "-"
    seconds = max(0.0, (time.time() if now is None else now) - since)
    for limit, divisor, unit in ((120, 1, "s"), (7200, 60, "min"), (172_800, 3600, "h")):
        if seconds < limit:
            return f"{seconds / divisor:.0f} {unit}"
    return f"{seconds / 86_400:.0f} d"


def plural(count: int, noun: str) -> str:
    """`1 replica`, `2 replicas`."""
    return f"{count} {noun}{'' if count == 1 else 's'}"


def dim(text: str) -> str:
    """Beside the point, and shown so."""
    return click.style(text, dim=True)


def did_you_mean(name: str, known: Sequence[str]) -> str:
    """`; did you mean 'chat'?`, or what there is, or nothing."""
    from difflib import get_close_matches

    near = get_close_matches(name, known, 1)
    if near:
        return f"; did you mean {near[0]!r}?"
    return f"; there is {', '.join(sorted(known))}" if known else ""


def confirm(question: str, yes: bool) -> None:
    """Asks on stderr unless `yes`. Raises Abort for a no, UsageError where nobody can answer."""
    if yes:
        return
    if not sys.stdin.isatty():
        raise UsageError(f"{question} Nobody is there to answer", hint="add -y")
    click.confirm(question, default=True, abort=True, err=True)


class Duration(click.ParamType[float]):
    """`90`, `250ms`, `2s`, `10 minutes`, `7d` → seconds."""

    name = "duration"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        from roadbed.spec.quantity import parse_seconds

        try:
            return parse_seconds(value)
        except ValueError as error:
            self.fail(str(error), param, ctx)


@contextmanager
def progress(title: str) -> Iterator[Callable[[float, float | None, str], None]]:
    """Long work: a bar on a terminal, a line every ten seconds otherwise. Call it with (done, total, note) in bytes."""
    if not sys.stderr.isatty():
        last = [time.monotonic()]

        def beat(done: float, total: float | None, note: str) -> None:
            if time.monotonic() - last[0] >= HEARTBEAT_S:
                last[0] = time.monotonic()
                share = f" of {human_bytes(total)}" if total else ""
                talk(f"{title}: {note} {human_bytes(done)}{share}")

        yield beat
        return
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

    bar = Progress(
        TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn(),
        console=Console(stderr=True), transient=True,
    )  # fmt: skip
    with bar:
        task = bar.add_task(title, total=None)

        def draw(done: float, total: float | None, note: str) -> None:
            bar.update(task, completed=done, total=total, description=f"{title} ({note})" if note else title)

        yield draw
