"""SimAI's end-to-end CSV: what its run of a workload took, layer by layer, to hold ours against.

    layer_name,RUN,fwd compute,wg compute,ig compute,fwd exposed comm,wg exposed comm,ig exposed comm,
    fwd total comm,algbw,busbw,wg total comm,algbw,busbw,ig total comm,algbw,busbw[,workload finished at]

Times are microseconds, bandwidths GB/s. The first row names the columns and the run, one row per layer follows, then
SUM and totals, which are computed again here.
"""

import csv
import io
import math

import msgspec

from roadbed.errors import SpecError

MAX_TEXT = 200_000_000
MAX_ROWS = 1_000_000
_PHASES = ("fwd", "wg", "ig")
_COLUMNS = 17


class Communication(msgspec.Struct, frozen=True):
    """One phase of a layer."""

    total_s: float
    exposed_s: float
    algbw_gbytes_s: float
    busbw_gbytes_s: float


class LayerResult(msgspec.Struct, frozen=True):
    """One row. compute_s and communication by phase: fwd, ig, wg."""

    name: str
    compute_s: dict[str, float]
    communication: dict[str, Communication]


class Results(msgspec.Struct, frozen=True):
    """A file."""

    run: str
    layers: tuple[LayerResult, ...]

    def total_s(self, phase: str) -> float:
        """Communication of a phase (fwd, ig, wg), all layers."""
        return sum(layer.communication[phase].total_s for layer in self.layers)

    def compute_s(self) -> float:
        return sum(sum(layer.compute_s.values()) for layer in self.layers)


def parse_results(text: str, source: str) -> Results:
    """The results of a file. SpecError `source:line: column: what is wrong`."""
    if len(text) > MAX_TEXT:
        raise SpecError(f"{source}: {len(text):,} characters; at most {MAX_TEXT:,}", field="results")
    rows = []
    reader = csv.reader(io.StringIO(text))
    try:
        for row in reader:
            if any(cell.strip() for cell in row):
                rows.append((reader.line_num, [cell.strip() for cell in row]))
            if len(rows) > MAX_ROWS:
                raise SpecError(f"{source}: more than {MAX_ROWS:,} rows", field="results")
    except csv.Error as error:
        raise SpecError(f"{source}:{reader.line_num}: {error}", field="results") from error
    if not rows or rows[0][1][0] != "layer_name" or len(rows[0][1]) < _COLUMNS:
        raise SpecError(f"{source}:1: the first row names the columns: layer_name, run, fwd compute, …", field="header")
    run = rows[0][1][1]
    layers = []
    for line, row in rows[1:]:
        if row[0] == "SUM":
            break
        layers.append(_layer(row, f"{source}:{line}"))
    if not layers:
        raise SpecError(f"{source}:1: no layers follow", field="results")
    return Results(run, tuple(layers))


def _layer(row: list[str], where: str) -> LayerResult:
    if len(row) < _COLUMNS:
        raise SpecError(f"{where}: {len(row)} columns, {_COLUMNS} are needed", field="row")
    compute = {phase: _number(row[2 + at], f"{phase} compute", where) / 1e6 for at, phase in enumerate(_PHASES)}
    communication = {}
    for at, phase in enumerate(_PHASES):
        first = 8 + 3 * at
        communication[phase] = Communication(
            total_s=_number(row[first], f"{phase} total comm", where) / 1e6,
            exposed_s=_number(row[5 + at], f"{phase} exposed comm", where) / 1e6,
            algbw_gbytes_s=_number(row[first + 1], f"{phase} algbw", where, blank=True),
            busbw_gbytes_s=_number(row[first + 2], f"{phase} busbw", where, blank=True),
        )
    return LayerResult(row[0], compute, communication)


def _number(text: str, column: str, where: str, *, blank: bool = False) -> float:
    """A number of 0 or more; blank: NONE, NaN and inf stand for no communication, 0."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if blank and (text.casefold() in ("none", "", "nan or inf") or not math.isfinite(value)):
        return 0.0
    if not math.isfinite(value) or value < 0:
        raise SpecError(f"{where}: {column}: {text[:40]!r} is not a number of 0 or more", field=column)
    return value
