"""Charts as SVG text, in the console's style: a few rounded gridlines, one colour per series, nothing to install.

Every chart carries its numbers in <title> elements, so a pointer (or a screen reader) can ask for them. Long series are
thinned to what a screen can show before they are drawn: a bucket keeps its lowest and highest point, so no spike is
lost.
"""

import math
from collections.abc import Sequence
from html import escape

import msgspec

WIDTH, HEIGHT = 720, 240
LEFT, RIGHT, TOP, BOTTOM = 52, 12, 10, 34
NUM_COLOURS = 8
_MAX_POINTS = 600

Point = tuple[float, float]


class Series(msgspec.Struct, frozen=True):
    """A named line: points in order of x. steps: the value holds until the next point."""

    name: str
    points: Sequence[Point]
    steps: bool = False


def line_chart(series: Sequence[Series], x_name: str, y_name: str, *, y_from_zero: bool = True) -> str:
    """Lines over a common scale, with a legend below."""
    drawn = [Series(one.name, thin(one.points), one.steps) for one in series]
    points = [point for one in drawn for point in one.points]
    if not points:
        return _frame(f'<text x="{WIDTH / 2}" y="{HEIGHT / 2}" text-anchor="middle">nothing to show</text>', y_name)
    x_low, x_high = min(x for x, _ in points), max(x for x, _ in points)
    y_low, y_high = min(y for _, y in points), max(y for _, y in points)
    scale = _Scale(x_low, x_high, min(0.0, y_low) if y_from_zero else y_low, y_high)
    parts = [scale.grid(x_name)]
    for at, one in enumerate(drawn):
        colour = f"c{at % NUM_COLOURS}"
        last = one.points[-1] if one.points else (0.0, 0.0)
        parts.append(
            f'<path class="line {colour}" d="{scale.path(one.points, one.steps)}">'
            f"<title>{escape(one.name)}: {last[1]:,.4g} at {last[0]:,.4g}</title></path>"
        )
    return _frame("".join(parts), y_name) + legend([one.name for one in drawn])


def bar_chart(bars: Sequence[tuple[str, float, float]], y_name: str, *, from_zero: bool = True) -> str:
    """One bar per (name, mean, half width of its interval; nan = none). Without from_zero the scale begins just below
    the lowest bar, for values that differ little."""
    known = [bar for bar in bars if math.isfinite(bar[1])]
    if not known:
        return line_chart([], "", y_name)
    tops = [mean + (0.0 if math.isnan(half) else half) for _, mean, half in known]
    lows = [mean - (0.0 if math.isnan(half) else half) for _, mean, half in known]
    spread = max(tops) - min(lows) or abs(max(tops)) or 1.0
    scale = _Scale(0, len(known), 0.0 if from_zero else min(lows) - 0.15 * spread, max(tops))
    parts = [scale.grid("", with_x=False)]
    for at, (name, mean, half) in enumerate(known):
        x, top, base = scale.x(at + 0.2), scale.y(mean), scale.y(max(scale.y_low, 0.0) if from_zero else scale.y_low)
        words = f"{escape(name)}: {mean:,.4g}" + ("" if math.isnan(half) else f" ± {half:,.3g}")
        parts.append(
            f'<rect class="bar c{at % NUM_COLOURS}" x="{x:.1f}" y="{min(top, base):.1f}" '
            f'width="{scale.x(0.6) - scale.x(0):.1f}" height="{abs(base - top):.1f}"><title>{words}</title></rect>'
        )
        middle = scale.x(at + 0.5)
        if not math.isnan(half):
            low, high = scale.y(max(mean - half, scale.y_low)), scale.y(mean + half)
            parts.append(f'<path class="error" d="M{middle:.1f} {low:.1f}V{high:.1f}"/>')
        parts.append(f'<text x="{middle:.1f}" y="{HEIGHT - BOTTOM + 15}" text-anchor="middle">{escape(name)}</text>')
    return _frame("".join(parts), y_name)


