"""Charts are well-formed XML within their frame, whatever the numbers are."""

import math
import xml.etree.ElementTree as ET

import pytest
from hypothesis import given
from hypothesis import strategies as st

from roadbed.twin.svg import HEIGHT, WIDTH, Series, bar_chart, heat_map, legend, line_chart, thin, ticks

NUMBER = st.floats(-1e9, 1e9)
POINTS = st.lists(st.tuples(NUMBER, NUMBER), max_size=30)


def parsed(chart: str) -> ET.Element:
    return ET.fromstring(f"<div>{chart}</div>")


@given(st.lists(POINTS, max_size=3), st.booleans(), st.booleans())
def test_lines_stay_in_the_frame(lines: list[list[tuple[float, float]]], steps: bool, zero: bool) -> None:
    chart = line_chart(
        [Series(f"<{at}>", sorted(points), steps) for at, points in enumerate(lines)], "x&y", "z", y_from_zero=zero
    )
    root = parsed(chart)
    for path in root.iter("path"):
        if "line" not in path.attrib["class"]:
            continue
        numbers = [
            float(n)
            for n in path.attrib["d"].replace("M", " ").replace("L", " ").replace("H", " ").replace("V", " ").split()
        ]
        assert all(-1 <= number <= max(WIDTH, HEIGHT) + 1 for number in numbers)


def test_values_can_be_read_off() -> None:
    chart = line_chart([Series("a", [(0, 1), (10, 3)])], "time", "jobs")
    assert "a: 3 at 10" in chart
    assert "time" in chart
    assert 'aria-label="jobs"' in chart
    assert chart.endswith(legend(["a"]))
    assert "nothing to show" in line_chart([], "x", "y")


def test_bars_have_their_intervals() -> None:
    root = parsed(bar_chart([("a", 2.0, 0.5), ("b", 1.0, math.nan), ("c", math.nan, 1.0)], "y"))
    heights = [float(bar.attrib["height"]) for bar in root.iter("rect")]
    assert len(heights) == 2
    assert heights[0] == pytest.approx(2 * heights[1], abs=0.2)
    assert sum(path.attrib["class"] == "error" for path in root.iter("path")) == 1
    titles = [title.text for title in root.iter("title")]
    assert "a: 2 ± 0.5" in titles
    assert "b: 1" in titles
    assert "nothing to show" in bar_chart([], "y")
    close = parsed(bar_chart([("a", 95.2, 0.1), ("b", 95.0, 0.1)], "y", from_zero=False))
    first, second = (float(bar.attrib["height"]) for bar in close.iter("rect"))
    assert first > 1.5 * second > 0


def test_heat_maps_join_equal_neighbours() -> None:
    root = parsed(heat_map([[1.0, 1.0, 0.0, 0.5], [0.0, 0.0, 0.0, 0.0]], "hours", "nodes", 12.0))
    rects = [(float(r.attrib["opacity"]), round(float(r.attrib["width"]))) for r in root.iter("rect")]
    cell = (WIDTH - 64) / 4
    assert rects == [(1.0, round(2 * cell)), (0.5, round(cell))]
    assert "nothing to show" in heat_map([], "x", "y", 1.0)


@given(st.lists(st.tuples(NUMBER, NUMBER), max_size=400), st.integers(6, 60))
def test_thinning_keeps_ends_and_extremes(points: list[tuple[float, float]], most: int) -> None:
    points = [(float(at), y) for at, (_, y) in enumerate(points)]
    kept = thin(points, most)
    assert len(kept) <= max(len(points) if len(points) <= most else most + 4, 0)
    assert set(kept) <= set(points)
    assert kept == sorted(kept)
    if points:
        assert (kept[0], kept[-1]) == (points[0], points[-1])
        assert {min(y for _, y in kept), max(y for _, y in kept)} == {
            min(y for _, y in points),
            max(y for _, y in points),
        }


@given(NUMBER, st.floats(1e-3, 1e9))
def test_ticks_are_round_and_few(low: float, span: float) -> None:
    found = ticks(low, low + span)
    assert 1 <= len(found) <= 12
    assert all(low - span * 1e-6 <= value <= low + span * (1 + 1e-6) for value in found)


def test_ticks_of_nothing() -> None:
    assert ticks(3.0, 3.0) == [3.0]
    assert ticks(0, 10) == [0, 5, 10]
    assert ticks(0, 8) == [0, 2, 4, 6, 8]
