import json
from pathlib import Path

import pytest

from tests.cli.conftest import Shell

PROFILE = "h200-llama-3.1-8b-fp8"


@pytest.fixture
def trace(tmp_path: Path) -> Path:
    """Forty prompts of 2,000 tokens, two a second."""
    path = tmp_path / "trace.jsonl"
    rows = [{"timestamp": at * 500, "input_length": 2000, "output_length": 30, "hash_ids": []} for at in range(40)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def ask(shell: Shell, trace: Path, *options: str):
    return shell("twin", "serve", "--trace", str(trace), "--profile", PROFILE, "--router", "roadbed", "--workers", "1",
                 *options)  # fmt: skip


def test_rows_of_divided_fleets_say_what_moved(shell: Shell, trace: Path) -> None:
    said = ask(shell, trace, "--split", "colocated,1:2,adaptive", "--json")
    assert said.code == 0, said.err
    together, fixed, adaptive = said.json()["rows"]
    assert "split" not in together
    assert "kv_moved_bytes" not in together
    assert (fixed["split"], fixed["replicas"], fixed["role_changes"]) == ("1:2", 3, 0)
    assert fixed["kv_moved_bytes"] == 40 * 2000 * 131_072
    assert fixed["transfer_s"]["p50"] == pytest.approx(2000 * 131_072 / 50e9, rel=0.01)
    assert (adaptive["split"], adaptive["replicas"]) == ("adaptive", 3)
    assert together["replicas"] == 3


def test_link_size_and_change_are_options(shell: Shell, trace: Path) -> None:
    options = ("--split", "1:1", "--kv-link", "80Gbps", "--kv-bytes", "1000", "--role-change", "5s", "--json")
    row = ask(shell, trace, *options, "--first-token", "prefill").json()["rows"][0]
    assert row["kv_moved_bytes"] == 40 * 2000 * 1000
    assert row["transfer_s"]["p50"] == pytest.approx(2000 * 1000 / 10e9, rel=0.01)


def test_the_table_and_the_report(shell: Shell, trace: Path, tmp_path: Path) -> None:
    said = ask(shell, trace, "--split", "colocated,2:2", "--speedup", "1,2", "--report", str(tmp_path / "page.html"))
    assert said.code == 0, said.err
    assert "roadbed 2:2" in said.out
    assert "ROLE CHANGES" in said.out
    assert "roadbed 2:2" in (tmp_path / "page.html").read_text()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--split", "2"), "neither PREFILL:DECODE nor colocated, adaptive, llumnix"),
        (("--split", "0:4"), "at least one server"),
        (("--split", "2:2", "--replicas", "5"), "--replicas says 5"),
        (("--split", "adaptive", "--replicas", "1"), "two servers at least"),
        (("--split", "1:1", "--kv-link", "fast"), "no rate"),
        (("--split", "1:1", "--kv-link", "0GB/s"), "no rate"),
        (("--split", "1:1", "--autoscale", "hpa"), "neither --fleet nor --autoscale"),
        (("--split", "1:1", "--role-change", "soon"), "soon"),
    ],
)
def test_mistakes(shell: Shell, trace: Path, options: tuple[str, ...], words: str) -> None:
    said = ask(shell, trace, *options)
    assert said.code == 2, said.err
    assert words in said.err
    assert "Traceback" not in said.err
