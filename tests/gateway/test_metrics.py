"""Counting, adding up workers, and text that Prometheus reads."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from roadbed.engine.prometheus import parse
from roadbed.gateway.metrics import FAMILIES, Histogram, Metrics, load, merged, render, saved_files


@given(st.lists(st.floats(0, 100), max_size=50))
def test_a_histogram_loses_nothing(values: list[float]) -> None:
    histogram = Histogram((0.1, 1.0, 10.0))
    for value in values:
        histogram.observe(("chat",), value)
    row = histogram.get(("chat",), [0.0] * 6)
    assert sum(row[:4]) == row[-1] == len(values)
    assert row[-2] == pytest.approx(sum(values))
    assert row[0] == sum(value <= 0.1 for value in values), "a bound belongs to its bucket"


def counted() -> Metrics:
    metrics = Metrics()
    metrics.requests.add(("chat", "chat", 200))
    metrics.requests[("chat", "chat", 200)] += 2
    metrics.ttft.observe(("chat",), 0.3)
    metrics.connections.add((), 4)
    return metrics


def test_workers_are_added_up() -> None:
    both = merged([counted().numbers(), counted().numbers()])
    assert both["roadbed_requests_total"] == [(("chat", "chat", 200), [6])]
    assert both["roadbed_connections"] == [((), [8])]
    assert both["roadbed_ttft_seconds"][0][1][-1] == 2


def test_a_tally_counts_what_its_families_would() -> None:
    metrics = Metrics()
    tally = metrics.tally("chat", "roadbed")
    assert metrics.tally("chat", "roadbed") is tally, "a service that left and came back counts in the same place"
    for _ in range(3):
        tally.answered["chat"] = tally.answered.get("chat", 0) + 1
        tally.routes["prefix"] = tally.routes.get("prefix", 0) + 1
        tally.settled(0.0001, 0.3, 10, 4, 5)
    for _ in range(2):  # asking twice counts once
        numbers = metrics.numbers()
    assert numbers["roadbed_requests_total"] == [(("chat", "chat", 200), [3])]
    assert numbers["roadbed_outcomes_total"] == [(("chat", "ok"), [3])]
    assert numbers["roadbed_routes_total"] == [(("chat", "roadbed", "prefix"), [3])]
    assert dict(numbers["roadbed_tokens_total"]) == {
        ("chat", "prompt"): [30], ("chat", "cached"): [12], ("chat", "completion"): [15],
    }  # fmt: skip
    assert numbers["roadbed_overhead_seconds"][0][1][-1] == numbers["roadbed_request_seconds"][0][1][-1] == 3


def test_a_tally_goes_on_where_saved_numbers_end() -> None:
    before = counted()
    before.tally("chat", "roadbed").settled(0.0001, 0.3, 0, 0, 0)
    again = Metrics()
    tally = again.tally("chat", "roadbed")
    again.restore(before.numbers())
    tally.settled(0.0001, 0.3, 0, 0, 0)
    assert again.numbers()["roadbed_request_seconds"][0][1][-1] == 2


def test_numbers_survive_a_restart_but_gauges_do_not(tmp_path: Path) -> None:
    counted().save(tmp_path / "metrics-0.json")
    assert saved_files(tmp_path) == [tmp_path / "metrics-0.json"]
    again = Metrics()
    again.restore(load(tmp_path / "metrics-0.json"))
    assert again.requests[("chat", "chat", 200)] == 3
    assert again.ttft[("chat",)][-1] == 1
    assert again.connections[()] == 0


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"roadbed_requests_total": [[1]]}', b"\xff"])
def test_a_broken_file_is_no_numbers(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "metrics-0.json"
    assert load(path) == {}
    path.write_bytes(content)
    assert load(path) == {}


def test_every_family_is_described_even_before_it_counts() -> None:
    text = render(Metrics().numbers()).decode()
    for family in FAMILIES:
        assert f"# HELP {family.name} {family.help}\n# TYPE {family.name} {family.kind}\n" in text


def test_every_family_has_its_counter() -> None:
    assert set(Metrics().numbers()) == {family.name for family in FAMILIES}


@given(st.text(max_size=30))
def test_any_label_can_be_read_back(name: str) -> None:
    metrics = Metrics()
    metrics.retries.add((name,), 3)
    lines = [
        line for line in render(metrics.numbers()).decode().split("\n") if line.startswith("roadbed_retries_total{")
    ]
    (found,) = [sample for sample in parse("\n".join(lines)) if sample.name == "roadbed_retries_total"]
    assert (found.labels["service"], found.value) == (name, 3.0)
    assert len(lines) == 1, "a label never breaks its line"


def test_buckets_are_cumulative() -> None:
    metrics = Metrics()
    for value in (0.001, 0.3, 1000.0):
        metrics.ttft.observe(("chat",), value)
    text = render(metrics.numbers()).decode()
    assert 'roadbed_ttft_seconds_bucket{service="chat",le="0.005"} 1\n' in text
    assert 'roadbed_ttft_seconds_bucket{service="chat",le="300"} 2\n' in text
    assert 'roadbed_ttft_seconds_bucket{service="chat",le="+Inf"} 3\n' in text
    assert 'roadbed_ttft_seconds_count{service="chat"} 3\n' in text
