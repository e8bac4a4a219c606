import re

import pytest

from roadbed.profiles.profile import load
from roadbed.twin.serve import Settings
from roadbed.twin.serve_figures import Row
from roadbed.twin.serve_fleet_report import HEADERS, cells, name_of, scaled_section
from roadbed.twin.serve_fleet_scale import Scaling
from roadbed.twin.serve_plan import Asked, Question, Run, one, smallest
from roadbed.twin.serve_synthetic import Recipe, generate


@pytest.fixture(scope="module")
def rows() -> list[Row]:
    """Two autoscalers at two targets, and fixed fleets as good as the first."""
    trace = generate(Recipe(rate=2, seconds=600, swing=1.0, prompt=800, output=100))
    shared = {"trace": trace, "profiles": {"p": load("rtxpro6000-llama-3.1-8b")}, "asked": Asked(),
              "settings": Settings(slo_ttft_s=2.0, slo_itl_s=0.02)}  # fmt: skip
    runs = [
        Run(policy="roadbed", replicas=0, speedup=1.0, profile="p", samples=True, cost_per_hour=6.0,
            scaling=Scaling(autoscaler=name, num_min=1, num_max=4, target=target, cold_start_s=20.0))
        for target in (1.0, 2.0) for name in ("hpa", "apa")
    ]  # fmt: skip
    found = [one(shared, run) for run in runs]
    wanted = ((found[0].goodput_share, "hpa at 1"), (2.0, "nobody"))
    return [*found, *smallest(shared, Question(run=runs[0], num_max=4, wanted=wanted))]


def test_replicas_over_time_against_load(rows: list[Row]) -> None:
    html = "".join(scaled_section(rows))
    assert "replicas, starting ones included, target 1: roadbed, load × 1" in html
    assert "replicas, starting ones included, target 2: roadbed, load × 1" in html
    assert html.count("load under hpa ÷ target") >= 2
    assert html.count("arrivals: roadbed, load × 1") == 2
    assert "GPU-hours for goodput: roadbed, load × 1" in html
    assert html.count("<svg") == 5
    assert not re.search(r"https?://|<script", html)


def test_a_line_of_the_table(rows: list[Row]) -> None:
    line = dict(zip(HEADERS, cells(rows[1]), strict=True))
    assert (line["router"], line["autoscaler"], line["target"]) == ("roadbed", "apa", "1")
    assert line["GPU-hours"] == f"{rows[1].gpu_hours:,.2f}"
    assert line["CNY"] == f"{rows[1].cost_cny:,.2f}"


def test_the_fixed_fleet_names_whom_it_equals(rows: list[Row]) -> None:
    (fixed,) = rows[4:]
    assert name_of(fixed) == f"fixed {fixed.replicas}, as good as hpa at 1"
    assert cells(fixed)[2] == "–"
    assert fixed.goodput_share >= rows[0].goodput_share
    assert fixed.gpu_hours == pytest.approx(fixed.replicas * fixed.makespan_s / 3600)


def test_nothing_for_fleets_that_never_change() -> None:
    assert scaled_section([]) == []