def heat_map(rows: Sequence[Sequence[float]], x_name: str, y_name: str, x_high: float) -> str:
    """Rows of equally long cells, each 0 (white) … 1 (full colour): nodes × time, say. x_high: where the last ends."""
    if not rows or not rows[0]:
        return line_chart([], x_name, y_name)
    height = min(6.0, max(1.0, 420.0 / len(rows)))
    width = (WIDTH - LEFT - RIGHT) / len(rows[0])
    cells = []
    for at, row in enumerate(rows):
        start = 0
        for end in range(1, len(row) + 1):  # equal neighbours are one rectangle
            level = round(10 * row[start])
            if end < len(row) and round(10 * row[end]) == level:
                continue
            if level:
                cells.append(
                    f'<rect class="h" opacity="{level / 10:g}" x="{LEFT + start * width:.1f}" '
                    f'y="{TOP + at * height:.1f}" width="{(end - start) * width:.2f}" height="{height:.2f}"/>'
                )
            start = end
    bottom = TOP + len(rows) * height
    axis = "".join(
        f'<text x="{LEFT + share * (WIDTH - LEFT - RIGHT):.1f}" y="{bottom + 14:.1f}" text-anchor="{anchor}">'
        f"{share * x_high:,.4g}</text>"
        for share, anchor in ((0.0, "start"), (0.5, "middle"), (1.0, "end"))
    )
    name = f'<text x="{WIDTH / 2}" y="{bottom + 28:.1f}" text-anchor="middle">{escape(x_name)}</text>'
    return _frame("".join(cells) + axis + name, y_name, bottom + BOTTOM)


def legend(names: Sequence[str]) -> str:
    """Names with their colours."""
    items = "".join(f'<li class="c{at % NUM_COLOURS}">{escape(name)}</li>' for at, name in enumerate(names))
    return f'<ul class="legend">{items}</ul>'


def thin(points: Sequence[Point], most: int = _MAX_POINTS) -> list[Point]:
    """At most about `most` points: of each stretch its first, lowest and highest, in order; the last one always."""
    if len(points) <= most:
        return list(points)
    size = math.ceil(3 * len(points) / most)
    found: list[Point] = []
    for start in range(0, len(points), size):
        stretch = range(start, min(start + size, len(points)))
        low = min(stretch, key=lambda at: points[at][1])
        high = max(stretch, key=lambda at: points[at][1])
        found.extend(points[at] for at in sorted({start, low, high}))
    if found[-1] != points[-1]:
        found.append(points[-1])
    return found


def ticks(low: float, high: float, about: int = 4) -> list[float]:
    """Round numbers (1, 2, 5 × 10ⁿ apart) that cover low..high within."""
    span = high - low
    if span <= 0 or not math.isfinite(span):
        return [low]
    power = 10.0 ** math.floor(math.log10(span / about))
    step = next((size * power for size in (1, 2, 5, 10) if size * power >= span / about), 10 * power)
    first = math.ceil(low / step - 1e-9)
    return [at * step for at in range(first, math.floor(high / step + 1e-9) + 1)]


class _Scale:
    """From values to pixels."""

    def __init__(self, x_low: float, x_high: float, y_low: float, y_high: float) -> None:
        self.x_low, self.x_high = x_low, x_high if x_high > x_low else x_low + 1
        self.y_low, self.y_high = y_low, y_high if y_high > y_low else y_low + 1

    def x(self, value: float) -> float:
        return LEFT + (value - self.x_low) / (self.x_high - self.x_low) * (WIDTH - LEFT - RIGHT)

    def y(self, value: float) -> float:
        return HEIGHT - BOTTOM - (value - self.y_low) / (self.y_high - self.y_low) * (HEIGHT - TOP - BOTTOM)

    def path(self, points: Sequence[Point], steps: bool) -> str:
        text = []
        for at, (x, y) in enumerate(points):
            if not at:
                text.append(f"M{self.x(x):.1f} {self.y(y):.1f}")
            elif steps:
                text.append(f"H{self.x(x):.1f}V{self.y(y):.1f}")
            else:
                text.append(f"L{self.x(x):.1f} {self.y(y):.1f}")
        return "".join(text)

    def grid(self, x_name: str, *, with_x: bool = True) -> str:
        parts = []
        for value in ticks(self.y_low, self.y_high):
            y = self.y(value)
            parts.append(f'<path class="grid" d="M{LEFT} {y:.1f}H{WIDTH - RIGHT}"/>')
            parts.append(f'<text x="{LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{value:,.6g}</text>')
        if with_x:
            for value in ticks(self.x_low, self.x_high, 6):
                y = HEIGHT - BOTTOM + 15
                parts.append(f'<text x="{self.x(value):.1f}" y="{y}" text-anchor="middle">{value:,.6g}</text>')
            parts.append(f'<text x="{WIDTH / 2}" y="{HEIGHT - 4}" text-anchor="middle">{escape(x_name)}</text>')
        return "".join(parts)


def _frame(inner: str, name: str, height: float = HEIGHT) -> str:
    label = escape(name, quote=True)
    return (
        f'<svg viewBox="0 0 {WIDTH} {height:.0f}" role="img" aria-label="{label}"><title>{label}</title>{inner}</svg>'
    )
