import pytest
from hypothesis import given
from hypothesis import strategies as st

from roadbed.profiles.model import Curve, StepModel, StepTimer, line

POINTS = st.lists(
    st.tuples(st.integers(0, 10_000), st.floats(0, 10, allow_nan=False)),
    min_size=1,
    max_size=8,
    unique_by=lambda p: p[0],
).map(sorted)


def curve(points: list[tuple[int, float]]) -> Curve:
    return Curve(tuple(float(x) for x, _ in points), tuple(y for _, y in points))


@given(POINTS)
def test_a_curve_goes_through_its_points(points: list[tuple[int, float]]) -> None:
    made = curve(points)
    for x, y in points:
        assert made.at(x) == pytest.approx(y, abs=1e-9)


@given(POINTS, st.floats(-10, 20_000))
def test_a_curve_stays_between_its_neighbours_and_above_zero(points: list[tuple[int, float]], x: float) -> None:
    made = curve(points)
    value = made.at(x)
    assert value >= 0
    below = [y for at, y in points if at <= x]
    above = [y for at, y in points if at >= x]
    if below and above:
        assert min(below[-1], above[0]) - 1e-9 <= value <= max(below[-1], above[0]) + 1e-9


def test_a_curve_extends_its_last_slope_and_holds_its_first_value() -> None:
    made = Curve((1.0, 2.0, 4.0), (5.0, 6.0, 10.0))
    assert made.at(0) == 5.0
    assert made.at(6) == 14.0


def test_a_falling_end_stops_at_zero() -> None:
    assert Curve((0.0, 1.0), (1.0, 0.5)).at(10) == 0.0


@pytest.mark.parametrize(
    ("x", "y"), [((), ()), ((0.0,), (1.0, 2.0)), ((0.0, 0.0), (1.0, 2.0)), ((2.0, 1.0), (1.0, 2.0))]
)
def test_a_curve_that_is_none_is_refused(x: tuple[float, ...], y: tuple[float, ...]) -> None:
    with pytest.raises(ValueError, match="curve"):
        Curve(x, y)


def test_scaled() -> None:
    assert line(2.0, 1.0).scaled(10).at(3) == 70.0


MODEL = StepModel(
    fixed_s=1.0,
    dense=line(0.1),
    head=line(0.01),
    collective=line(0.001, 0.5),
    chunk=line(0.2),
    context=Curve((0.0,), (0.03,)),
    decode_base=line(0.4),
    decode_kv=Curve((0.0,), (0.0005,)),
)


def test_a_decode_is_linear_in_what_it_reads() -> None:
    fixed, per_kv = StepTimer(MODEL).decode(10)
    assert fixed == pytest.approx(1.0 + 1.0 + 0.1 + 0.51 + 4.0)
    assert per_kv == 0.0005


def test_an_iteration_is_the_sum_of_its_parts() -> None:
    seconds = StepTimer(MODEL).mixed([(20, 0), (30, 100)], 1, 10, 1000)
    tokens = 60
    parts = 1.0 + 0.1 * tokens + (0.001 * tokens + 0.5) + 0.01 * 11 + 0.2 * 50 + 0.03 * 100 + 4.0 + 0.5
    assert seconds == pytest.approx(parts)


def test_mixed_curves_replace_those_of_pure_decodes_only_beside_prompts() -> None:
    model = StepModel(decode_base=line(1.0), mixed_base=line(7.0), mixed_kv=Curve((0.0,), (2.0,)))
    timer = StepTimer(model)
    assert timer.decode(3) == (3.0, 0.0)
    assert timer.mixed([(1, 0)], 0, 3, 5) == pytest.approx(21.0 + 10.0)


def test_what_is_remembered_is_what_was_computed() -> None:
    timer = StepTimer(MODEL)
    first = [timer.decode(n) for n in range(1, 20)] + [timer.mixed([(n, n)], 1, n, n) for n in range(1, 20)]
    again = [timer.decode(n) for n in range(1, 20)] + [timer.mixed([(n, n)], 1, n, n) for n in range(1, 20)]
    fresh = [StepTimer(MODEL).decode(n) for n in range(1, 20)] + [
        StepTimer(MODEL).mixed([(n, n)], 1, n, n) for n in range(1, 20)
    ]
    assert first == again == fresh
