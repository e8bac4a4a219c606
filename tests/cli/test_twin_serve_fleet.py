"""Mixed and autoscaled fleets as a user plays them."""

from pathlib import Path

import pytest

from tests.cli.conftest import Shell

DATA = Path(__file__).parents[1] / "data"
MOONCAKE = str(DATA / "mooncake_synthetic.jsonl")
MIXED = "h200-llama-3.1-8b-fp8:1@20,rtxpro6000-llama-3.1-8b:2@6"
DAY = ("twin", "serve", "--trace", "synthetic:rate=2,seconds=600,swing=1,prompt=800,output=100", "--profile", "rtxpro6000-llama-3.1-8b",
       "--router", "roadbed", "--slo", "ttft=2s,itl=50ms", "--workers", "1")  # fmt: skip


def test_a_mixed_fleet(shell: Shell, tmp_path: Path) -> None:
    said = shell("twin", "serve", "--trace", MOONCAKE, "--fleet", MIXED, "--fleet", "h200-llama-3.1-8b-fp8:2@20", "--router",
                 "roadbed,least_load", "--report", str(tmp_path / "r.html"), "--workers", "1", "--json")  # fmt: skip
    assert said.code == 0, said.err
    rows = said.json()["rows"]
    assert [(row["fleet"], row["router"], row["replicas"]) for row in rows] == [
        (fleet, router, num)
        for fleet, num in (("h200-llama-3.1-8b-fp8:1,rtxpro6000-llama-3.1-8b:2", 3), ("h200-llama-3.1-8b-fp8:2", 2))
        for router in ("roadbed", "least_load")
    ]
    for row, hourly in zip(rows, (32.0, 32.0, 40.0, 40.0), strict=True):
        assert row["cny_per_hour"] == hourly
        assert row["cny_per_million_tokens"] == pytest.approx(hourly / 3600 / row["output_tokens_per_s"] * 1e6)
        assert not {"gpu_hours", "autoscaler", "labels", "samples", "change"} & set(row)
    changes = {(row["fleet"], row["change"]) for row in said.json()["what_if"] if row["router"] == "roadbed"}
    assert changes == {
        ("h200-llama-3.1-8b-fp8:2,rtxpro6000-llama-3.1-8b:2", "+1 h200-llama-3.1-8b-fp8"),
        ("h200-llama-3.1-8b-fp8:1,rtxpro6000-llama-3.1-8b:3", "+1 rtxpro6000-llama-3.1-8b"),
        ("h200-llama-3.1-8b-fp8:3", "+1 h200-llama-3.1-8b-fp8"),
    }
    html = (tmp_path / "r.html").read_text()
    assert "r0 h200-llama-3.1-8b-fp8" in html
    assert "r2 rtxpro6000-llama-3.1-8b" in html
    assert "+1 rtxpro6000-llama-3.1-8b" in html


def test_the_rows_of_a_plain_run_are_what_they_were(shell: Shell) -> None:
    said = shell("twin", "serve", "--trace", MOONCAKE, "--profile", "h200-llama-3.1-8b-fp8", "--replicas", "2", "--router",
                 "round_robin", "--workers", "1", "--json")  # fmt: skip
    assert set(said.json()["rows"][0]) == {
        "router", "replicas", "speedup", "kv_blocks", "ttft_s", "itl_s", "e2e_s", "goodput_share", "output_tokens_per_s",
        "reuse", "shed", "wall_s", "requests", "preemptions", "makespan_s", "busy_share", "prediction_error",
        "shed_reasons", "seed", "profile",
    }  # fmt: skip


