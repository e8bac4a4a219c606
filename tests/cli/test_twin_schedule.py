"""The fill-up comparison as a user runs it: tables, JSON, the report, and every way to ask wrongly."""

from pathlib import Path

import pytest

from tests.cli.conftest import Shell

DATA = Path(__file__).parents[1] / "data"
NODES, PODS = str(DATA / "openb_nodes.csv"), str(DATA / "openb_pod_list_slice.csv")


def test_json_is_what_the_protocol_says(shell: Shell) -> None:
    said = shell(
        "twin", "schedule", "--nodes", NODES, "--pods", PODS, "--policy", "roadbed,fgd", "--seeds", "42..43", "--json"
    )
    assert said.code == 0, said.err
    found = said.json()
    assert list(found) == ["rows"]
    rows = found["rows"]
    assert [(row["policy"], row["seed"]) for row in rows] == [
        ("roadbed", 42),
        ("roadbed", 43),
        ("fgd", 42),
        ("fgd", 43),
    ]
    for row in rows:
        assert list(row) == ["policy", "workload", "seed", "alloc", "frag", "decisions_per_s"]
        assert row["workload"] == "slice"
        assert {"80", "90", "95", "100", "130"} <= set(row["alloc"])
        assert set(row["frag"]) == set(row["alloc"])
        assert 0 < row["alloc"]["80"] <= 82
        assert row["alloc"]["80"] < row["alloc"]["130"] <= 100
        assert all(0 <= value <= 100 for value in row["frag"].values())
        assert row["decisions_per_s"] > 100


def test_people_get_a_table_and_a_report(shell: Shell, tmp_path: Path) -> None:
    report = tmp_path / "r.html"
    said = shell(
        "twin", "schedule", "--nodes", NODES, "--pods", PODS, "--policy", "fgd,bestfit", "--seeds", "1,2",
        "--workers", "1", "--report", str(report),
    )  # fmt: skip
    assert said.code == 0, said.err
    assert said.out.startswith("slice: allocated, % of all accelerators")
    fgd, bestfit = said.out.splitlines()[2:]
    assert fgd.startswith("fgd ")
    assert "±" in bestfit
    assert "VS fgd @100" in said.out
    assert "2 seeds" in said.err
    assert report.read_text("utf-8").startswith("<!doctype html>")


def test_machines_may_be_a_cluster_document(shell: Shell, tmp_path: Path) -> None:
    cluster = tmp_path / "c.yaml"
    cluster.write_text("kind: cluster\nname: c\nnodes:\n  - {server: hgx-h100, count: 4}\n")
    said = shell("twin", "schedule", "--nodes", str(cluster), "--pods", PODS, "--policy", "fgd", "--seeds", "1",
                 "--inflate", "0.5", "--json")  # fmt: skip
    assert said.code == 0, said.err
    assert list(said.json()["rows"][0]["alloc"])[-1] == "50"


@pytest.mark.parametrize(
    ("args", "code", "words"),
    [
        (["--nodes", "none.csv"], 3, "there is no file none.csv"),
        (["--nodes", str(DATA)], 2, "can't be read"),
        (["--nodes", PODS], 2, "columns sn, gpu, model missing"),
        (["--policy", "fdg"], 2, "did you mean 'fgd'?"),
        (["--policy", ","], 2, "names nothing"),
        (["--seeds", "5..4"], 2, "empty range"),
        (["--seeds", ""], 2, "neither a number nor a range"),
        (["--inflate", "0"], 2, "--inflate"),
        (["--inflate", "nan"], 2, "--inflate"),
        (["--baseline", "random"], 2, "not among the policies"),
        (["--pods", PODS], 2, "two lists of pods are called 'slice'"),
    ],
)
def test_wrong_questions(shell: Shell, args: list[str], code: int, words: str) -> None:
    given = ["--nodes", NODES, "--pods", PODS, "--policy", "fgd", "--seeds", "1", *args]
    said = shell("twin", "schedule", *given)
    assert (said.code, words in said.err) == (code, True), said.err
    assert "hint: " in said.err
    assert said.out == ""


def test_bad_rows_are_named_by_line(shell: Shell, tmp_path: Path) -> None:
    pods = tmp_path / "p.csv"
    pods.write_text("name,cpu_milli,memory_mib,num_gpu,gpu_milli\na,1,1,1,1000\nb,1,1,-2,1000\n")
    said = shell("twin", "schedule", "--nodes", NODES, "--pods", str(pods), "--seeds", "1")
    assert said.code == 2
    assert "p.csv:3: num_gpu is -2, below 0" in said.err
