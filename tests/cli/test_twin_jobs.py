"""A trace replayed as a user does it."""

from pathlib import Path

import pytest

from tests.cli.conftest import Shell

DATA = Path(__file__).parents[1] / "data"
PHILLY = str(DATA / "philly.csv")
FIGURES = {
    "num_jobs", "num_refused", "num_stuck", "queue_s", "jct_s", "allocation", "utilisation", "fragmentation", "goodput",
    "num_preemptions", "num_moves", "lost_device_h", "makespan_s",
}  # fmt: skip


def test_json(shell: Shell) -> None:
    said = shell(
        "twin",
        "jobs",
        "--trace",
        PHILLY,
        "--policy",
        "roadbed,fifo/bestfit",
        "--seeds",
        "1,2",
        "--sample",
        "0.5",
        "--json",
    )
    assert said.code == 0, said.err
    rows = said.json()["rows"]
    assert [(row["policy"], row["seed"]) for row in rows] == [
        ("roadbed", 1),
        ("roadbed", 2),
        ("fifo/bestfit", 1),
        ("fifo/bestfit", 2),
    ]
    for row in rows:
        assert set(row) == {"policy", "seed"} | FIGURES
        assert 150 < row["num_jobs"] < 250
        assert set(row["queue_s"]) == {"mean", "p50", "p99"}


def test_people_and_reports_with_machines_given(shell: Shell, tmp_path: Path) -> None:
    cluster, trace, report = tmp_path / "c.yaml", tmp_path / "t.jsonl", tmp_path / "r.html"
    cluster.write_text("kind: cluster\nname: c\nnodes:\n  - {server: hgx-h100, count: 2}\n")
    trace.write_text(
        '{"submit_s": 0, "duration_s": 60, "num_devices": 16, "id": "big"}\n'
        '{"submit_s": 1, "duration_s": 60, "num_devices": 8}\n{"submit_s": 2, "duration_s": 9, "num_devices": 99}\n'
    )
    said = shell(
        "twin", "jobs", "--trace", str(trace), "--cluster", str(cluster), "--policy", "easy,fifo", "--workers", "1",
        "--report", str(report),
    )  # fmt: skip
    assert said.code == 0, said.err
    header, easy, fifo = said.out.splitlines()
    assert header.startswith("POLICY  QUEUE H")
    assert easy.startswith("easy")
    assert fifo.startswith("fifo")
    assert "2 nodes with 16 devices" in said.err
    assert "1 jobs can't run on these machines" in said.err
    assert "nodes × time" in report.read_text("utf-8")


@pytest.mark.parametrize(
    ("args", "code", "words"),
    [
        (["--trace", "none.csv"], 3, "there is no file"),
        (["--policy", "rodbed"], 2, "did you mean 'roadbed'?"),
        (["--policy", "fifo/x"], 2, "no policy 'x'"),
        (["--cluster", str(DATA / "openb_nodes.csv"), "--load", "0.5"], 2, "exclude each other"),
        (["--load", "nan"], 2, "--load"),
        (["--baseline", "easy"], 2, "not among the policies"),
        (["--from-day", "999"], 2, "no job was submitted"),
        (["--know", "all"], 2, "--know"),
        (["--trace", str(DATA / "genai_qps.csv")], 2, "neither submit_s"),
    ],
)
def test_wrong_questions(shell: Shell, args: list[str], code: int, words: str) -> None:
    said = shell("twin", "jobs", "--trace", PHILLY, "--policy", "fifo", *args)
    assert (said.code, words in said.err) == (code, True), said.err
    assert said.out == ""