def test_autoscalers_and_the_fixed_fleets_as_good(shell: Shell, tmp_path: Path) -> None:
    said = shell(*DAY, "--autoscale", "roadbed,hpa,kpa,apa", "--min", "1", "--max", "6", "--target", "1,2", "--cold-start", "30s",
                 "--cost", "6", "--report", str(tmp_path / "r.html"), "--json")  # fmt: skip
    assert said.code == 0, said.err
    rows = said.json()["rows"]
    scaled = [row for row in rows if row["autoscaler"] != "fixed"]
    assert [(row["target"], row["autoscaler"]) for row in scaled] == [
        (target, name) for target in (1.0, 2.0) for name in ("roadbed", "hpa", "kpa", "apa")
    ]
    for row in scaled:
        assert row["gpu_hours"] == pytest.approx(row["mean_replicas"] * row["makespan_s"] / 3600)
        assert row["cost_cny"] == pytest.approx(row["gpu_hours"] * 6)
        assert row["scale_events"] > 0
        assert 1 <= row["peak_replicas"] <= 6
    fixed = [row for row in rows if row["autoscaler"] == "fixed"]
    as_good = {name for row in fixed for name in row["change"].removeprefix("as good as ").split(", ")}
    assert as_good == {f"{row['autoscaler']} at {row['target']:g}" for row in scaled}
    for row in scaled:
        mine = f"{row['autoscaler']} at {row['target']:g}"
        (fleet,) = [one for one in fixed if mine in one["change"].removeprefix("as good as ").split(", ")]
        assert fleet["goodput_share"] >= row["goodput_share"]
    html = (tmp_path / "r.html").read_text()
    for words in (
        "replicas, starting ones included, target 1",
        "arrivals: roadbed",
        "GPU-hours for goodput",
        "load under roadbed",
    ):
        assert words in html


def test_the_table_of_autoscalers(shell: Shell) -> None:
    said = shell(*DAY, "--autoscale", "kpa", "--replicas", "3", "--max", "4", "--cold-start", "40s", "--no-fixed")
    assert said.code == 0, said.err
    assert "GPU-HOURS" in said.out
    assert "fixed 3" in said.out
    assert "is no longer than a cold start" in said.err
    assert "TOK/S" not in said.out


def test_a_day_of_a_recorded_shape(shell: Shell) -> None:
    text = f"synthetic:rate=0.5,seconds=2000,shape={DATA / 'genai_qps.csv'},lengths={MOONCAKE}"
    said = shell(
        "twin",
        "serve",
        "--trace",
        text,
        "--profile",
        "h200-llama-3.1-8b-fp8",
        "--router",
        "round_robin",
        "--replicas",
        "1",
    )
    assert said.code == 0, said.err
    assert "made up, not recorded" in said.err
    assert "shape of genai_qps.csv, lengths of mooncake_synthetic.jsonl" in said.err


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ((), "which engine?"),
        (("--fleet", "h200-lama-3.1-8b-fp8:2"), "no profile 'h200-lama-3.1-8b-fp8'"),
        (("--fleet", "h200-llama-3.1-8b-fp8:0"), "from 1 to"),
        (("--fleet", "h200-llama-3.1-8b-fp8:2", "--autoscale", "hpa"), "give --profile and no --fleet"),
        (("--profile", "h200-llama-3.1-8b-fp8", "--autoscale", "keda"), "'keda' is not one of"),
        (("--profile", "h200-llama-3.1-8b-fp8", "--autoscale", "hpa", "--min", "3", "--max", "2"), "--min: 3"),
        (("--profile", "h200-llama-3.1-8b-fp8", "--autoscale", "hpa", "--target", "0"), "--target: 0"),
        (("--profile", "h200-llama-3.1-8b-fp8", "--autoscale", "hpa", "--target", "-3"), "--target: -3"),
        (("--profile", "h200-llama-3.1-8b-fp8", "--autoscale", "hpa", "--cold-start", "-9s"), "--cold-start"),
        (("--profile", "h200-llama-3.1-8b-fp8", "--autoscale", "hpa", "--scale-interval", "0s"), "--scale-interval"),
        (("--profile", "h200-llama-3.1-8b-fp8", "--autoscale", "hpa", "--start", "99"), "--start: 99"),
    ],
)
def test_mistakes(shell: Shell, options: tuple[str, ...], words: str) -> None:
    said = shell("twin", "serve", "--trace", MOONCAKE, "--workers", "1", *options)
    assert said.code == 2, said.err
    assert words in said.err
    assert "Traceback" not in said.err
