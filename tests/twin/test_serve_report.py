import re
from typing import Any

import msgspec
import pytest

from roadbed.profiles.profile import load
from roadbed.twin.serve import Settings
from roadbed.twin.serve_figures import Row
from roadbed.twin.serve_fleet import Group
from roadbed.twin.serve_plan import Asked, Run, one, what_ifs
from roadbed.twin.serve_report import report
from roadbed.twin.serve_synthetic import Recipe, generate


def shared() -> dict[str, Any]:
    return {
        "trace": generate(Recipe(rate=4, seconds=20)), "asked": Asked(), "settings": Settings(slo_ttft_s=2.0),
        "profiles": {"p": load("h200-llama-3.1-8b-fp8"), "q": load("l40s-qwen3-8b")},
    }  # fmt: skip


@pytest.fixture(scope="module")
def rows() -> list[Row]:
    runs = [
        Run(policy=policy, replicas=2, speedup=pace, profile="p", samples=True, cost_per_hour=20.0, base="p:2")
        for policy in ("roadbed", "round_robin") for pace in (1.0, 2.0)
    ]  # fmt: skip
    swap = Group(profile="q", num=1, cost_per_hour=5.0)
    runs += [run for run in what_ifs(runs, swap) if run.policy == "roadbed"]
    assert len(runs) == 6
    return [one(shared(), run) for run in runs]


def test_the_page_has_curves_timelines_and_what_ifs(rows: list[Row]) -> None:
    html = report(rows[:4], rows[4:], ["made <up>"])
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
    free = [msgspec.structs.replace(row, cny_per_hour=None, cny_per_million_tokens=None) for row in rows]
    html = report(free[:4], free[4:5], [])
    assert html.count("<td>–</td>") == 4


def test_mixed_fleets_are_told_apart(rows: list[Row]) -> None:
    fleet = (Group(profile="p", num=6), Group(profile="q", num=5))
    mixed = one(shared(), Run(policy="roadbed", replicas=11, speedup=2.0, fleet=fleet, samples=True))
    html = report([*rows[:4], mixed], [], [])
    assert "goodput, share of requests, p:6,q:5" in html
    assert "requests running: roadbed, p:6,q:5, load × 2" in html
    assert "requests running: roadbed, 2 replicas, load × 2" in html
    shown = [f"r{at} {'p' if at < 6 else 'q'}" for at in (0, 1, 2, 3, 6, 7, 8, 9)]
    assert all(f"<title>{name}: " in html for name in shown)
    assert "<title>r4 p: " not in html


def test_one_load_is_bars_and_not_an_empty_curve(rows: list[Row]) -> None:
    html = report([row for row in rows[:4] if row.speedup == 2.0], [], [])
    assert html.count('class="bar') == 4 * 2
    assert "goodput, share of requests, 2 replicas, load × 2" in html
