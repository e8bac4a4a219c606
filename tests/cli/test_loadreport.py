"""Numbers that can be checked by hand, and percentiles that were measured."""

import statistics

import pytest
from hypothesis import given
from hypothesis import strategies as st

from roadbed.cli.load import Sample
from roadbed.cli.loadreport import meets, percentiles, report


def sample(ttft_s: float = 0.1, total_s: float = 0.5, tokens: int = 5, error: str = "", **fields: str) -> Sample:
    return Sample(due_s=0.0, ttft_s=ttft_s, total_s=total_s, completion_tokens=tokens, error=error, **fields)


@given(st.lists(st.floats(0, 1e6), min_size=1, max_size=60))
def test_percentiles_are_values_that_were_measured(values: list[float]) -> None:
    found = percentiles(values)
    assert all(found[name] in values for name in ("p50", "p90", "p99", "max"))
    assert found["p50"] == statistics.median_low(values)
    assert found["p50"] <= found["p90"] <= found["p99"] <= found["max"] == max(values)  # type: ignore[operator]
    assert sum(value <= found["p90"] for value in values) >= 0.9 * len(values)  # type: ignore[operator]


def test_percentiles_of_nothing() -> None:
    assert percentiles([]) == {"mean": None, "p50": None, "p90": None, "p99": None, "max": None}


@pytest.mark.parametrize(
    ("slo", "good"),
    [({}, True), ({"ttft": 0.1}, True), ({"ttft": 0.09}, False), ({"tpot": 0.1}, True), ({"e2e": 0.4}, False)],
)
def test_meets(slo: dict[str, float], good: bool) -> None:
    assert meets(sample(), slo) is good


def test_a_failed_answer_meets_nothing() -> None:
    assert not meets(sample(error="502"), {})
    assert not meets(Sample(due_s=0.0, total_s=0.1), {})


def test_report() -> None:
    samples = [
        sample(replica="a", route="prefix"),
        sample(ttft_s=2.0, total_s=3.0, replica="b", route="prefix"),
        sample(error="429", replica=""),
    ]
    facts = report(samples, 2.0, {"ttft": 1.0})
    assert (facts["num_requests"], facts["num_ok"], facts["requests_per_s"]) == (3, 2, 1.0)
    assert (facts["output_tokens"], facts["output_tokens_per_s"]) == (10, 5.0)
    assert (facts["num_within_slo"], facts["goodput_per_s"]) == (1, 0.5)
    assert facts["slo_attainment"] == pytest.approx(1 / 3)
    assert (facts["errors"], facts["replicas"], facts["routes"]) == ({"429": 1}, {"a": 1, "b": 1}, {"prefix": 2})
    assert facts["ttft_s"]["max"] == 2.0


def test_report_of_nothing() -> None:
    facts = report([], 0.0, {})
    assert (facts["num_requests"], facts["requests_per_s"], facts["slo_attainment"]) == (0, 0.0, None)
