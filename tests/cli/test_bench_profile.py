"""Profiles from measured points."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from roadbed.cli.bench_profile import Measured, _name, _points, chunks, fitted
from roadbed.profiles.model import StepTimer
from tests.cli.fabric_shell import roadbed

Capsys = pytest.CaptureFixture[str]


def points(a: float, b: float, c: float, d: float, e: float) -> list[Measured]:
    alone = [Measured(0, float(n), a + b * n) for n in (64, 128, 256, 512)]
    together = [Measured(s, float(n), c + d * s + e * s * n) for s in (1, 2, 4) for n in (76, 268)]
    return alone + together


def test_what_follows_the_form_is_found_again() -> None:
    timer = StepTimer(fitted(points(0.01, 1e-4, 0.02, 0.003, 1e-6)))
    assert timer.mixed([(300, 0)], 1, 0, 0) == pytest.approx(0.01 + 0.03, rel=1e-6)
    base, per_kv = timer.decode(3)
    assert base == pytest.approx(0.02 + 0.009, rel=1e-6)
    assert per_kv == pytest.approx(1e-6, rel=1e-6)


def test_chunks_of_a_prompt_are_told_apart() -> None:
    assert chunks(300, 128) == [(128, 0), (128, 128), (44, 256)]
    assert chunks(300, 0) == [(300, 0)]
    times = [sum(0.03 + 1e-3 * new + 2e-7 * new * old for new, old in chunks(n, 128)) for n in (64, 128, 256, 512, 768)]
    alone = [Measured(0, float(n), s) for n, s in zip((64, 128, 256, 512, 768), times, strict=True)]
    timer = StepTimer(fitted([*alone, *points(0.01, 1e-4, 0.02, 0.003, 1e-6)[4:]], 128))
    assert timer.mixed([(128, 512)], 1, 0, 0) == pytest.approx(0.03 + 0.128 + 2e-7 * 128 * 512, rel=1e-6)


def test_what_an_iteration_costs_whatever_it_does_is_paid_once() -> None:
    timer = StepTimer(fitted(points(0.03, 1e-3, 0.02, 0.003, 1e-6)))
    assert timer.mixed([(100, 0)], 1, 2, 0) == pytest.approx(0.03 + 0.1 + 2 * 0.003, rel=1e-6)


@given(st.lists(st.floats(1e-4, 10), min_size=10, max_size=10))
def test_whatever_was_measured_no_time_is_below_zero(seconds: list[float]) -> None:
    shape = points(0.01, 1e-4, 0.02, 0.003, 1e-6)
    timer = StepTimer(fitted([Measured(p.sequences, p.tokens, s) for p, s in zip(shape, seconds, strict=True)]))
    assert timer.mixed([(1000, 0)], 1, 0, 0) >= 0
    assert min(timer.decode(8)) >= 0


@pytest.mark.parametrize(("longest", "batch", "lengths", "sequences"), [
    (256, 4, [64, 128, 256], [1, 2, 4]), (64, 1, [64], [1]), (300, 3, [64, 128, 256, 300], [1, 2, 3]),
])  # fmt: skip
def test_points_rise_to_what_was_asked(longest: int, batch: int, lengths: list[int], sequences: list[int]) -> None:
    found = list(_points(longest, batch, 2))
    assert [prompt for prompt, num, _ in found if num == 0] == lengths
    assert list(dict.fromkeys(num for _, num, _ in found if num)) == sequences


def test_profiles_are_named_as_files_are() -> None:
    assert _name("2-Core CPU", "SmolLM2/135M") == "2-core-cpu-smollm2-135m"


def test_another_endpoint_needs_its_model(capsys: Capsys) -> None:
    said = roadbed(capsys, "bench", "profile", "--url", "http://127.0.0.1:9", "--accelerator", "x")
    assert said.code == 2
    assert "--url needs --model" in said.err


def test_an_endpoint_that_is_not_there_is_said(capsys: Capsys) -> None:
    said = roadbed(
        capsys, "bench", "profile", "--url", "http://127.0.0.1:9", "-m", "m", "--accelerator", "x", "--max-prompt", "64"
    )
    assert said.code == 1
    assert "no request of 64 tokens was answered" in said.err
