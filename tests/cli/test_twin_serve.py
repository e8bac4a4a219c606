"""Requests replayed as a user does it."""

from pathlib import Path

import pytest

from tests.cli.conftest import Shell

DATA = Path(__file__).parents[1] / "data"
MOONCAKE = str(DATA / "mooncake_synthetic.jsonl")
ASKED = ("twin", "serve", "--trace", MOONCAKE, "--profile", "h200-llama-3.1-8b-fp8")
SPREAD = {"mean", "p50", "p90", "p99"}


def test_json(shell: Shell) -> None:
    said = shell(*ASKED, "--router", "roadbed,round_robin", "--speedup", "1,2", "--replicas", "2..3", "--kv-blocks", "1845",
                 "--block-tokens", "512", "--max-batched-tokens", "8192", "--max-seqs", "256", "--slo", "ttft=2s,itl=25ms",
                 "--workers", "1", "--json")  # fmt: skip
    assert said.code == 0, said.err
    rows = said.json()["rows"]
    assert [(row["router"], row["replicas"], row["speedup"]) for row in rows] == [
        (router, replicas, speedup)
        for replicas in (2, 3)
        for speedup in (1, 2)
        for router in ("roadbed", "round_robin")
    ]
    for row in rows:
        assert set(row["ttft_s"]) == set(row["itl_s"]) == set(row["e2e_s"]) == SPREAD
        assert row["kv_blocks"] == 1845
        assert 0 <= row["goodput_share"] <= 1
        assert row["output_tokens_per_s"] > 0
        assert 0 <= row["reuse"] <= 1
        assert row["shed"] == 0
        assert row["wall_s"] > 0
    assert "t.jsonl" not in said.err
    assert "mooncake_synthetic.jsonl:2: arrives with another request" in said.err
    assert "extrapolated" in said.err


def test_the_table_and_the_report(shell: Shell, tmp_path: Path) -> None:
    said = shell(*ASKED, "--report", str(tmp_path / "serve.html"), "--cost", "20", "--swap", "l40s-qwen3-8b", "--swap-cost", "6",
                 "--workers", "1")  # fmt: skip
    assert said.code == 0, said.err
    assert "CNY/M TOK" in said.out
    assert "roadbed on l40s-qwen3-8b" in said.out
    html = (tmp_path / "serve.html").read_text()
    assert "+1 replica" in html
    assert "on l40s-qwen3-8b" in html


def test_made_up_requests_say_so(shell: Shell) -> None:
    said = shell("twin", "serve", "--trace", "synthetic:rate=2,seconds=20", "--profile", "l40s-qwen3-8b", "--replicas", "1",
                 "--router", "round_robin")  # fmt: skip
    assert said.code == 0, said.err
    assert said.err.count("made up, not recorded") == 2
    assert "nobody measured this pair" in said.err


def test_the_first_requests(shell: Shell) -> None:
    said = shell(*ASKED, "--router", "round_robin", "--requests", "7", "--json")
    assert said.json()["rows"][0]["requests"] == 7


@pytest.mark.parametrize(
    ("options", "code", "words"),
    [
        (("--router", "nobody"), 2, "nobody"),
        (("--router", "roadbed+shut"), 2, "+shut"),
        (("--profile", "h200-lama-3.1-8b-fp8"), 3, "h200-llama-3.1-8b-fp8"),
        (("--slo", "ttft=soon"), 2, "soon"),
        (("--slo", "e2e=2s"), 2, "ttft=2s,itl=25ms"),
        (("--slo", "ttft=0s"), 2, "above 0"),
        (("--speedup", "0"), 2, "speedup"),
        (("--replicas", "0"), 2, "--replicas"),
        (("--trace", "synthetic:rat=1"), 2, "did you mean rate"),
        (("--trace", "none.jsonl"), 3, "none.jsonl"),
        (("--max-batched-tokens", "8", "--max-seqs", "9"), 2, "below --max-seqs"),
        (("--block-tokens", "96"), 2, "can't be made"),
        (("--tp", "8"), 2, "degree 8"),
    ],
)
def test_mistakes(shell: Shell, options: tuple[str, ...], code: int, words: str) -> None:
    said = shell(*ASKED, "--workers", "1", *options)
    assert said.code == code, said.err
    assert words in said.err
    assert "Traceback" not in said.err
