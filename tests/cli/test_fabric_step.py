"""`fabric step`: models and workload files."""

from pathlib import Path

import pytest

from tests.cli.fabric_shell import roadbed

Capsys = pytest.CaptureFixture[str]
WORKLOAD = """HYBRID_TRANSFORMER_FWD_IN_BCKWD model_parallel_NPU_group: 8 ep: 1 pp: 1 vpp: 1 ga: 1 all_gpus: 64 checkpoints: 0
2
attention -1 1000000 ALLREDUCE 16777216 1000000 ALLREDUCE 16777216 1000000 NONE 0 100
mlp -1 1000000 ALLREDUCE 16777216 1000000 NONE 0 1000000 ALLREDUCE 67108864 100
"""


def test_a_model(capsys: Capsys) -> None:
    said = roadbed(capsys, "fabric", "step", "--gpus", "128", "--model", "gpt3-175b", "--global-batch", "64", "--json")
    step = said.json()
    assert step["dp"] == 2
    assert step["step_s"] > step["compute_s"] > 0
    assert {row["dimension"] for row in step["exposed"]} == {"tp", "pp", "dp"}


def test_a_workload_file_says_how_many_gpus(capsys: Capsys, tmp_path: Path) -> None:
    file = tmp_path / "w.txt"
    file.write_text(WORKLOAD)
    for fabric in ("hpn7", "dcn_plus"):
        step = roadbed(capsys, "fabric", "step", "--workload", str(file), "--fabric", fabric, "--json").json()
        assert step["gpus"] == 64
        assert step["compute_s"] == pytest.approx(6.0002e-3)
        assert step["step_s"] > step["compute_s"]
    said = roadbed(capsys, "fabric", "step", "--workload", str(file), "--gpus", "32")
    assert said.code == 2
    assert "is for 64 GPUs" in said.err


def test_for_people(capsys: Capsys) -> None:
    said = roadbed(capsys, "fabric", "step", "--gpus", "64", "--model", "mixtral-8x7b")
    assert said.code == 0
    assert any(line.startswith("ep ×8") for line in said.out.splitlines())
    assert "samples/s" in said.err


@pytest.mark.parametrize(("words", "said"), [
    ([], "give either --workload FILE or --model"),
    (["--model", "gpt5"], "there is no model 'gpt5'"),
    (["--model", "gpt3-175b", "--tp", "7", "--pp", "1", "--gpus", "56"], "tp 7 does not divide"),
    (["--model", "gpt3-175b", "--gpus", "100"], "do not divide"),
    (["--model", "llama-7b", "--gpus", "8", "--global-batch", "9"], "does not divide"),
    (["--workload", "missing.txt"], "there is no file missing.txt"),
])  # fmt: skip
def test_what_is_wrong_is_named(capsys: Capsys, words: list[str], said: str) -> None:
    answer = roadbed(capsys, "fabric", "step", *words)
    assert answer.code in (2, 3)
    assert said in answer.err


def test_a_broken_file_names_its_line(capsys: Capsys, tmp_path: Path) -> None:
    file = tmp_path / "w.txt"
    file.write_text(WORKLOAD.replace("mlp -1 1000000", "mlp -1 many"))
    said = roadbed(capsys, "fabric", "step", "--workload", str(file))
    assert said.code == 2
    assert "w.txt:4: fwd_compute_ns" in said.err


def test_simais_results_beside_ours(capsys: Capsys, tmp_path: Path) -> None:
    file, results = tmp_path / "w.txt", tmp_path / "r.csv"
    file.write_text(WORKLOAD)
    results.write_text(
        "layer_name,r,fwd compute,wg compute,ig compute,fwd exposed comm,wg exposed comm,ig exposed comm,"
        "fwd total comm,algbw,busbw,wg total comm,algbw,busbw,ig total comm,algbw,busbw\n"
        "attention,r,1000,1000,1000,100,0,100,100,1,1,0,NONE,NONE,100,1,1\n"
        "mlp,r,1000,1000,1000,100,0,0,100,1,1,900,1,1,0,NONE,NONE\n"
    )
    words = ("fabric", "step", "--workload", str(file), "--against", str(results))
    rows = {row["phase"]: row for row in roadbed(capsys, *words, "--json").json()["against"]}
    assert rows["fwd"]["simai_s"] == pytest.approx(200e-6)
    assert rows["compute"]["ratio"] == pytest.approx(1.0, rel=1e-3)
    assert all(row["ours_s"] > 0 for row in rows.values())
    assert "OURS / SIMAI" in roadbed(capsys, *words).out
    said = roadbed(capsys, "fabric", "step", "--model", "llama-7b", "--against", str(results))
    assert said.code == 2
    assert "--workload" in said.err
