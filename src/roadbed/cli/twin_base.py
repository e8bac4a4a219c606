"""What the twin's commands share: lists and ranges as option types, progress of many runs, the report's file."""

import math
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click

from roadbed.cli.base import HEARTBEAT_S, Duration, talk
from roadbed.errors import UsageError

MAX_SEEDS = 10_000
FILE = click.Path(path_type=Path)


class Seeds(click.ParamType[tuple[int, ...]]):
    """`42..51`, `1,2,5..7` → the numbers, in the order written, none twice."""

    name = "seeds"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[int, ...]:
        if isinstance(value, tuple):
            return value
        found: dict[int, None] = {}
        for part in str(value).split(","):
            first, dots, last = part.strip().partition("..")
            if not (first.isascii() and first.isdigit() and (not dots or (last.isascii() and last.isdigit()))):
                self.fail(f"{part.strip()!r} is neither a number nor a range such as 42..51", param, ctx)
            low, high = int(first[:19]), int((last or first)[:19])
            if high < low:
                self.fail(f"{part.strip()!r} is an empty range", param, ctx)
            if high - low >= MAX_SEEDS:
                self.fail(f"{part.strip()!r} is more than {MAX_SEEDS:,} seeds", param, ctx)
            found.update(dict.fromkeys(range(low, high + 1)))
        return tuple(found)


class Names(click.ParamType[tuple[str, ...]]):
    """`a,b,c` → names, none twice."""

    name = "names"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, ...]:
        if isinstance(value, tuple):
            return value
        found = dict.fromkeys(name for part in str(value).split(",") if (name := part.strip()))
        if not found:
            self.fail("names nothing", param, ctx)
        return tuple(found)


class Ratio(click.FloatRange):
    """A finite number in a range: click's own type lets nan through."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        number = float(super().convert(value, param, ctx))
        if not math.isfinite(number):
            self.fail(f"{value} is no number", param, ctx)
        return number


class Numbers(click.ParamType[tuple[float, ...]]):
    """`1,2,3.5` → finite numbers within a range, none twice."""

    name = "numbers"

    def __init__(self, least: float = 0.001, most: float = 10_000) -> None:
        self._one_of = Ratio(least, most)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[float, ...]:
        if isinstance(value, tuple):
            return value
        return tuple(dict.fromkeys(self._one_of.convert(part.strip(), param, ctx) for part in str(value).split(",")))


def trace_options(command: Callable[..., None]) -> Callable[..., None]:
    """The options of every command that replays a trace of jobs."""
    options = (
        click.option("--trace", required=True, type=FILE, help="Jobs: philly, openb, or generic CSV or JSON lines."),
        click.option("--from-day", type=Ratio(0, 1e5), default=0.0, help="Begin so many days into the trace."),
        click.option("--days", type=Ratio(0, 1e5), default=0.0, help="Take so many days of it. Default: all."),
        click.option("--sample", type=Ratio(0.0001, 1), default=1.0, help="Share of jobs a seed draws. Default: all."),
        click.option("--seeds", type=Seeds(), default="1", show_default=True, help="Such as 1..10."),
        click.option("--per-node", type=click.IntRange(1, 64), default=8, show_default=True, help="Devices of a node."),
        click.option(
            "--know", type=click.Choice(["declared", "exact"]), default="declared", show_default=True,
            help="Durations the scheduler is told: what owners declared (else it learns), or what will be.",
        ),
        click.option(
            "--checkpoint", type=Duration(), default="30min", show_default=True, help="How often jobs save; 0 = never."
        ),
        click.option("--workers", type=click.IntRange(0, 1024), default=0, help="Processes. Default: one per core."),
        click.option("--report", type=FILE, help="Write an HTML report with plots here."),
    )  # fmt: skip
    for option in reversed(options):
        command = option(command)
    return command


@contextmanager
def counted(title: str) -> Iterator[Callable[[int, int], None]]:
    """Progress of many runs: a bar on a terminal, a line every ten seconds otherwise. Call it with (done, of)."""
    if not sys.stderr.isatty():
        last = [time.monotonic()]

        def beat(done: int, of: int) -> None:
            if time.monotonic() - last[0] >= HEARTBEAT_S:
                last[0] = time.monotonic()
                talk(f"{title}: {done} of {of} runs")

        yield beat
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(title, total=None)

        def draw(done: int, of: int) -> None:
            bar.update(task, completed=done, total=of)

        yield draw


def check_baseline(baseline: str | None, policies: tuple[str, ...], default: str) -> str:
    """The policy others are compared with: the one asked for, else `default` if it is there, else the last one."""
    if baseline is None:
        return default if default in policies else policies[-1]
    if baseline not in policies:
        raise UsageError(
            f"the baseline {baseline!r} is not among the policies {', '.join(policies)}",
            hint=f"add it: --policy {','.join((*policies, baseline))}",
            field="baseline",
        )
    return baseline


def write_report(path: Path, text: str) -> None:
    """Writes the HTML report; UsageError where that can't be."""
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise UsageError(
            f"{path} can't be written: {error.strerror}", hint=f"ls -ld {path.parent}", field="report"
        ) from error
    talk(f"report: {path}")
