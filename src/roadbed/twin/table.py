"""Rows of CSV and JSON-lines files, every complaint on its line.

Traces come from everywhere and are long: rows are read one by one, a cell is parsed only when asked for, and the first
thing that makes no sense ends the reading, because a trace half understood gives numbers that look right.
"""

import csv
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from roadbed.errors import NotFoundError, SpecError, UsageError

MAX_ROWS = 5_000_000
MAX_LINE_CHARS = 1 << 20
HINT = "roadbed twin --help"


class Row:
    """One row: cells by column, and where it stands for complaints."""

    __slots__ = ("_cells", "line", "path")

    def __init__(self, path: Path, line: int, cells: Mapping[str, Any]) -> None:
        self.path = path
        self.line = line
        self._cells = cells

    def error(self, words: str, column: str | None = None) -> SpecError:
        """The complaint, to be raised."""
        return SpecError(f"{self.path}:{self.line}: {words}", hint=HINT, field=column)

    def has(self, column: str) -> bool:
        """Is there anything in that cell?"""
        return self._cells.get(column) not in (None, "")

    def text(self, column: str, default: str = "") -> str:
        """A cell as text without blanks around it; `default` where it is empty."""
        value = self._cells.get(column)
        if value in (None, ""):
            return default
        if not isinstance(value, str | int | float):
            raise self.error(f"{column} is {json.dumps(value)[:60]}, which is no text", column)
        return str(value).strip() or default

    def number(self, column: str, default: float | None = None, *, least: float = 0.0) -> float:
        """A finite number ≥ least. SpecError naming line and column; without a default an empty cell is an error."""
        value = self._cells.get(column)
        if value in (None, ""):
            if default is None:
                raise self.error(f"{column} is empty", column)
            return default
        try:
            number = math.nan if isinstance(value, bool) else float(value)
        except (TypeError, ValueError, OverflowError):
            number = math.nan
        if not math.isfinite(number):
            raise self.error(f"{column} is {str(value)[:60]!r}, which is no number", column)
        if number < least:
            raise self.error(f"{column} is {number:g}, below {least:g}", column)
        return number

    def integer(self, column: str, default: int | None = None, *, least: int = 0, most: int = 1 << 53) -> int:
        """A whole number in least..most (`8.0` counts). SpecError as for `number`."""
        number = self.number(column, default, least=least)
        if number != int(number):
            raise self.error(f"{column} is {number:g}, which is no whole number", column)
        if number > most:
            raise self.error(f"{column} is {number:g}, above {most:g}", column)
        return int(number)

    def integers(self, column: str) -> list[int]:
        """A list of whole numbers; empty where the cell is. SpecError as for `number`."""
        value = self._cells.get(column)
        if value in (None, ""):
            return []
        if not isinstance(value, list) or not all(type(item) is int and abs(item) < 1 << 63 for item in value):
            raise self.error(f"{column} is {json.dumps(value)[:60]}, which is no list of whole numbers", column)
        return value

    def items(self, column: str) -> list[Any]:
        """A list of whatever; SpecError where there is none."""
        value = self._cells.get(column)
        if not isinstance(value, list):
            raise self.error(f"{column} is {json.dumps(value)[:60]}, which is no list", column)
        return value


def read_csv(path: Path, columns: Sequence[str]) -> Iterator[Row]:
    """Rows of a CSV file whose header has at least `columns`. SpecError, NotFoundError or UsageError (unreadable)."""
    with _opened(path) as lines:
        reader = csv.reader(lines)
        try:
            header = [name.strip() for name in next(reader, [])]
            _check_header(path, header, columns)
            for cells in reader:
                if not cells:
                    continue
                if len(cells) != len(header):
                    words = f"{len(cells)} cells under {len(header)} columns"
                    raise SpecError(f"{path}:{reader.line_num}: {words}", hint=HINT)
                yield Row(path, reader.line_num, dict(zip(header, cells, strict=True)))
        except csv.Error as error:
            raise SpecError(f"{path}:{reader.line_num}: no CSV: {error}", hint=HINT) from error


def read_jsonl(path: Path, columns: Sequence[str]) -> Iterator[Row]:
    """Objects of a JSON-lines file, each with at least `columns`. Raises as `read_csv`."""
    with _opened(path) as lines:
        number = 0
        try:
            for number, line in enumerate(lines, 1):
                if not line.strip():
                    continue
                row = json.loads(line)
                if not isinstance(row, dict):
                    raise SpecError(f"{path}:{number}: not an object", hint=HINT)
                missing = [name for name in columns if name not in row]
                if missing:
                    raise SpecError(f"{path}:{number}: lacks {', '.join(missing)}", hint=HINT, field=missing[0])
                yield Row(path, number, row)
        except (ValueError, RecursionError) as error:
            raise SpecError(f"{path}:{max(1, number)}: no JSON: {error}", hint=HINT) from error


def header_of(path: Path) -> list[str]:
    """Column names of a CSV file, [] for JSON lines and empty files. Raises as `read_csv`."""
    with _opened(path) as lines:
        try:
            first = next(lines, "")
            return [] if first.lstrip().startswith("{") else [name.strip() for name in next(csv.reader([first]), [])]
        except csv.Error as error:
            raise SpecError(f"{path}:1: neither CSV nor JSON lines: {error}", hint=HINT) from error


class _opened:
    """The lines of a file, bounded in number and length; opening errors are said in our words."""

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self.file = path.open(encoding="utf-8-sig", newline="")
        except FileNotFoundError as error:
            raise NotFoundError(f"there is no file {path}", hint=f"ls {path.parent}") from error
        except (OSError, ValueError) as error:
            reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
            raise UsageError(f"{path} can't be read: {reason}", hint=f"ls -l {path}") from error

    def __enter__(self) -> Iterator[str]:
        return self._lines()

    def __exit__(self, *_: object) -> None:
        self.file.close()

    def _lines(self) -> Iterator[str]:
        number = 0
        while line := self._next(number):
            number += 1
            if len(line) > MAX_LINE_CHARS:
                raise SpecError(f"{self.path}:{number}: a line of more than {MAX_LINE_CHARS:,} characters", hint=HINT)
            if number > MAX_ROWS:
                raise SpecError(f"{self.path}: more than {MAX_ROWS:,} lines", hint=HINT)
            yield line

    def _next(self, number: int) -> str:
        try:
            return self.file.readline(MAX_LINE_CHARS + 1)
        except UnicodeDecodeError as error:  # decoded in blocks: the line is one of the next few hundred
            raise SpecError(f"{self.path}: not UTF-8 text somewhere after line {number}", hint=HINT) from error


def _check_header(path: Path, header: Sequence[str], columns: Sequence[str]) -> None:
    missing = [name for name in columns if name not in header]
    if missing:
        there = ", ".join(header[:12]) or "nothing"
        words = f"column{'s' if len(missing) > 1 else ''} {', '.join(missing)} missing; there is {there}"
        raise SpecError(f"{path}:1: {words}", hint=HINT, field=missing[0])
    twice = sorted({name for name in header if header.count(name) > 1})
    if twice:
        raise SpecError(f"{path}:1: column {twice[0]!r} is there twice", hint=HINT, field=twice[0])
