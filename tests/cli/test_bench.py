"""The load command against a real service, and its ways to be asked wrongly."""

import click
import pytest

from roadbed.cli.bench import SloType
from tests.cli.conftest import Shell
from tests.cli.server import reply, serving


def test_slo_type() -> None:
    assert SloType().convert("ttft=2s, tpot=50ms,e2e=1 minute", None, None) == {"ttft": 2.0, "tpot": 0.05, "e2e": 60.0}
    for wrong in ("ttft", "itl=1s", "ttft=2 parsec", "", "ttft=1s,,"):
        with pytest.raises(click.UsageError):
            SloType().convert(wrong, None, None)


def test_open_and_closed_loop_exclude_each_other(shell: Shell) -> None:
    refused = shell("bench", "--rate", "1", "--concurrency", "1")
    assert (refused.code, "exclude each other" in refused.err) == (2, True)


def test_when_all_fail_so_does_the_command(shell: Shell) -> None:
    refusal = reply(b'{"data": [{"id": "chat"}], "error": {"code": "boom"}}')
    with serving(refusal, refusal, reply(b'{"error": {"code": "boom"}}', 500)) as heard:
        said = shell(
            "bench", "--requests", "2", "--concurrency", "1", ROADBED_GATEWAY_URL=heard.url, ROADBED_API_KEY="k"
        )
    assert said.code == 1
    assert "all 2 requests failed: {'boom': 2}" in said.err
    assert "errors     boom 2" in said.out


@pytest.mark.e2e
def test_bench_measures(platform: Shell) -> None:
    said = platform(
        "bench", "--rate", "20", "--requests", "5", "--output-tokens", "4", "--prompt-tokens", "16", "--seed", "1",
        "--slo", "ttft=60s", "--json",
    )  # fmt: skip
    assert said.code == 0, said.err
    facts = said.json()
    assert (facts["num_requests"], facts["num_ok"], facts["errors"]) == (5, 5, {})
    assert facts["output_tokens"] == 20
    assert (facts["slo_attainment"], facts["replicas"]) == (1.0, {"chat-0": 5})
    assert 0 < facts["ttft_s"]["p50"] <= facts["e2e_s"]["p50"]


@pytest.mark.e2e
def test_bench_talks_to_people(platform: Shell) -> None:
    said = platform("bench", "--concurrency", "2", "--duration", "1s", "--output-tokens", "4", "--slo", "tpot=1us")
    assert said.code == 0, said.err
    assert said.out.startswith("MS ")
    assert "SLO        0.0 % within tpot ≤ 1e-06 s; goodput 0.00/s" in said.out
    assert "seed" in said.err
