import re

import pytest

from roadbed.profiles.profile import load
from roadbed.twin.serve import Settings
from roadbed.twin.serve_figures import Row
from roadbed.twin.serve_plan import Asked, Run, one
from roadbed.twin.serve_report import cost_of, report
from roadbed.twin.serve_synthetic import Recipe, generate


@pytest.fixture(scope="module")
def rows() -> list[Row]:
    shared = {"trace": generate(Recipe(rate=4, seconds=20)), "profiles": {"p": load("h200-llama-3.1-8b-fp8"), "q": load("l40s-qwen3-8b")},
              "asked": Asked(), "settings": Settings(slo_ttft_s=2.0)}  # fmt: skip
    runs = [Run(policy=policy, replicas=2, speedup=pace, profile="p", samples=True) for policy in ("roadbed", "round_robin")
            for pace in (1.0, 2.0)]  # fmt: skip
    runs.append(Run(policy="roadbed", replicas=3, speedup=2.0, profile="p"))
    runs.append(Run(policy="roadbed", replicas=2, speedup=2.0, profile="q"))
    return [one(shared, run) for run in runs]


def test_the_page_has_curves_timelines_and_what_ifs(rows: list[Row]) -> None:
    html = report(rows[:4], rows[4:], {"p": 20.0, "q": 5.0}, ["made <up>"])
    assert html.count("<svg") == 4 + 2 * 3
    assert "made &lt;up&gt;" in html
    for words in (
        "TTFT, p99, 2 replicas",
        "goodput",
        "KV cache in use: roadbed, 2 replicas, load × 2",
        "+1 replica",
        "on q",
    ):
        assert words in html
    assert "60.00" in html  # three of 20 CNY an hour
    assert not re.search(r"https?://|<script", html)


def test_without_prices_there_are_none(rows: list[Row]) -> None:
    html = report(rows[:4], rows[4:5], {}, [])
    assert html.count("<td>–</td>") == 4


def test_cost(rows: list[Row]) -> None:
    hourly, million = cost_of(rows[0], {"p": 20.0})
    assert hourly == 40.0
    assert million == pytest.approx(40 / (rows[0].output_tokens_per_s * 3600) * 1e6)
    assert cost_of(rows[0], {}) == (0.0, 0.0)


def test_one_load_is_bars_and_not_an_empty_curve(rows: list[Row]) -> None:
    html = report([row for row in rows[:4] if row.speedup == 2.0], [], {}, [])
    assert html.count('class="bar') == 4 * 2
    assert "goodput, share of requests, 2 replicas, load × 2" in html
